"""The registry of attribution methods, and what a method is given to work with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import Tensor, nn

Level = Literal["stage", "input"]


@dataclass(frozen=True)
class Probe:
    """What a stage-level method sees of one stage, for N images and T classes.

    Attributes
    ----------
    activations : Tensor of shape (N, 1, C, h, w)
        The stage's feature maps.
    gradients : Tensor of shape (N, T, C, h, w)
        Derivative of each class's logit by the feature maps.
    """

    activations: Tensor
    gradients: Tensor


@dataclass(frozen=True)
class Query:
    """What an input-level method is given: a network to run, N inputs and one class for each.

    Attributes
    ----------
    module : nn.Module
        In evaluation mode, parameters frozen.
    inputs : Tensor of shape (N, 3, H, W)
        Detached; a method may ask for its gradient.
    target : Tensor of shape (N,), int64
        The class explained.
    """

    module: nn.Module
    inputs: Tensor
    target: Tensor


@dataclass(frozen=True)
class Method:
    """A registered method.

    Attributes
    ----------
    name : str
        What users type.
    label : str
        What figures print.
    paper : str
        Where it is defined.
    level : "stage" or "input"
        Whether it gives a map per stage or one of the input's size.
    function : callable
        The method itself; its keyword arguments are the options.
    """

    name: str
    label: str
    paper: str
    level: Level
    function: Callable[..., Tensor]

    @cached_property
    def options(self) -> dict[str, Any]:
        """Options and their defaults."""
        parameters = list(inspect.signature(self.function).parameters.values())[1:]
        return {p.name: p.default for p in parameters}

    @property
    def summary(self) -> str:
        """First line of the method's own description."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


METHODS: dict[str, Method] = {}


def method(
    name: str, *, label: str, paper: str, level: Level
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register an attribution method.

    Parameters
    ----------
    name : str
        What users type.
    label : str
        What figures print.
    paper : str
        Where it is defined.
    level : "stage" or "input"
        ``"stage"``: the function takes a `Probe` and returns (N, T, h, w). ``"input"``: it
        takes a `Query` and returns (N, H, W).

    Returns
    -------
    callable
        A decorator that leaves the function as it is.
    """

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        METHODS[name] = Method(name, label, paper, level, function)
        return function

    return register
