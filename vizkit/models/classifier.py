"""A network with everything needed to use and compare it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from vizkit.errors import unknown
from vizkit.hooks import first_parameter
from vizkit.results import Tap
from vizkit.stages import find_stages


@dataclass(frozen=True, repr=False, eq=False)
class Classifier:
    """A network with everything needed to use and compare it.

    Stages and layers are found once: a network that is rebuilt afterwards must be wrapped again.

    Attributes
    ----------
    name : str
        As given to `load`, or the module's class name.
    module : nn.Module
        The network itself; vizkit leaves it as it is.
    transform : callable
        From a PIL image to its (3, H, W) input; a `Transform` unless the user gave another.
    classes : tuple of str
        Names of the outputs; empty if unknown.
    stages : tuple of Tap
        Where each stride ends.
    source : str
        Where the weights come from, in words.
    recipe : dict of str to Any, or None
        What `load` was told, so that it can be loaded again; None for a given module.
    """

    name: str
    module: nn.Module
    transform: Callable[[Image.Image], Tensor]
    classes: tuple[str, ...]
    stages: tuple[Tap, ...]
    source: str
    recipe: dict[str, Any] | None = None

    @cached_property
    def layers(self) -> tuple[Tap, ...]:
        """Every layer, as in `find_stages`; found when first asked for."""
        return tuple(find_stages(_Unstaged(self.module, self.transform), "layers"))

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        tensor = first_parameter(self.module)
        return torch.device("cpu") if tensor is None else tensor.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the network's parameters."""
        tensor = first_parameter(self.module)
        return torch.float32 if tensor is None else tensor.dtype

    def class_name(self, index: int) -> str:
        """Name of an output, or its number where names are unknown."""
        return self.classes[index] if 0 <= index < len(self.classes) else f"class {index}"

    def class_index(self, name: str) -> int:
        """Find an output by its name, ignoring case where no name is the same to the letter.

        Raises
        ------
        InputError
            If no class has this name; the message suggests the nearest.
        """
        if name in self.classes:
            return self.classes.index(name)
        lowered = [each.lower() for each in self.classes]
        if name.lower() not in lowered:
            raise unknown("class", name, self.classes or ("(this model has no class names)",), 10)
        return lowered.index(name.lower())

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.module.parameters())
        stages = ", ".join(f"{tap.name} ({tap.channels})" for tap in self.stages)
        return (
            f"Classifier {self.name}: {count / 1e6:.2f} M parameters, {len(self.classes)} classes, "
            f"{self.transform}, {self.source}, {self.device}\n  stages: {stages}"
        )


def classifier_of(
    name: str,
    module: nn.Module,
    transform: Callable[[Image.Image], Tensor],
    classes: tuple[str, ...],
    stages: Sequence[str | Tap] | None,
    source: str,
) -> Classifier:
    """Put a classifier together, and find its stages.

    Parameters
    ----------
    name, module, transform, classes, source
        As in `Classifier`.
    stages : sequence of str or Tap, optional
        Module paths to use as stages; by default found.

    Returns
    -------
    Classifier
        Around the same module.
    """
    # of text alone the path of one module is meant, never all layers
    given = [stages] if isinstance(stages, str) else stages
    where = "stages" if given is None else given
    found = find_stages(_Unstaged(module, transform), where)
    return Classifier(name, module, transform, classes, tuple(found), source)


@dataclass(frozen=True)
class _Unstaged:
    module: nn.Module
    transform: Callable[[Image.Image], Tensor]
