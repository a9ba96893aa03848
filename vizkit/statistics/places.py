"""Places of a map: which part of the input each can see, and how tables name their tap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from vizkit.models import Classifier
from vizkit.receptive import HEIGHT, WIDTH, Field, fields
from vizkit.results import Tap
from vizkit.stages import trace

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Window:
    """The theoretical receptive fields of one tap's places, in input pixels.

    Attributes
    ----------
    vertical, horizontal : Field or None
        Along the height and the width; None where no field is known, and nothing smaller than
        the whole input can be promised.
    input : tuple of (int, int)
        Height and width of the input.
    """

    vertical: Field | None
    horizontal: Field | None
    input: tuple[int, int]

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the field; None if it is not known."""
        if self.vertical is None or self.horizontal is None:
            return None
        return self.vertical.size, self.horizontal.size

    def box(self, row: int, column: int) -> Box:
        """Give one place's field: x0, y0, x1, y1, half-open, also beyond the input."""
        if self.vertical is None or self.horizontal is None:
            return 0, 0, self.input[1], self.input[0]
        (y0, y1), (x0, x1) = _span(self.vertical, row), _span(self.horizontal, column)
        return x0, y0, x1, y1

    def clipped(self, row: int, column: int) -> Box:
        """Give the part of a place's field that lies in the input; empty if none does."""
        height, width = self.input
        x0, y0, x1, y1 = self.box(row, column)
        left, top = min(max(x0, 0), width), min(max(y0, 0), height)
        return left, top, max(left, min(x1, width)), max(top, min(y1, height))


def windows(module: nn.Module, taps: Sequence[Tap], size: tuple[int, int]) -> dict[Tap, Window]:
    """Compute the receptive fields of taps for inputs of one size.

    Parameters
    ----------
    module : nn.Module
        The network.
    taps : sequence of Tap
        Where it is read.
    size : tuple of (int, int)
        Height and width of the input, in pixels.

    Returns
    -------
    dict of Tap to Window
        One for each tap.
    """
    # some networks do not run on the meta device: where they do, tracing tells
    device = trace(module, size, exact=True)[-1].device
    axes = [fields(module, size, device, axis) for axis in (HEIGHT, WIDTH)]

    def known(tap: Tap, found: dict[tuple[str, int], Field]) -> Field | None:
        field = found.get((tap.module, tap.call))
        # a gate depends on the whole map before it, whatever its own operators look at
        return None if tap.role == "gate" or field is None or not field.known else field

    return {tap: Window(known(tap, axes[0]), known(tap, axes[1]), size) for tap in taps}


def columns_of(classifier: Classifier, tap: Tap) -> dict[str, Any]:
    """Name a tap as the tables of patches and fields do, apart from all others of its network."""
    return {
        "model": classifier.name,
        "layer": tap.layer,
        "role": tap.role,
        "stride": tap.stride,
    }


def _span(field: Field, place: int) -> tuple[int, int]:
    start = field.start + place * field.step
    return start, start + field.size
