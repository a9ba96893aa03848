"""DeepLIFT's rescale rule as a mode that makes each activation linear between two inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

from vizkit.attribution.baselines import baseline_of
from vizkit.attribution.query import Query, by_class
from vizkit.attribution.registry import method
from vizkit.modes import active

COLOURS = -3
# below this difference of the two inputs the slope is the derivative
_NEAR = 1e-6
# values of a baseline are the same in a max pooling below this share of the largest
_TIE = 1e-4
_IN_PLACE = frozenset({
    F.relu_, torch.relu_, Tensor.relu_, F.leaky_relu_, F.elu_, F.hardtanh_, torch.sigmoid_,
    Tensor.sigmoid_, torch.tanh_, Tensor.tanh_, Tensor.clamp_, Tensor.mul_, Tensor.__imul__,
})  # fmt: skip
_PRODUCTS = frozenset({
    torch.mul, Tensor.mul, torch.multiply, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__,
    Tensor.mul_, Tensor.__imul__,
})  # fmt: skip
_ELEMENTWISE = (_IN_PLACE - _PRODUCTS) | {
    F.relu, torch.relu, Tensor.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu,
    F.mish, F.softplus, F.hardswish, F.hardsigmoid, F.hardtanh, F.prelu, torch.prelu,
    torch.sigmoid, Tensor.sigmoid, F.sigmoid, torch.tanh, Tensor.tanh, F.tanh, torch.clamp,
    Tensor.clamp,
}  # fmt: skip
_POOLS = frozenset({F.max_pool2d, torch.max_pool2d})


@method("deep_lift", label="DeepLIFT", paper="arXiv:1704.02685", level="input")
def deep_lift(query: Query, *, baseline: str = "mean") -> tuple[Tensor, Tensor]:
    """Compare with a baseline in one pass, activation by activation (the rescale rule).

    Shrikumar, Greenside and Kundaje, "Learning important features through propagating activation
    differences", ICML 2017. An activation passes back the ratio of its output's difference to
    its input's; a max pooling credits the places where it is greatest in either pass; of a product
    each factor gets the other's mean over the two. So the map sums to S(x) - S(b) for networks of
    these and of linear layers (VGG and VoVNet among them), whether they are modules or functions,
    in place or used twice; for any other network the error says by how much it does not.

    Parameters
    ----------
    query : Query
        Network, inputs and classes.
    baseline : str
        ``"mean"``, ``"black"``, ``"white"`` or ``"blur"``.

    Returns
    -------
    maps : Tensor of shape (N, T, H, W)
        Signed; in units of the logit.
    error : Tensor of shape (N, T)
        Sum of the map less S(x) - S(b).
    """
    reference = baseline_of(baseline, query.inputs, query.transform)
    pair = torch.cat([query.inputs, reference]).requires_grad_()
    with active(_Rescaled()):
        scores, scores_of_reference = query.outputs(pair).chunk(2)
    targets = query.targets
    (multipliers,) = by_class(scores, [pair], targets)
    own = multipliers[: len(targets)]
    maps = (own * (query.inputs - reference).unsqueeze(1)).sum(dim=COLOURS)
    gains = (scores - scores_of_reference).detach().gather(1, targets)
    return maps, maps.sum(dim=(-2, -1)) - gains


class _Rescaled(TorchFunctionMode):
    """Inside, the first half of a batch is explained against the second.

    Values stay what they are; only the gradients of what is not linear are those of a line
    through both.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Compute one call of a function of torch."""
        named = dict(kwargs or {})
        first = args[0] if args else named.pop("input", None)
        if not isinstance(first, Tensor) or not first.requires_grad:
            return func(*args, **dict(kwargs or {}))
        rest = args[1:]
        in_place = func in _IN_PLACE or named.get("inplace", False) is True
        if func in _ELEMENTWISE:
            output = _secant(first, lambda some: func(some.clone(), *rest, **named))
            return first.copy_(output) if in_place else output
        if func in _PRODUCTS and isinstance(rest[0], Tensor) and rest[0].requires_grad:
            output = _shared(first, rest[0])
            return first.copy_(output) if in_place else output
        if func in _POOLS and not named.get("return_indices", False):
            return _credited(first, *rest, **named)
        return func(*args, **dict(kwargs or {}))


def _lines(values: Tensor, linear: Tensor) -> Tensor:
    """Given values with the gradients of something linear."""
    return linear + (values - linear).detach()


def _twice(half: Tensor) -> Tensor:
    return torch.cat([half, half])


def _secant(pair: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply an elementwise function, with the slope of the line through both halves."""
    inner = pair.detach().requires_grad_()
    outputs = function(inner)
    (slopes,) = torch.autograd.grad(outputs.sum(), inner)
    (low, high), (y, y_reference) = pair.detach().chunk(2), outputs.detach().chunk(2)
    apart = low - high
    near = apart.abs() < _NEAR
    slope = torch.where(near, slopes.chunk(2)[0], (y - y_reference) / apart.masked_fill(near, 1))
    return _lines(outputs.detach(), pair * _twice(slope))


def _shared(first: Tensor, second: Tensor) -> Tensor:
    """Multiply: each factor counts with the mean of the other."""
    means = [_twice(torch.stack(each.detach().chunk(2)).mean(0)) for each in (first, second)]
    return _lines((first * second).detach(), first * means[1] + means[0] * second)


def _credited(
    pair: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,  # noqa: ARG001  (torch passes it on)
) -> Tensor:
    """Pool: the difference of the maxima is that of the places where either half has its own."""
    window: Any = (kernel_size, stride or None, padding, dilation, ceil_mode, True)
    values, places = F.max_pool2d(pair.detach(), *window)
    flat = pair.flatten(2)
    shape = values.shape
    (own, reference), (at, _) = values.chunk(2), places.flatten(2).chunk(2)
    # a baseline of one colour is the same in many places: rounding must not choose among them
    base = pair.detach().chunk(2)[1]
    step = _TIE * base.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-30)
    at_reference = F.max_pool2d((base / step).round(), *window)[1].flatten(2)
    there = base.flatten(2).gather(2, at)
    ties = reference.flatten(2) - there <= step.flatten(2)
    at_reference = torch.where(ties, at, at_reference)
    greatest = torch.maximum(own, reference)
    shares = [
        _ratio((greatest - reference).flatten(2), flat, at, 1.0),
        _ratio((own - greatest).flatten(2), flat, at_reference, 0.0),
    ]
    parts = [
        flat.gather(2, _twice(index)) * _twice(share)
        for index, share in zip((at, at_reference), shares, strict=True)
    ]
    return _lines(values, (parts[0] + parts[1]).view(shape))


def _ratio(gain: Tensor, flat: Tensor, at: Tensor, otherwise: float) -> Tensor:
    """Share of a gain in the difference of the two halves at some places."""
    own, reference = flat.detach().chunk(2)
    apart = (own - reference).gather(2, at)
    near = apart.abs() < _NEAR
    return (gain / apart.masked_fill(near, 1)).masked_fill(near, otherwise)
