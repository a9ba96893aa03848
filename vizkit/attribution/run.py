"""Explain networks: images in batches, halves of them where memory does not suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.attribution.explaining import Explainer, explainer
from vizkit.attribution.targets import Targets, rows_of
from vizkit.errors import InputError
from vizkit.forward import BATCH_SIZE, joined
from vizkit.images import Images, as_images
from vizkit.memory import in_parts
from vizkit.models import Classifier, as_classifier
from vizkit.results import Attributions, Tap


def attribute(
    model: str | nn.Module | Classifier,
    images: object,
    methods: str | Sequence[str] = "grad_cam",
    targets: Targets = None,
    stages: str | Sequence[str | Tap] | None = None,
    *,
    against: int | str | None = None,
    **options: Any,
) -> Attributions:
    """Attribute class scores to places.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        One network. It is left exactly as it was.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        What to explain the network's output on.
    methods : str or list of str
        Names in `METHODS`: ``"grad_cam"``, ``"integrated_gradients"``, ``"occlusion"``, ...
    targets : None, int, str, list, or Tensor
        The classes explained: None for the predicted one, an index, a class name, ``"top5"``,
        a list of indices or names (each for every image), or a tensor (N,) or (N, T).
    stages : list of str or Tap, optional
        Where stage-level methods look, as in `find_stages`; by default at every stage.
    against : int or str, optional
        A class whose score is subtracted first, so that the maps say why the target and not this.
    **options
        Options of the methods; see ``METHODS[name].options``.

    Returns
    -------
    Attributions
        ``values[method][tap name or "input"]``: (N, T, h, w), float32, raw and signed.

    Raises
    ------
    InputError
        If a method, target, stage or option is unknown, or a method cannot explain this network.

    Warns
    -----
    ConvergenceWarning
        If a map that should sum to a difference in score is off by more than 5 % of it.
    """
    classifier = as_classifier(model)
    asked = explainer(classifier, methods, stages, against, **options)
    everything = as_images(images)
    if isinstance(targets, Tensor):
        targets = rows_of(targets, len(everything))
    parts: list[Attributions] = []
    batches = list(everything.batches(BATCH_SIZE))
    for batch in tqdm(batches, desc=classifier.name, disable=len(batches) == 1):
        done = sum(len(part.seen) for part in parts)
        own = targets[done : done + len(batch)] if isinstance(targets, Tensor) else targets
        parts += in_parts(partial(_explained, asked, batch, own), len(batch))
    return parts[0] if len(parts) == 1 else join(parts)


def _explained(asked: Explainer, images: Images, targets: Targets, part: slice) -> Attributions:
    """Explain some of a batch."""
    own = targets[part] if isinstance(targets, Tensor) else targets
    with asked.opened(images[part]) as found:
        if not found.logits.isfinite().all():
            name = asked.classifier.name
            raise InputError(f"{name} gives NaN or infinity: nothing can be explained")
        return found.explain(own)


def join(parts: Sequence[Attributions]) -> Attributions:
    """Put the attributions of several batches of images one behind the other."""
    first = parts[0]
    return replace(
        first,
        values={
            name: {key: torch.cat([p.values[name][key] for p in parts]) for key in stage_maps}
            for name, stage_maps in first.values.items()
        },
        targets=torch.cat([p.targets for p in parts]),
        probabilities=torch.cat([p.probabilities for p in parts]),
        inputs=torch.cat([p.inputs for p in parts]),
        seen=joined(tuple(p.seen for p in parts)),
        errors={name: torch.cat([p.errors[name] for p in parts]) for name in first.errors},
    )
