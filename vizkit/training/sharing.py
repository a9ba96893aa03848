"""Which photos each process takes of each step, and in how many parts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch.utils.data import RandomSampler, Sampler

from vizkit.training.photos import Folder


@dataclass(frozen=True)
class Part:
    """Photos that pass through the network together.

    Attributes
    ----------
    places : range
        Places in the epoch's order.
    weight : float
        Of their mean gradient in the step's, where processes' gradients are averaged.
    closes : bool
        Whether the step ends with it.
    """

    places: range
    weight: float
    closes: bool


def parts_of(photos: int, batch_size: int, accumulate: int, rank: int, world: int) -> list[Part]:
    """Cut an epoch into this process's parts of its steps.

    Parameters
    ----------
    photos : int
        In the whole epoch.
    batch_size : int
        Photos of a step, over all processes.
    accumulate : int
        Parts of a step.
    rank, world : int
        Number of this process, and how many there are.

    Returns
    -------
    list of Part
        In order; as many steps in every process.
    """
    found = []
    for start in range(0, photos, batch_size):
        step = range(start, min(start + batch_size, photos))
        # a last step of fewer photos than processes: some read one that does not count
        share = step[rank::world] or step[:1]
        counts = 0.0 if rank >= len(step) else 1.0
        length = math.ceil(len(share) / accumulate)
        for first in range(0, len(share), length):
            places = share[first : first + length]
            weight = counts * len(places) * world / len(step)
            found.append(Part(places, weight, first + length >= len(share)))
    return found


class Shuffled(Sampler[list[int]]):
    """The photos of each part, in an order drawn anew in every epoch.

    Parameters
    ----------
    folder : Folder
        The photos.
    parts : list of Part
        Of this process.
    """

    def __init__(self, folder: Folder, parts: list[Part]) -> None:
        self._folder, self._parts = folder, parts

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[list[int]]:
        # drawn from torch's own generator, which all processes have seeded alike
        order = list(RandomSampler(self._folder))
        for part in self._parts:
            yield [order[place] for place in part.places]
