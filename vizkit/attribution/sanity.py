"""The cascading randomisation check: a map that survives random weights explains no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.attribution.measures import at_input_size
from vizkit.attribution.pairs import spearman, ssim
from vizkit.attribution.run import attribute
from vizkit.attribution.targets import Targets
from vizkit.attribution.twin import twin
from vizkit.errors import flags, whole
from vizkit.images import as_images
from vizkit.interrupts import surely
from vizkit.models import Classifier, as_classifier
from vizkit.results import Attributions, Tap
from vizkit.stages import trace

TRAINED = "trained"
HEAD = "head"
# each step takes the next seed, and PyTorch takes 64 bits
MOST_SEED = 2**62


@dataclass(frozen=True, eq=False)
class Randomisation:
    """Attributions of a network whose weights are replaced by random ones, stage by stage.

    Attributes
    ----------
    frame : DataFrame
        One row per map and step: model, image, method, stage, target, randomised (from the head
        down to which stage; "trained" for none), step (from 0), spearman and ssim with the map
        of the trained network, in [-1, 1].
    steps : dict of str to Attributions
        The maps after each step, in order.
    """

    frame: pd.DataFrame
    steps: dict[str, Attributions]

    def __repr__(self) -> str:
        return f"Randomisation over {len(self.steps)} steps: {', '.join(self.steps)}"


def randomisation(
    model: str | nn.Module | Classifier,
    images: object,
    methods: str | Sequence[str] = "grad_cam",
    targets: Targets = None,
    stages: str | Sequence[str | Tap] | None = None,
    *,
    random_state: int = 0,
    only_last: bool = False,
    **options: Any,
) -> Randomisation:
    """Randomise a copy of a network from the head down, and see whether its maps notice.

    Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        One network, which is not changed.
    images, methods, targets, stages, **options
        As for `vizkit.attribute`; the classes are those of the trained network throughout.
    random_state : int
        Seed of the random weights; a method's own ``seed`` is one of the options.
    only_last : bool
        Skip to the end, where all weights are random.

    Returns
    -------
    Randomisation
        Similarities and maps. A method that explains the network loses them within few steps.

    Raises
    ------
    InputError
        As `vizkit.attribute` does, or if the network cannot be copied.
    """
    random_state = whole("random_state", random_state, 0, MOST_SEED)
    flags(only_last=only_last)
    classifier = as_classifier(model)
    photos = as_images(images)
    trained = attribute(classifier, photos, methods, targets, stages, **options)
    copy = twin(classifier.module, own_weights=True)
    groups = _groups(classifier)
    steps = {TRAINED: trained}
    for n, (name, paths) in enumerate(
        tqdm(groups.items(), desc="randomisation", disable=only_last)
    ):
        _randomise(copy, paths, random_state + n)
        if only_last and n < len(groups) - 1:
            continue
        other = replace(classifier, module=copy)
        steps[name] = attribute(other, photos, methods, trained.targets, stages, **options)
    frame = pd.concat(
        [_compared(trained, found, name, n) for n, (name, found) in enumerate(steps.items())],
        ignore_index=True,
    )
    return Randomisation(frame, steps)


def _groups(classifier: Classifier) -> dict[str, list[str]]:
    """Paths of layers with weights, from the head down, by the stage that they end in."""
    calls = trace(classifier.module, getattr(classifier.transform, "size", (224, 224)))
    ends = {tap.module: tap.name for tap in classifier.stages}
    groups: dict[str, list[str]] = {}
    waiting: list[str] = []
    placed: set[nn.Module] = set()
    for call in calls:
        # parts that are not run themselves, but whose weights are read, come with their owner
        for path, part in call.module.named_modules(prefix=call.path):
            if part not in placed and next(part.parameters(recurse=False), None) is not None:
                waiting.append(path)
            placed.add(part)
        if call.path in ends and waiting:
            groups[ends[call.path]], waiting = waiting, []
    if waiting:
        groups[HEAD] = waiting
    return dict(reversed(groups.items()))


def _randomise(network: nn.Module, paths: list[str], seed: int) -> None:
    with surely(torch.random.fork_rng()), surely(torch.no_grad()):
        torch.manual_seed(seed)
        for path in paths:
            layer: Any = network.get_submodule(path)
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
                continue
            for weights in layer.parameters(recurse=False):
                spread = float(weights.std()) if weights.numel() > 1 else 0.0
                # a constant, such as a scale of each layer, keeps its size
                weights.normal_(std=max(spread, float(weights.abs().mean())) or 1.0)


def _compared(trained: Attributions, found: Attributions, name: str, step: int) -> pd.DataFrame:
    rows = []
    size = trained.inputs.shape[-2:]
    for method, stages in trained.values.items():
        for stage, maps in stages.items():
            pairs = zip(
                _flat(at_input_size(maps, size)),
                _flat(at_input_size(found.values[method][stage], size)),
                strict=True,
            )
            for i, (first, second) in enumerate(pairs):
                n, t = divmod(i, maps.shape[1])
                rows.append(
                    {
                        "model": trained.model,
                        "image": trained.seen.names[n],
                        "method": method,
                        "stage": stage,
                        "target": trained.target_name(n, t),
                        "randomised": name,
                        "step": step,
                        "spearman": spearman(first, second),
                        "ssim": ssim(first, second),
                    }
                )
    return pd.DataFrame(rows)


def _flat(maps: Tensor) -> np.ndarray:
    return maps.flatten(0, 1).cpu().numpy()
