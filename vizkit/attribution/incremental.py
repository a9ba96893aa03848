"""Recompute only what changes of rectangles of the input can change, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vizkit.attribution.chain import Chain, is_known

# one output place depends on the same input place alone
_ELEMENTWISE = (
    nn.modules.batchnorm._BatchNorm,  # noqa: SLF001
    nn.modules.dropout._DropoutNd,  # noqa: SLF001
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Hardswish,
    nn.Hardsigmoid,
)


@dataclass(frozen=True)
class _Window:
    """How a layer slides over one axis: kernel, step, padding and dilation."""

    kernel: int
    step: int
    padding: int
    dilation: int

    def changed(self, start: int, stop: int, length: int) -> tuple[int, int]:
        """Find the outputs, of ``length``, that inputs from ``start`` up to ``stop`` can change."""
        reach = self.dilation * (self.kernel - 1)
        first = -((reach - start - self.padding) // self.step)
        last = (stop - 1 + self.padding) // self.step
        return max(first, 0), min(last + 1, length)

    def read(self, count: int) -> int:
        """Count the inputs that ``count`` outputs read, padding included."""
        return (count - 1) * self.step + self.dilation * (self.kernel - 1) + 1


@dataclass(frozen=True)
class Changes:
    """New values of rectangles of one size, each in maps that are otherwise known.

    Attributes
    ----------
    tops, lefts : sequence of int
        Where each of the B rectangles begins.
    values : Tensor of shape (B, C, h, w)
        What is there now.
    """

    tops: Sequence[int]
    lefts: Sequence[int]
    values: Tensor

    def applied(self, maps: Tensor) -> Tensor:
        """Return the whole maps (1, C, H, W) with each of the changes, (B, C, H, W)."""
        changed = maps.repeat(len(self.tops), 1, 1, 1)
        height, width = self.values.shape[-2:]
        for one, top, left, values in zip(changed, self.tops, self.lefts, self.values, strict=True):
            one[:, top : top + height, left : left + width] = values
        return changed


def local_links(chain: Chain) -> int:
    """Count the first links through which a change of a rectangle stays one.

    Parameters
    ----------
    chain : Chain
        Of a network.

    Returns
    -------
    int
        Convolutions, poolings and elementwise layers before anything else.
    """
    local = [
        _is_elementwise(link.module) or _windows(link.module) is not None for link in chain.links
    ]
    return next((n for n, yes in enumerate(local) if not yes), len(local))


def _is_elementwise(module: nn.Module) -> bool:
    if not isinstance(module, _ELEMENTWISE) or not is_known(module):
        return False
    return getattr(module, "track_running_stats", True) is True


def propagate(module: nn.Module, before: Tensor, after: Tensor, changes: Changes) -> Changes:
    """Carry changes through one layer.

    Parameters
    ----------
    module : nn.Module
        One of the kinds that `local_links` counts.
    before, after : Tensor of shape (1, C, h, w)
        The layer's input and output without any change.
    changes : Changes
        Of the input.

    Returns
    -------
    Changes
        Of the output. Rectangles are as large as the largest needs; what a smaller change
        leaves alone is computed again and comes out the same.
    """
    windows = _windows(module)
    if windows is None:
        # a copy, for the layer may work in place
        return Changes(changes.tops, changes.lefts, module(changes.values.clone()))
    height, width = changes.values.shape[-2:]
    tops, rows = _carried(windows[0], changes.tops, height, after.shape[-2])
    lefts, columns = _carried(windows[1], changes.lefts, width, after.shape[-1])
    slabs = _slabs(module, windows, before, changes, (tops, rows), (lefts, columns))
    return Changes(tops, lefts, _unpadded(module, slabs))


def _carried(
    window: _Window, starts: Sequence[int], size: int, length: int
) -> tuple[list[int], int]:
    """Where the changed outputs of each rectangle begin, and how many there are at most."""
    spans = [window.changed(start, start + size, length) for start in starts]
    most = max(1, *(stop - start for start, stop in spans))
    return [max(0, min(start, length - most)) for start, _ in spans], most


def _slabs(
    module: nn.Module,
    windows: tuple[_Window, _Window],
    before: Tensor,
    changes: Changes,
    rows: tuple[list[int], int],
    columns: tuple[list[int], int],
) -> Tensor:
    """Cut what each rectangle of outputs reads, with its change in it and padding around it."""
    fill = -torch.inf if isinstance(module, nn.MaxPool2d) else 0.0
    down, across = windows[0].padding, windows[1].padding
    padded = F.pad(before, (across, across, down, down), value=fill)[0]
    high, wide = windows[0].read(rows[1]), windows[1].read(columns[1])
    slabs = []
    places = zip(rows[0], columns[0], changes.tops, changes.lefts, changes.values, strict=True)
    for row, column, top, left, values in places:
        y, x = row * windows[0].step, column * windows[1].step
        slab = padded[:, y : y + high, x : x + wide].clone()
        _paste(slab, values, top + down - y, left + across - x)
        slabs.append(slab)
    return torch.stack(slabs)


def _paste(slab: Tensor, values: Tensor, top: int, left: int) -> None:
    """Put values at a place that may lie partly outside."""
    bottom = min(top + values.shape[-2], slab.shape[-2])
    right = min(left + values.shape[-1], slab.shape[-1])
    y, x = max(top, 0), max(left, 0)
    if bottom <= y or right <= x:  # no output reads it
        return
    slab[:, y:bottom, x:right] = values[:, y - top : bottom - top, x - left : right - left]


def _unpadded(module: Any, slabs: Tensor) -> Tensor:
    if isinstance(module, nn.Conv2d):
        return F.conv2d(
            slabs, module.weight, module.bias, module.stride, 0, module.dilation, module.groups
        )
    if isinstance(module, nn.MaxPool2d):
        return F.max_pool2d(slabs, module.kernel_size, module.stride, 0, module.dilation)
    return F.avg_pool2d(slabs, module.kernel_size, module.stride)


def _windows(module: Any) -> tuple[_Window, _Window] | None:
    """How a layer slides over rows and columns; None for layers that do not, or not plainly."""
    if not is_known(module):
        return None
    # these very classes: a subclass may compute something else
    if type(module) is nn.Conv2d:
        plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    elif type(module) is nn.MaxPool2d:
        plain = not module.ceil_mode and not module.return_indices
    elif type(module) is nn.AvgPool2d:
        plain = not (module.ceil_mode or any(_pair(module.padding)) or module.divisor_override)
    else:
        return None
    if not plain:
        return None
    kernel, step, padding = (_pair(v) for v in (module.kernel_size, module.stride, module.padding))
    dilation = _pair(getattr(module, "dilation", 1))
    first, second = (_Window(*axis) for axis in zip(kernel, step, padding, dilation, strict=True))
    return first, second


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
