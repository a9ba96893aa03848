"""What to do where memory does not suffice: ask before, or take less at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from vizkit.errors import TooLargeError

T = TypeVar("T")
# limits of the group of processes that this one belongs to, as in a container
_GROUP = Path("/sys/fs/cgroup")


def room_on(device: torch.device) -> int | None:
    """Tell how much memory is left.

    Parameters
    ----------
    device : torch.device
        Where.

    Returns
    -------
    int or None
        Bytes that can still be had; None where it cannot be told.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # what PyTorch holds already and does not use
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    return min(_left(), default=None)


def require_room(needed: int, device: torch.device, what: str, advice: str) -> None:
    """Refuse what cannot fit before any work is done.

    Parameters
    ----------
    needed : int
        Bytes.
    device : torch.device
        Where they would be.
    what : str
        What needs them, for the message.
    advice : str
        What to do instead.

    Raises
    ------
    TooLargeError
        If less memory is left.
    """
    room = room_on(device)
    if room is not None and needed > room:
        raise TooLargeError(
            f"{what} would take {needed / 1e9:.1f} GB of memory, and {room / 1e9:.1f} GB are left "
            f"on {device}; {advice}"
        )


def _left() -> Iterator[int]:
    """Bytes left on this machine, and within the limits of this group of processes."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        yield next(int(line.split()[1]) for line in lines if line[:12] == "MemAvailable") * 1024
    # where there is no limit, "max" is no number
    with suppress(OSError, ValueError, StopIteration):
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        yield max(0, limit - used + _cached(_GROUP / "memory.stat"))


def _cached(facts: Path) -> int:
    """Bytes of files that are kept in memory only as long as nobody needs it."""
    return next(
        int(line.split()[1])
        for line in facts.read_text().splitlines()
        if line.startswith("inactive_file ")
    )


def shrinking(run: Callable[[int], T], size: int) -> T:
    """Run something with a batch size, and with half of it as long as memory does not suffice.

    Parameters
    ----------
    run : callable
        Takes the batch size.
    size : int
        The first to try.

    Returns
    -------
    object
        What it returned.

    Raises
    ------
    Exception
        What it raised at batch size 1, or for any other reason.
    """
    while True:
        try:
            return run(size)
        except RuntimeError as error:
            if size == 1 or not out_of_memory(error):
                raise
        # outside the handler, so that the failed run's tensors are gone
        size = max(1, size // 2)
        _give_back()


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


def in_parts(run: Callable[[slice], T], count: int) -> list[T]:
    """Run something on a batch at once, or in halves where memory does not suffice.

    Parameters
    ----------
    run : callable
        Given which of the inputs; leaves nothing behind if it fails.
    count : int
        How many inputs there are.

    Returns
    -------
    list
        What it returned for each part, in order.
    """
    found: list[T] = []
    left = [slice(0, count)]
    while left:
        part = left.pop()
        try:
            found.append(run(part))
            continue
        except RuntimeError as error:
            if part.stop - part.start < 2 or not out_of_memory(error):
                raise
        middle = (part.start + part.stop) // 2
        left += [slice(middle, part.stop), slice(part.start, middle)]
        _give_back()
    return found


def _give_back() -> None:
    """Give memory that failed runs have held back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
