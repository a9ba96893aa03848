"""How many inputs to run at a time, and what to do when that was too many."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
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


def shrinking(run: Callable[[int], Tensor], size: int) -> Tensor:
    """Run something with a batch size, and with half of it as long as memory does not suffice.

    Parameters
    ----------
    run : callable
        Takes the batch size.
    size : int
        The first to try.

    Returns
    -------
    Tensor
        What it returned.

    Raises
    ------
    Exception
        What it raised at batch size 1, or for any other reason.
    """
    while True:
        try:
            return run(size)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if size == 1 or not out_of_memory(error):
                raise
        # outside the handler, so that the failed run's tensors are gone
        size = max(1, size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def in_batches(run: Callable[[Tensor], Tensor], inputs: Tensor, size: int) -> Tensor:
    """Run something on inputs, batch after batch.

    Parameters
    ----------
    run : callable
        From (B, ...) to (B, ...).
    inputs : Tensor of shape (M, ...)
        Any number of them.
    size : int
        How many at a time; fewer where memory does not suffice.

    Returns
    -------
    Tensor of shape (M, ...)
        The results, in order.
    """

    def every(some: int) -> Tensor:
        starts = range(0, len(inputs), some)
        return torch.cat([run(inputs[start : start + some]) for start in starts])

    return shrinking(every, size)


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory did not suffice, on any device."""
    words = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in words
