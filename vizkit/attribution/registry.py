"""The registry of attribution methods: a method is data and one function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

Level = Literal["stage", "input"]


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
    by_class : bool
        Whether the map depends on the class explained.
    gradients : bool
        Whether a stage-level method reads `Probe.gradients`, which are held for some classes at
        a time only.
    """

    name: str
    label: str
    paper: str
    level: Level
    function: Callable[..., Any]
    by_class: bool = True
    gradients: bool = True

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
    name: str,
    *,
    label: str,
    paper: str,
    level: Level,
    by_class: bool = True,
    gradients: bool = True,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
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
        ``"stage"``: the function takes a `Probe` and returns (N, T, h, w), or None where the
        method has no meaning at that stage. ``"input"``: it takes a `Query` and returns
        (N, T, H, W), or that and the convergence error, (N, T).
    by_class : bool
        Whether the map depends on the class explained.
    gradients : bool
        Whether a stage-level method reads `Probe.gradients`.

    Returns
    -------
    callable
        A decorator that leaves the function as it is.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        METHODS[name] = Method(name, label, paper, level, function, by_class, gradients)
        return function

    return register
