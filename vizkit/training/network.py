"""The network that a run begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vizkit import growth
from vizkit.checkpoints import fit, read_checkpoint, read_state_dict, translate
from vizkit.errors import InputError
from vizkit.images import Transform
from vizkit.labels import folder_indices
from vizkit.models import Classifier, imagenet_classes, load
from vizkit.stages import trace
from vizkit.training.photos import class_names
from vizkit.training.recipe import Recipe


def build(recipe: Recipe, folders: list[str]) -> tuple[Classifier, str]:
    """Make the network that a run begins with.

    Parameters
    ----------
    recipe : Recipe
        Says which, and from which weights.
    folders : list of str
        Class folders, in the order of the outputs.

    Returns
    -------
    tuple of (Classifier, str)
        On the CPU, float32; and in words what its weights are.

    Raises
    ------
    InputError
        If the name is unknown.
    WeightsError
        If the weights are missing or do not fit.
    """
    torch.manual_seed(recipe.seed)
    names = class_names(folders)
    fresh = load(recipe.arch, weights=None, device="cpu", classes=names)
    if recipe.start:
        donor, _, file = recipe.start.partition("=")
        state = read_state_dict(Path(file))
        like = load(donor, weights=None, device="cpu", classes=names).module
        filled = growth.inherit(fresh.module, like, state)
        return fresh, f"{len(filled)} tensors of {file}, the others random"
    if recipe.weights == "none":
        return fresh, "random weights"
    state, classes = _trained(recipe)
    words = _fit(fresh, state, classes, folders, recipe.weights)
    return fresh, words


def last_layer(classifier: Classifier) -> str:
    """Find the layer that gives the class scores: the last to run that has weights.

    Parameters
    ----------
    classifier : Classifier
        Any.

    Returns
    -------
    str
        Module path.
    """
    calls = trace(classifier.module, input_size(classifier))
    weighted = [call for call in calls if has_own_weights(call.module)]
    if not weighted or not weighted[-1].path:
        raise InputError(f"{classifier.name} has no layer of its own for the class scores")
    return weighted[-1].path


def input_size(classifier: Classifier) -> tuple[int, int]:
    """Return the height and width, in pixels, of a network's own input."""
    transform = classifier.transform
    return transform.size if isinstance(transform, Transform) else (224, 224)


def require_sizes(classifier: Classifier, recipe: Recipe) -> None:
    """Raise before the work begins if the network cannot see photos of a phase's size."""
    for size, _ in recipe.phases:
        trace(classifier.module, (size, size), exact=True)


def has_own_weights(module: nn.Module) -> bool:
    """Whether a module has parameters that are not those of modules inside it."""
    return next(module.parameters(recurse=False), None) is not None


def _trained(recipe: Recipe) -> tuple[dict[str, Tensor], Sequence[str]]:
    """Weights to start from, and the classes they know (none if that is unknown)."""
    if recipe.weights == "default":
        donor = load(recipe.arch, device="cpu")
        return donor.module.state_dict(), donor.classes
    found = read_checkpoint(Path(recipe.weights).expanduser())
    return found.state, found.classes


def _fit(
    fresh: Classifier,
    state: dict[str, Tensor],
    classes: Sequence[str],
    folders: list[str],
    source: str,
) -> str:
    """Load weights, with the last layer's outputs in the order of the folders."""
    wanted = fresh.module.state_dict()
    given = translate(state, wanted)
    layer = last_layer(fresh)
    keys = [key for key in (f"{layer}.weight", f"{layer}.bias") if key in given and key in wanted]
    outputs = given[keys[0]].shape[0] if keys else 0
    if not classes and outputs == 1000:
        classes = imagenet_classes()
    rows = _rows(fresh, classes, folders, outputs)
    for key in keys:
        given[key] = wanted[key] if rows is None else given[key][rows]
    fit(fresh.module, given, f"weights {source}")
    if rows is None:
        return f"weights {source}; {layer} is new: {len(folders)} outputs instead of {outputs}"
    if len(rows) < outputs:
        return f"weights {source}; {layer} keeps {len(rows)} of its {outputs} outputs"
    kept = "" if classes else ", taken to be those of the folders, because the file names none"
    return f"weights {source}; {layer} keeps its classes{kept}"


def _rows(
    fresh: Classifier, classes: Sequence[str], folders: list[str], outputs: int
) -> list[int] | None:
    """Which of the weights' outputs stands for each folder; None if one stands for none."""
    if not classes:
        return list(range(outputs)) if outputs == len(folders) else None
    known = replace(fresh, classes=tuple(classes))
    try:
        indices = folder_indices(known, folders)
    except InputError:
        return None
    rows = [indices[folder] for folder in folders]
    return rows if max(rows) < outputs and len(set(rows)) == len(rows) else None
