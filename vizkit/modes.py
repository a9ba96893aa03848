"""PyTorch's modes, which see every call of its functions: put on, and taken off whatever happens.

While a mode handles a call, PyTorch takes it off, in several steps of Python. A Ctrl-C that falls
between them leaves it off, and whoever takes off his own mode afterwards takes another's, or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from torch._C import (
    _get_function_stack_at,
    _len_torch_function_stack,
    _pop_torch_function_stack,
    _push_on_torch_function_stack,
)

from vizkit.interrupts import undivided

T = TypeVar("T")


@undivided
def active(mode: AbstractContextManager[T, bool | None]) -> Iterator[T]:
    """Have a mode see the calls of a block.

    Parameters
    ----------
    mode : TorchFunctionMode, or torch.device
        Put on for the block, and taken off whatever happens.

    Yields
    ------
    object
        What it gives.
    """
    with mode as given, same_modes():
        yield given


@undivided
def same_modes() -> Iterator[None]:
    """Have the same modes after a block as before it."""
    before = _modes()
    try:
        yield
    finally:
        after = _modes()
        if after != before:
            for _ in after:
                _pop_torch_function_stack()
            for mode in before:
                _push_on_torch_function_stack(mode)


def _modes() -> list[Any]:
    return [_get_function_stack_at(n) for n in range(_len_torch_function_stack())]
