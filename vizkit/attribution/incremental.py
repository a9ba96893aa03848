"""Recompute only what a change of a rectangle of the input can change, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vizkit.attribution.chain import Chain

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
class Span:
    """Rows or columns from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    @property
    def slice(self) -> slice:
        """For indexing."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class _Window:
    """How a layer slides over one axis: kernel, step, padding and dilation."""

    kernel: int
    step: int
    padding: int
    dilation: int

    def changed(self, span: Span, length: int) -> Span:
        """Outputs that a change of inputs in a span can change, of ``length`` outputs."""
        reach = self.dilation * (self.kernel - 1)
        first = -((reach - span.start - self.padding) // self.step)
        last = (span.stop - 1 + self.padding) // self.step
        return Span(max(first, 0), min(last + 1, length))

    def needed(self, span: Span) -> Span:
        """Inputs that a span of outputs reads; beyond the border where that is padded."""
        reach = self.dilation * (self.kernel - 1)
        first = span.start * self.step - self.padding
        return Span(first, (span.stop - 1) * self.step - self.padding + reach + 1)


@dataclass(frozen=True)
class Change:
    """New values of a rectangle of maps that are otherwise known.

    Attributes
    ----------
    rows, columns : Span
        The rectangle.
    values : Tensor of shape (1, C, h, w)
        What is there now.
    """

    rows: Span
    columns: Span
    values: Tensor

    def applied(self, maps: Tensor) -> Tensor:
        """Return the whole maps with the change."""
        changed = maps.clone()
        changed[..., self.rows.slice, self.columns.slice] = self.values
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
        isinstance(link.module, _ELEMENTWISE) or _windows(link.module) is not None
        for link in chain.links
    ]
    return next((n for n, yes in enumerate(local) if not yes), len(local))


def propagate(module: nn.Module, before: Tensor, after: Tensor, change: Change) -> Change | None:
    """Carry a change through one layer.

    Parameters
    ----------
    module : nn.Module
        One of the kinds that `local_links` counts.
    before, after : Tensor of shape (1, C, h, w)
        The layer's input and output without the change.
    change : Change
        Of the input.

    Returns
    -------
    Change or None
        Of the output; None if nothing changes.
    """
    windows = _windows(module)
    if windows is None:
        # a copy, for the layer may work in place
        return Change(change.rows, change.columns, module(change.values.clone()))
    rows = windows[0].changed(change.rows, after.shape[-2])
    columns = windows[1].changed(change.columns, after.shape[-1])
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    slab = _slab(before, change, windows[0].needed(rows), windows[1].needed(columns), module)
    return Change(rows, columns, _unpadded(module, slab))


def _slab(before: Tensor, change: Change, rows: Span, columns: Span, module: nn.Module) -> Tensor:
    """Cut the inputs that a layer needs, with the change in them and padding around them."""
    height, width = before.shape[-2:]
    inside = Span(max(rows.start, 0), min(rows.stop, height))
    across = Span(max(columns.start, 0), min(columns.stop, width))
    slab = before[..., inside.slice, across.slice].clone()
    top, bottom = max(change.rows.start, inside.start), min(change.rows.stop, inside.stop)
    left, right = max(change.columns.start, across.start), min(change.columns.stop, across.stop)
    slab[
        ..., top - inside.start : bottom - inside.start, left - across.start : right - across.start
    ] = change.values[
        ...,
        top - change.rows.start : bottom - change.rows.start,
        left - change.columns.start : right - change.columns.start,
    ]
    edges = (
        across.start - columns.start, columns.stop - across.stop,
        inside.start - rows.start, rows.stop - inside.stop,
    )  # fmt: skip
    if not any(edges):
        return slab
    fill = -torch.inf if isinstance(module, nn.MaxPool2d) else 0.0
    return F.pad(slab, edges, value=fill)


def _unpadded(module: Any, slab: Tensor) -> Tensor:
    if isinstance(module, nn.Conv2d):
        return F.conv2d(
            slab, module.weight, module.bias, module.stride, 0, module.dilation, module.groups
        )
    if isinstance(module, nn.MaxPool2d):
        return F.max_pool2d(slab, module.kernel_size, module.stride, 0, module.dilation)
    return F.avg_pool2d(slab, module.kernel_size, module.stride)


def _windows(module: Any) -> tuple[_Window, _Window] | None:
    """How a layer slides over rows and columns; None for layers that do not, or not plainly."""
    if isinstance(module, nn.Conv2d):
        plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    elif isinstance(module, nn.MaxPool2d):
        plain = not module.ceil_mode and not module.return_indices
    elif isinstance(module, nn.AvgPool2d):
        plain = not module.ceil_mode and module.padding in (0, (0, 0))
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
