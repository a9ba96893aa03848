"""Attributions by gradients: Grad-CAM, integrated gradients and SmoothGrad."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vizkit.attribution import attribute
from vizkit.benchmarks.peers import has
from vizkit.benchmarks.registry import Effort, suite
from vizkit.benchmarks.rounds import timed
from vizkit.benchmarks.subject import Subject
from vizkit.benchmarks.tasks import BACKWARD, OWN, Check, Goal, Outcome, Reference, Task
from vizkit.benchmarks.truth import difference, distance
from vizkit.forward import recorded
from vizkit.results import Attributions

STAGES = 5
CLASSES = 5
STEPS = 20
SAMPLES = 8
NOISE = 0.15
LIMIT = 1e-3
# by the pixels, float32 is as far from float64: a rounding decides whether a ReLU opens
PIXEL_LIMIT = 0.05
_CAM_ERROR = "largest difference from captum's, of a stage's largest value"
_ERROR = "root mean square difference from captum's, of its root mean square"


@suite("attribution", label="Attributions", peers=("captum", "grad-cam", "torchcam"))
def attribution_suite(subject: Subject, effort: Effort) -> list[Outcome]:
    """Explain one image: Grad-CAM of five stages and classes, and two methods by the pixels.

    Integrated gradients take 20 steps and SmoothGrad 8 samples, which captum runs in one batch,
    as it does by default; the more there are, the more that costs it. Both draw the same noise.
    """
    inputs = subject.photos()
    floor = Task(BACKWARD, "PyTorch", partial(subject.backward, inputs), BACKWARD)
    tasks = [floor, *Cams(subject, inputs).tasks()]
    if not subject.brief:
        tasks += [*_integrated(subject, inputs), *_smoothed(subject, inputs)]
    return timed(tasks, subject.device, effort)


class Cams:
    """Grad-CAM of the last stages for some classes, by every tool.

    Parameters
    ----------
    subject : Subject
        The network.
    inputs : Tensor of shape (1, 3, H, W)
        What is explained.
    """

    def __init__(self, subject: Subject, inputs: Tensor) -> None:
        self.subject, self.inputs = subject, inputs
        self.stages = list(subject.classifier.stages[-STAGES:])
        self.targets = list(range(CLASSES))
        self.layers = [subject.network.get_submodule(tap.module) for tap in self.stages]
        self.name = f"Grad-CAM, {len(self.stages)} stages x {CLASSES} classes"
        self.right = Reference()

    def tasks(self) -> list[Task]:
        """List all tools; captum's maps are the reference."""
        same = self.right.compare(_CAM_ERROR, LIMIT, difference)
        tasks = [
            self._task("captum", self.captum, self.right.keep()),
            self._task(OWN, self.own, same, Goal("faster", 20, "captum")),
        ]
        if has("grad-cam"):
            merged = self.right.compare(_CAM_ERROR, LIMIT, self._merged_difference)
            note = "one map a class: the mean of the stages'"
            tasks.append(self._task("grad-cam", self.grad_cam, merged, note=note))
        if has("torchcam"):
            tasks.append(self._task("torchcam", self.torchcam, same))
        if self.inputs.device.type != "cpu":
            # on a CPU it gains nothing
            tasks.append(self._task("classes in one batch", self.batched, same))
        return tasks

    def _task(
        self, tool: str, run: Any, check: Check, goal: Goal | None = None, note: str = ""
    ) -> Task:
        return Task(self.name, tool, run, BACKWARD, check, goal, note=note)

    def own(self) -> list[Tensor]:
        """Compute by vizkit: one (T, h, w) per stage, as by the others."""
        found = attribute(
            self.subject.classifier, self.inputs, targets=self.targets, stages=self.stages
        )
        return [found.values["grad_cam"][key][0] for key in _keys(found)]

    def captum(self) -> list[Tensor]:
        """Compute by captum: a forward and a backward pass for each stage and class."""
        from captum.attr import LayerGradCam

        def one(explainer: Any, target: int) -> Tensor:
            found: Tensor = explainer.attribute(self.inputs, target=target, relu_attributions=True)
            return found[0, 0].detach()

        explainers = [LayerGradCam(self.subject.network, layer) for layer in self.layers]
        return [
            torch.stack([one(explainer, target) for target in self.targets])
            for explainer in explainers
        ]

    def grad_cam(self) -> list[np.ndarray]:
        """Compute by pytorch-grad-cam: a forward and a backward pass a class; (H, W) for each."""
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with GradCAM(model=self.subject.network, target_layers=self.layers) as explainer:
            return [
                explainer(input_tensor=self.inputs, targets=[ClassifierOutputTarget(target)])[0]
                for target in self.targets
            ]

    def torchcam(self) -> list[Tensor]:
        """Compute by torchcam: one forward pass, a backward pass a class."""
        from torchcam.methods import GradCAM

        paths, last = [tap.module for tap in self.stages], len(self.targets) - 1
        with GradCAM(self.subject.network, paths) as explainer, torch.enable_grad():
            scores = self.subject.network(self.inputs.clone().requires_grad_())
            by_class = [
                explainer(target, scores, normalized=False, retain_graph=n < last)
                for n, target in enumerate(self.targets)
            ]
        return [torch.stack([maps[n][0] for maps in by_class]) for n in range(len(paths))]

    def batched(self) -> list[Tensor]:
        """Compute plainly, with one backward pass for all classes together."""
        module = self.subject.classifier.module
        with (
            torch.enable_grad(),
            recorded(module, self.stages, self.inputs, detach=False, cut=True) as (record, logits),
        ):
            maps = list(record.outputs.values())
            rows = torch.eye(logits.shape[1]).to(logits)[self.targets].unsqueeze(1)
            gradients = torch.autograd.grad(logits, maps, rows, is_grads_batched=True)
        weights = [each.mean(dim=(-2, -1), keepdim=True) for each in gradients]
        return [
            (weight * own.detach()).sum(dim=2).relu()[:, 0]
            for weight, own in zip(weights, maps, strict=True)
        ]

    def _merged_difference(self, found: list[np.ndarray], right: list[Tensor]) -> float:
        """Compare with captum's maps, merged as pytorch-grad-cam merges its own."""
        from pytorch_grad_cam.utils.image import scale_cam_image

        size = (self.inputs.shape[-1], self.inputs.shape[-2])
        scaled = [scale_cam_image(each.cpu().numpy(), size) for each in right]
        return difference(found, list(scale_cam_image(np.mean(scaled, axis=0))))


