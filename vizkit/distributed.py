"""Several processes or machines share a folder of photos."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeVar

import torch
import torch.distributed as dist

from vizkit.interrupts import managed

_T = TypeVar("_T")


def place() -> tuple[int, int]:
    """Return the number of this process and how many there are: (0, 1) for a single one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@managed
def process_group() -> Iterator[None]:
    """Join the processes that ``torchrun`` started; nothing happens in a single process.

    GPUs talk through NCCL and each process gets its own; otherwise Gloo is used.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # networks may have been put on the CPU all the same
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def every(own: _T) -> list[_T]:
    """Collect one value from each process, in the order of their numbers, in all of them."""
    _, world = place()
    if world == 1:
        return [own]
    parts = [own] * world
    dist.all_gather_object(parts, own)
    return parts


def gather(failed: dict[str, str]) -> dict[str, str]:
    """Collect the files that could not be read from all processes."""
    return {file: reason for part in every(failed) for file, reason in part.items()}


def agree() -> None:
    """Wait until all processes are here."""
    if place()[1] > 1:
        dist.barrier()
