"""The registry of statistics. An accumulator may give several that share their sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

from torch import Tensor


class Accumulator(Protocol):
    """Sums over the images seen so far, for one tap of C channels."""

    def __init__(self, channels: int) -> None:
        """Start with no image."""

    def update(self, maps: Tensor) -> None:
        """Count the maps of some images: (N, C, h, w)."""

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted, exactly as if it had been seen here."""

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""


ACCUMULATORS: dict[str, type[Accumulator]] = {}
STATISTICS: dict[str, str] = {}


def statistic(**units: str) -> Callable[[type[Accumulator]], type[Accumulator]]:
    """Register an accumulator.

    Parameters
    ----------
    **units : str
        The statistics it gives, each with its unit as axis labels print it.

    Returns
    -------
    callable
        A decorator that leaves the class as it is.
    """

    def register(cls: type[Accumulator]) -> type[Accumulator]:
        STATISTICS.update(units)
        ACCUMULATORS.update(dict.fromkeys(units, cls))
        return cls

    return register
