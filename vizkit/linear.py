"""Run a convolution that covers its whole input as what it is: a linear layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = frozenset({torch.conv2d, F.conv2d})


class LinearHeads(TorchFunctionMode):
    """Inside, convolutions with one output place are computed as matrix products.

    timm's VGG has a 7x7 convolution on a 7x7 map for its first classifier layer, which takes half
    of the time of a forward pass at batch size 1, and more of a backward pass. The same numbers
    as a linear layer take a tenth of that. No network is touched: only the calls of this thread
    inside the context are replaced.

    Parameters
    ----------
    gates : bool
        Also 1x1 convolutions of one place, as in squeeze-and-excitation. They are faster so for
        few images; False leaves all maps the same to the last bit.
    """

    def __init__(self, *, gates: bool = True) -> None:
        super().__init__()
        self.gates = gates

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Compute one call of a function of torch."""
        if func in _CONVOLUTIONS:
            return _convolved(self.gates, func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _convolved(
    gates: bool,
    func: Callable[..., Tensor],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    covers = input.ndim == 4 and input.shape[1:] == weight.shape[1:]
    covers = covers and (gates or weight.shape[2:] != (1, 1))
    if covers and groups == 1 and not _any_but(0, padding) and not _any_but(1, dilation):
        return F.linear(input.flatten(1), weight.flatten(1), bias)[:, :, None, None]
    return func(input, weight, bias, stride, padding, dilation, groups)


def _any_but(value: int, setting: Any) -> bool:
    if isinstance(setting, str):
        return setting != "valid"
    return any(each != value for each in ([setting] if isinstance(setting, int) else setting))