def _keys(found: Attributions) -> Sequence[str]:
    return list(found.values["grad_cam"])


def _integrated(subject: Subject, inputs: Tensor) -> list[Task]:
    from captum.attr import IntegratedGradients

    name, right = f"integrated gradients, {STEPS} steps", Reference()

    def peer() -> Tensor:
        explainer = IntegratedGradients(subject.network)
        found: Tensor = explainer.attribute(inputs, target=0, n_steps=STEPS)
        return found.sum(dim=1).detach()

    def own() -> Tensor:
        return pixel_map(subject, inputs, "integrated_gradients", n_steps=STEPS)

    same = right.compare(_ERROR, PIXEL_LIMIT, distance)
    return [
        Task(name, "captum", peer, BACKWARD, right.keep()),
        Task(name, OWN, own, BACKWARD, same),
    ]


def _smoothed(subject: Subject, inputs: Tensor) -> list[Task]:
    from captum.attr import NoiseTunnel, Saliency

    name, right = f"SmoothGrad, {SAMPLES} samples", Reference()
    spread = float(inputs.max() - inputs.min())

    def peer() -> Tensor:
        explainer = NoiseTunnel(Saliency(subject.network))
        # its noise is that of PyTorch's own generator: from this seed, on a CPU, vizkit's
        with torch.random.fork_rng():
            torch.manual_seed(0)
            found: Tensor = explainer.attribute(
                inputs, nt_samples=SAMPLES, stdevs=NOISE * spread, target=0, abs=False
            )
        return found.abs().amax(dim=1).detach()

    def own() -> Tensor:
        return pixel_map(subject, inputs, "smooth_grad", n_samples=SAMPLES, noise=NOISE, seed=0)

    def apart(found: Tensor, other: Tensor) -> float:
        # another device draws other numbers
        return distance(found, other) if found.device.type == "cpu" else math.nan

    return [
        Task(name, "captum", peer, BACKWARD, right.keep()),
        Task(name, OWN, own, BACKWARD, right.compare(_ERROR, PIXEL_LIMIT, apart)),
    ]


def pixel_map(subject: Subject, inputs: Tensor, method: str, **options: Any) -> Tensor:
    """Compute an input-level map by vizkit, of class 0: (N, H, W)."""
    found = attribute(subject.classifier, inputs, method, 0, **options)
    return found.values[method]["input"][:, 0]
