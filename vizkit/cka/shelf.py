"""Room for the maps of one batch, used again for the next one and for the next network."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

CPU = torch.device("cpu")


@dataclass(eq=False)
class Shelf:
    """Flattened maps, in memory that is taken once.

    Holding the maps that a network gave would take fresh memory for every batch, which costs
    more than to copy them.
    """

    room: dict[tuple[int, torch.device, torch.dtype], Tensor] = field(default_factory=dict)

    def put(self, place: int, first: int, maps: Tensor, count: int) -> Tensor:
        """Keep the maps of some images of a batch.

        Parameters
        ----------
        place : int
            Number of the tap.
        first : int
            Where in the batch the images stand.
        maps : Tensor of shape (N, C, h, w)
            Raw.
        count : int
            Images in the whole batch.

        Returns
        -------
        Tensor of shape (count, C * h * w), float32 or float64
            Room for the whole batch, filled so far.
        """
        kind = torch.float64 if maps.dtype == torch.float64 else torch.float32
        # float64 sums must be possible
        home = CPU if maps.device.type == "mps" else maps.device
        size = count * maps[0].numel()
        key = (place, home, kind)
        if key not in self.room or self.room[key].numel() < size:
            self.room[key] = torch.empty(size, dtype=kind, device=home)
        rows = self.room[key][:size].view(count, *maps.shape[1:])
        rows[first : first + len(maps)].copy_(maps)
        return rows.flatten(1)
