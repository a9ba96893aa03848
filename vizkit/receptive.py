"""Theoretical receptive fields: how much of the input one place of a feature map depends on.

One pass on the meta device follows every operator: a convolution or pooling of kernel k and
dilation d widens the field by (k - 1) d steps, concatenation and addition join fields, resizing
changes the step, and everything else keeps the field. Gates that pool over the whole map
(squeeze-excitation) depend on everything; they are left out, as is usual. After Araujo, Norris
and Sim, "Computing receptive fields of convolutional neural networks", Distill 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from vizkit.hooks import blank, dry_run, evaluating

aten = torch.ops.aten

HEIGHT, WIDTH = -2, -1
_PADDINGS = {aten.constant_pad_nd, aten.reflection_pad2d, aten.replication_pad2d}


@dataclass(frozen=True)
class Field:
    """The receptive field of a map's places, along one axis, in input pixels.

    Attributes
    ----------
    size : int
        Width of the field.
    step : int
        Distance between the fields of neighbouring places.
    start : int
        Left edge of the first place's field; negative where padding is inside it.
    """

    size: int = 1
    step: int = 1
    start: int = 0

    def through(self, kernel: int, stride: float, padding: int, dilation: int) -> Field:
        """Field after a sliding window; a stride below 1 resizes to more places."""
        reach = (kernel - 1) * dilation
        return Field(
            self.size + reach * self.step,
            max(1, round(self.step * stride)),
            self.start - padding * self.step,
        )

    def joined(self, other: Field) -> Field:
        """Field that spans this one and another."""
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Field(end - start, max(self.step, other.step), start)


def fields(
    module: nn.Module,
    size: tuple[int, int],
    device: torch.device | str | None = "meta",
    axis: int = HEIGHT,
) -> dict[tuple[str, int], Field]:
    """Compute the receptive field, along one axis, of every module's output.

    Parameters
    ----------
    module : nn.Module
        The network.
    size : tuple of (int, int)
        Height and width of the input, in pixels.
    device : torch.device or str, optional
        Where to run; without arithmetic by default, None for the network's own device.
    axis : int
        Along the height (-2) or the width (-1).

    Returns
    -------
    dict of (str, int) to Field
        By module path and number of the call.
    """
    found: dict[tuple[str, int], Field] = {}
    counts: dict[str, int] = {}
    follower = _Follower(axis)

    def hook(path: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            number = counts[path] = counts.get(path, -1) + 1
            if isinstance(output, Tensor) and output in follower.fields:
                found[path, number] = follower.fields[output]

        return keep

    with evaluating(module):
        for path, submodule in module.named_modules():
            submodule.register_forward_hook(hook(path))
        pixels = blank(module, size, device)
        follower.fields[pixels] = Field()
        with follower:
            dry_run(module, pixels)
    return found


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Carry each tensor's field along as operators make new tensors."""

    def __init__(self, axis: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.axis = axis
        self.fields: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        known = [tensor for tensor in _tensors(args) if tensor in self.fields]
        if known:
            window = _window(func, args, self.axis)
            # beside a map, what has one place only is a gate
            maps = [tensor for tensor in known if not _is_gate(tensor)] or known
            field = reduce(Field.joined, [self.fields[tensor] for tensor in maps])
            if window:
                field = field.through(*window)
            for tensor in _tensors([result]):
                self.fields[tensor] = field
        return result


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _is_gate(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and tuple(tensor.shape[-2:]) == (1, 1)


def _window(func: Any, args: tuple[Any, ...], axis: int) -> tuple[int, float, int, int] | None:
    """Kernel, stride, padding and dilation along one axis, if the operator slides a window."""
    packet = func.overloadpacket
    if packet == aten.convolution and not args[6]:
        return args[1].shape[axis], args[3][axis], args[4][axis], args[5][axis]
    if packet in {aten.max_pool2d_with_indices, aten.avg_pool2d}:
        strides = args[2] if len(args) > 2 and args[2] else args[1]
        padding = args[3][axis] if len(args) > 3 else 0
        dilated = packet == aten.max_pool2d_with_indices and len(args) > 4
        return args[1][axis], strides[axis], padding, args[4][axis] if dilated else 1
    if packet in _PADDINGS:
        # what is added before and after each axis, from the last one backwards
        before = 2 * (-1 - axis)
        return 1, 1, args[1][before] if before < len(args[1]) else 0, 1
    if packet.__name__.startswith("upsample_"):
        kernel = 1 if "nearest" in packet.__name__ else 2
        return kernel, args[0].shape[axis] / args[1][axis], 0, 1
    return None
