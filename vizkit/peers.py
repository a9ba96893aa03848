"""The same results by other tools and by the obvious code, for `vizkit bench`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizkit.attribution import attribute
from vizkit.cka import similarity
from vizkit.forward import capture
from vizkit.models import Classifier
from vizkit.results import Tap
from vizkit.statistics import ACCUMULATORS, STATISTICS
from vizkit.statistics.gradients import GradientNorm
from vizkit.statistics.normalisation import BatchNormalisation
from vizkit.statistics.registry import DEFAULT
from vizkit.statistics.run import prepared
from vizkit.statistics.selectivity import ClassSelectivity

Job = tuple[str, str, Callable[[], object]]
STAGES = 5
STEPS = 50
SAMPLES = 25
WINDOWS = 7


def attribution_tasks(classifier: Classifier, inputs: Tensor, targets: list[int]) -> list[Job]:
    """List what to time.

    Parameters
    ----------
    classifier : Classifier
        The network.
    inputs : Tensor of shape (1, 3, H, W)
        What is explained.
    targets : list of int
        The classes of Grad-CAM; the other methods explain the first.

    Returns
    -------
    list of (str, str, callable)
        Task, tool and what to run; tools that are not installed are left out.
    """
    stages = list(classifier.stages[-STAGES:])
    # a copy with trainable weights: some peers fail without, and some change the network
    network = deepcopy(classifier.module).requires_grad_(True)
    cam = f"Grad-CAM, {len(stages)} stages x {len(targets)} classes"
    jobs: list[Job] = [
        (cam, "vizkit", lambda: attribute(classifier, inputs, targets=targets, stages=stages)),
        (cam, "captum", lambda: _captum_cam(network, inputs, targets, stages)),
    ]
    if find_spec("pytorch_grad_cam"):
        jobs.append((cam, "grad-cam", lambda: _grad_cam(network, inputs, targets, stages)))
    if find_spec("torchcam"):
        jobs.append((cam, "torchcam", lambda: _torchcam(network, inputs, targets, stages)))
    for name, method, options, peer in _input_level(network, inputs, targets[0]):
        own = partial(attribute, classifier, inputs, method, targets[0], **options)
        jobs += [(name, "vizkit", own), (name, "captum", peer)]
    return jobs


def statistics_tasks(classifier: Classifier, inputs: Tensor) -> list[Job]:
    """List what to time of statistics: what each image costs, not the tables at the end.

    Parameters
    ----------
    classifier : Classifier
        The network.
    inputs : Tensor of shape (N, 3, H, W)
        What goes through it.

    Returns
    -------
    list of (str, str, callable)
        Task, tool and what to run.
    """
    light = "mean, std, range, zeros of the stages"
    skipped = {ClassSelectivity, BatchNormalisation, GradientNorm}
    cheap = [name for name in STATISTICS if ACCUMULATORS[name] not in skipped]

    def count(*how: Any) -> None:
        prepared(classifier, inputs, *how).go(workers=0)

    return [
        (light, "vizkit", partial(count, list(DEFAULT))),
        (light, "hooks with mean, std, ==", lambda: _hooked(classifier, inputs)),
        (light, "stored maps, NumPy", lambda: _stored(classifier, inputs)),
        ("also quantiles, covariance, entropy, lifetime", "vizkit", partial(count, cheap)),
        ("CKA of all pairs of stages", "vizkit", partial(similarity, classifier, inputs)),
    ]


def _hooked(classifier: Classifier, inputs: Tensor) -> list[Any]:
    """Write what one writes first: the obvious reductions in forward hooks."""
    found: list[Any] = []

    def hook(_module: nn.Module, _inputs: Any, maps: Tensor) -> None:
        over = (0, 2, 3)
        found.append((maps.mean(over), maps.std(over), maps.amin(over), maps.amax(over)))
        found.append((maps == 0).float().mean(over))

    modules = [classifier.module.get_submodule(tap.module) for tap in classifier.stages]
    handles = [module.register_forward_hook(hook) for module in modules]
    with torch.no_grad():
        classifier.module(inputs)
    for handle in handles:
        handle.remove()
    return found


def _stored(classifier: Classifier, inputs: Tensor) -> list[Any]:
    """Keep all maps, and count afterwards."""
    over = (0, 2, 3)
    arrays = [maps.cpu().numpy() for maps in capture(classifier, inputs).values()]
    return [
        (a.mean(over), a.std(over), a.min(over), a.max(over), (a == 0).mean(over)) for a in arrays
    ]


def _captum_cam(
    network: nn.Module, inputs: Tensor, targets: list[int], stages: list[Tap]
) -> list[Tensor]:
    from captum.attr import LayerGradCam

    return [
        LayerGradCam(network, network.get_submodule(tap.module)).attribute(
            inputs, target=target, relu_attributions=True
        )
        for tap in stages
        for target in targets
    ]


def _grad_cam(
    network: nn.Module, inputs: Tensor, targets: list[int], stages: list[Tap]
) -> list[np.ndarray]:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    # several layers at once: one forward and backward a class
    layers = [network.get_submodule(tap.module) for tap in stages]
    with GradCAM(model=network, target_layers=layers) as explainer:
        return [
            explainer(input_tensor=inputs, targets=[ClassifierOutputTarget(target)])
            for target in targets
        ]


def _torchcam(
    network: nn.Module, inputs: Tensor, targets: list[int], stages: list[Tap]
) -> list[list[Tensor]]:
    from torchcam.methods import GradCAM

    layers = [tap.module for tap in stages]
    last = len(targets) - 1
    with GradCAM(network, layers) as explainer, torch.enable_grad():
        scores = network(inputs.clone().requires_grad_())
        return [
            explainer(target, scores, retain_graph=n < last) for n, target in enumerate(targets)
        ]


def _input_level(
    network: nn.Module, inputs: Tensor, target: int
) -> list[tuple[str, str, dict[str, Any], Callable[[], object]]]:
    """Name, vizkit's method and options, and captum's own, at its default batch size."""
    from captum.attr import IntegratedGradients, NoiseTunnel, Occlusion, Saliency

    side = round(min(inputs.shape[-2:]) / WINDOWS)

    def occlusion() -> Tensor:
        windows = (3, side, side)
        found: Tensor = Occlusion(network).attribute(
            inputs, windows, strides=windows, target=target
        )
        return found

    def smooth() -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: Tensor = NoiseTunnel(Saliency(network)).attribute(
                inputs, nt_samples=SAMPLES, target=target, abs=False
            )
        return found

    def integrated() -> Tensor:
        found: Tensor = IntegratedGradients(network).attribute(inputs, target=target, n_steps=STEPS)
        return found

    return [
        (f"occlusion, {WINDOWS * WINDOWS} windows", "occlusion", {"window": side}, occlusion),
        (
            f"integrated gradients, {STEPS} steps",
            "integrated_gradients",
            {"n_steps": STEPS},
            integrated,
        ),
        (f"SmoothGrad, {SAMPLES} samples", "smooth_grad", {"n_samples": SAMPLES}, smooth),
    ]
