"""How many inputs, and how many classes, to run at a time."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

_PIXELS_ON_CPU = 4 * 224 * 224
_PIXELS_ON_GPU = 64 * 224 * 224
# a gradient, its copy in the stack of all classes, and what a method makes of it
_BYTES = 3 * 4
_GRADIENT_BYTES = 2 << 30


def automatic(inputs: Tensor) -> int:
    """Choose a batch size: small enough for the cache of a CPU, large enough to fill a GPU.

    Parameters
    ----------
    inputs : Tensor of shape (N, 3, H, W)
        Of the size and on the device that matter.

    Returns
    -------
    int
        At least 1.
    """
    pixels = _PIXELS_ON_CPU if inputs.device.type == "cpu" else _PIXELS_ON_GPU
    return max(1, min(128, pixels // (inputs.shape[-2] * inputs.shape[-1])))


def classes_at_once(maps: Iterable[Tensor]) -> int:
    """Choose for how many classes the gradients of all maps may be held in memory together.

    Parameters
    ----------
    maps : iterable of Tensor of shape (N, C, h, w)
        What the gradients are of.

    Returns
    -------
    int
        At least 1.
    """
    size = sum(each.numel() for each in maps) * _BYTES
    return max(1, _GRADIENT_BYTES // max(size, 1))
