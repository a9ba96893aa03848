"""Several processes or machines share a folder, and end with the same sums."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist

from vizkit.statistics.registry import Accumulator


def place() -> tuple[int, int]:
    """Return the number of this process and how many there are: (0, 1) for a single one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextmanager
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


def reduce(accumulators: Sequence[Accumulator]) -> None:
    """Merge the sums of all processes, in the order of their numbers, into each of them.

    Parameters
    ----------
    accumulators : sequence of Accumulator
        The same kinds in the same order everywhere.
    """
    rank, world = place()
    for accumulator in accumulators if world > 1 else ():
        own = accumulator.state()
        for source in range(world):
            part = {
                name: value.clone() if rank == source else torch.empty_like(value)
                for name, value in own.items()
            }
            for value in part.values():
                dist.broadcast(value, source)
            if source == 0:
                accumulator.restore(part)
            else:
                other = type(accumulator)(accumulator.site)
                other.restore(part)
                accumulator.merge(other)


def gather(failed: dict[str, str]) -> dict[str, str]:
    """Collect the files that could not be read from all processes."""
    _, world = place()
    if world == 1:
        return failed
    parts: list[dict[str, str]] = [{} for _ in range(world)]
    dist.all_gather_object(parts, failed)
    return {file: reason for part in parts for file, reason in part.items()}


def agree() -> None:
    """Wait until all processes are here."""
    if place()[1] > 1:
        dist.barrier()
