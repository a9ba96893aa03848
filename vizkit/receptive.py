"""Theoretical receptive fields: how much of the input one place of a feature map depends on.

One pass on the meta device follows every operator: a convolution or pooling of kernel k and
dilation d widens the field by (k - 1) d steps, concatenation and addition join fields, resizing
changes the step, and what works on each place by itself keeps the field. What mixes places in
another way (attention, group normalisation, pixel shuffling) makes it unknown, for all that comes
after. Gates that pool over the whole map (squeeze-excitation) depend on everything; they are left
out, as is usual. After Araujo, Norris and Sim, "Computing receptive fields of convolutional
neural networks", Distill 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from vizkit.hooks import blank, dry_run, evaluating, in_this_thread
from vizkit.interrupts import surely

aten = torch.ops.aten

HEIGHT, WIDTH = -2, -1


@dataclass(frozen=True)
class Field:
    """The receptive field of a map's places, along one axis, in input pixels.

    Attributes
    ----------
    size : int
        Width of the field; NaN where it is not known.
    step : int
        Distance between the fields of neighbouring places.
    start : int
        Left edge of the first place's field; negative where padding is inside it.
    """

    size: int = 1
    step: int = 1
    start: int = 0

    @property
    def known(self) -> bool:
        """Whether every operator up to here could be followed."""
        return not math.isnan(self.size)

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
        By module path and number of the call; not `Field.known` where places were mixed in a
        way that is not followed.
    """
    found: dict[tuple[str, int], Field] = {}
    counts: dict[str, int] = {}
    follower = _Follower(axis)

    def hook(path: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            number = counts[path] = counts.get(path, -1) + 1
            if isinstance(output, Tensor) and output in follower.layouts:
                found[path, number] = follower.layouts[output].field or _NO_FIELD

        return keep

    with evaluating(module):
        for path, submodule in module.named_modules():
            submodule.register_forward_hook(in_this_thread(hook(path)))
        pixels = blank(module, size, device)
        follower.layouts[pixels] = _Layout(Field(), pixels.shape[axis], axis)
        with surely(follower):
            dry_run(module, pixels)
    return found


@dataclass(frozen=True)
class _Layout:
    """What is known of a tensor along the axis.

    Attributes
    ----------
    field : Field or None
        Of its places; None where they were mixed in a way that is not followed.
    size : int
        How many places there are; 1 where they are pooled, and nothing is left to mix.
    dim : int
        Which dimension they lie along, counted from the last one (-1).
    inner : int
        How many elements that follow each other in this dimension belong to one place: the
        width for the rows of a flattened map.
    """

    field: Field | None
    size: int = 0
    dim: int = -1
    inner: int = 1


_UNKNOWN = _Layout(None)
# NaN, so that a table shows it as what it is
_NO_FIELD = Field(size=math.nan)  # type: ignore[arg-type]


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Carry what is known of each tensor along as operators make new tensors."""

    def __init__(self, axis: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.axis = axis
        self.layouts: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        # before the operator runs: one that works in place changes the shapes of its input
        known = [
            (_Operand(tensor, tuple(tensor.shape)), self.layouts[tensor])
            for tensor in _tensors(args)
            if tensor in self.layouts
        ]
        result = func(*args, **(kwargs or {}))
        if known:
            # beside a map, what has one place only is a gate
            maps = [each for each in known if each[1].size != 1] or known
            layout = reduce(_joined, [each[1] for each in maps])
            operands = [each[0] for each in maps]
            for tensor in _tensors([result]):
                call = _Call(func.overloadpacket, args, operands, tensor)
                self.layouts[tensor] = _after(call, layout, self.axis)
        return result


@dataclass(frozen=True)
class _Operand:
    """A tensor that an operator took, with the shape that it had."""

    tensor: Tensor
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Call:
    """An operator, its arguments, those of them that are maps, and one of its results."""

    packet: Any
    args: tuple[Any, ...]
    maps: list[_Operand]
    result: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first map."""
        return self.maps[0].shape

    def dims(self, argument: int = 1) -> list[int]:
        """Dimensions that an argument names, counted from the last one; by default the first."""
        given = self.args[argument] if len(self.args) > argument else 0
        # operators that reduce take none for all
        if given is None or given == []:
            return list(range(-len(self.shape), 0))
        listed = given if isinstance(given, list | tuple) else [given]
        return [each if each < 0 else each - len(self.shape) for each in listed]


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _joined(one: _Layout, other: _Layout) -> _Layout:
    """Join two maps, or two gates; maps whose places do not correspond make it unknown."""
    if one.field is None or other.field is None:
        return _UNKNOWN
    pooled = one.size == other.size == 1
    if not pooled and (one.size, one.dim, one.inner) != (other.size, other.dim, other.inner):
        return _UNKNOWN
    return replace(one, field=one.field.joined(other.field))


def _after(call: _Call, layout: _Layout, axis: int) -> _Layout:
    """Tell what is known of an operator's result."""
    if layout.field is not None:
        window = _window(call, axis) if call.result.ndim == len(call.shape) == 4 else None
        plain = (layout.dim, layout.inner) == (axis, 1) or layout.size == 1
        if window and plain:
            return _Layout(layout.field.through(*window), call.result.shape[axis], axis)
        if not window and layout.size == 1 and not _spreads(call, axis):
            return layout
        layout = _UNKNOWN if window else _RULES.get(call.packet, _each)(call, layout)
    if layout.field is None and tuple(call.result.shape[-2:]) == (1, 1) and call.result.ndim == 4:
        # a gate, if of unknown extent
        return replace(_UNKNOWN, size=1)
    return layout


def _spreads(call: _Call, axis: int) -> bool:
    """Whether a single place becomes several that differ, as by a transposed convolution."""
    convolved = call.packet == aten.convolution and call.result.ndim == 4
    return convolved and call.result.shape[axis] > 1


def _each(call: _Call, layout: _Layout) -> _Layout:
    """Each place by itself, as long as their number stays."""
    shape = call.result.shape
    kept = len(shape) >= -layout.dim and shape[layout.dim] == call.shape[layout.dim]
    return layout if kept else _UNKNOWN


def _mixed(_call: _Call, _layout: _Layout) -> _Layout:
    return _UNKNOWN


def _viewed(call: _Call, layout: _Layout) -> _Layout:
    """Find the places again in another shape of the same elements."""
    # how many elements lie between a place and the next
    step = layout.inner * math.prod(call.shape[len(call.shape) + layout.dim + 1 :])
    behind = 1
    for dim in range(-1, -call.result.ndim - 1, -1):
        length = call.result.shape[dim]
        within = step % behind == 0 and (behind * length) % (step * layout.size) == 0
        if within and step * layout.size <= behind * length:
            return replace(layout, dim=dim, inner=step // behind)
        behind *= length
    return _UNKNOWN


def _permuted(call: _Call, layout: _Layout) -> _Layout:
    return replace(layout, dim=call.dims().index(layout.dim) - len(call.shape))


def _transposed(call: _Call, layout: _Layout) -> _Layout:
    first, second = (-1, -2) if call.packet == aten.t else (*call.dims(1), *call.dims(2))
    return replace(layout, dim={first: second, second: first}.get(layout.dim, layout.dim))


def _reduced(call: _Call, layout: _Layout) -> _Layout:
    """Follow a mean or maximum over dimensions: over the places, it is a gate."""
    dims = call.dims() if len(call.args) > 1 else list(range(-len(call.shape), 0))
    if layout.dim in dims:
        return replace(layout, size=1)
    gone = call.result.ndim < len(call.shape)
    return replace(layout, dim=layout.dim + gone * sum(dim > layout.dim for dim in dims))


def _selected(call: _Call, layout: _Layout) -> _Layout:
    return _UNKNOWN if layout.dim in call.dims() else _reduced(call, layout)


def _along(call: _Call, layout: _Layout) -> _Layout:
    """Along one dimension: unknown if it is that of the places."""
    return _UNKNOWN if layout.dim in call.dims() else _each(call, layout)


def _stacked(call: _Call, layout: _Layout) -> _Layout:
    given = call.args[1] if len(call.args) > 1 else 0
    behind = given % call.result.ndim > layout.dim + len(call.shape)
    return replace(layout, dim=layout.dim - behind)


def _layer_normed(call: _Call, layout: _Layout) -> _Layout:
    return _UNKNOWN if layout.dim >= -len(call.args[1]) else layout


def _batch_normed(call: _Call, layout: _Layout) -> _Layout:
    # with statistics of its own input, as instance normalisation has
    return _UNKNOWN if any(each is True for each in call.args) else layout


def _multiplied(call: _Call, layout: _Layout) -> _Layout:
    """Follow a product: weights mix the last dimension only, two maps are attention."""
    first = call.args[1 if call.packet in {aten.addmm, aten.baddbmm} else 0]
    weights = len(call.maps) == 1 and call.maps[0].tensor is first
    if weights and len(call.shape) == 2 and call.shape[0] == 1:
        # the head: the whole of the one image in a row, and no places any more
        return replace(layout, size=1)
    return _each(call, layout) if weights and layout.dim != -1 else _UNKNOWN


def _pooled(call: _Call, layout: _Layout) -> _Layout:
    """Adaptive pooling: to one place, a gate."""
    one = len(call.shape) >= -layout.dim and call.result.shape[layout.dim] == 1
    return replace(layout, size=1) if one else _each(call, layout)


def _padded(call: _Call, layout: _Layout) -> _Layout:
    # what is added before and after each dimension, from the last one backwards
    added = call.args[1][2 * (-1 - layout.dim) :][:2]
    if not any(added):
        return layout
    flat = call.shape[layout.dim] != layout.size
    if flat or layout.field is None:
        return _UNKNOWN
    field = layout.field.through(1, 1, added[0], 1)
    return replace(layout, field=field, size=call.result.shape[layout.dim])


def _window(call: _Call, axis: int) -> tuple[int, float, int, int] | None:
    """Kernel, stride, padding and dilation along one axis, if the operator slides a window."""
    packet, args = call.packet, call.args
    if packet == aten.convolution and not args[6]:
        return args[1].shape[axis], args[3][axis], args[4][axis], args[5][axis]
    if packet in {aten.max_pool2d_with_indices, aten.avg_pool2d}:
        strides = args[2] if len(args) > 2 and args[2] else args[1]
        padding = args[3][axis] if len(args) > 3 else 0
        dilated = packet == aten.max_pool2d_with_indices and len(args) > 4
        return args[1][axis], strides[axis], padding, args[4][axis] if dilated else 1
    if packet.__name__.startswith("upsample_"):
        kernel = 1 if "nearest" in packet.__name__ else 2
        return kernel, call.shape[axis] / call.result.shape[axis], 0, 1
    return None


def _rules(names: str, rule: _Rule) -> dict[Any, _Rule]:
    """One rule for several operators, as far as this PyTorch has them."""
    return {getattr(aten, name): rule for name in names.split() if hasattr(aten, name)}


_Rule = Callable[[_Call, _Layout], _Layout]
_RULES: dict[Any, _Rule] = (
    _rules("view _unsafe_view reshape _reshape_alias unsqueeze squeeze", _viewed)
    | _rules("permute", _permuted)
    | _rules("transpose t", _transposed)
    | _rules("mean sum amax amin var std var_mean logsumexp linalg_vector_norm norm", _reduced)
    | _rules("max min any all argmax prod", _reduced)
    | _rules("select unbind", _selected)
    | _rules("_softmax _log_softmax cat index_select cumsum cumprod sort topk", _along)
    | _rules("stack", _stacked)
    | _rules("native_layer_norm", _layer_normed)
    | _rules("native_batch_norm _native_batch_norm_legit cudnn_batch_norm", _batch_normed)
    | _rules("miopen_batch_norm _batch_norm_with_update", _batch_normed)
    | _rules("mm addmm bmm baddbmm linear matmul", _multiplied)
    | _rules("_adaptive_avg_pool2d adaptive_max_pool2d", _pooled)
    | _rules("constant_pad_nd reflection_pad2d replication_pad2d", _padded)
    | _rules("convolution native_group_norm pixel_shuffle pixel_unshuffle", _mixed)
    | _rules("roll flip index gather scatter take unfold as_strided im2col col2im", _mixed)
    | _rules("grid_sampler_2d _fft_r2c _fft_c2c _fft_c2r repeat repeat_interleave", _mixed)
    | _rules("scaled_dot_product_attention _scaled_dot_product_flash_attention", _mixed)
    | _rules("_scaled_dot_product_flash_attention_for_cpu", _mixed)
    | _rules("_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention", _mixed)
    | _rules("_scaled_dot_product_attention_math _native_multi_head_attention", _mixed)
)
