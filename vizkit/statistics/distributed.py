"""Several processes that share a folder end with the same sums."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist

from vizkit.distributed import place
from vizkit.statistics.registry import Accumulator


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
