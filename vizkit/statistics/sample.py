"""The maps of some images at one tap, with the sums that several statistics share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

# sampled places of an image's map; few enough to be nearly free
PLACES = 196
_SEED = 4
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Sample:
    """Feature maps of some images.

    Attributes
    ----------
    maps : Tensor of shape (N, C, h, w)
        Raw values.
    positions : sequence of int
        Where each image stands among all: decides its random places.
    labels : Tensor of shape (N,), int64, or None
        Number of each image's class folder.
    gradients : Tensor of shape (N, C, h, w) or None
        Of each image's log-probability with respect to the maps.
    places : int or None
        How many places are sampled; None for all.
    device : torch.device
        Where sums are kept.
    """

    maps: Tensor
    positions: Sequence[int]
    labels: Tensor | None = None
    gradients: Tensor | None = None
    places: int | None = PLACES
    device: torch.device = CPU

    @property
    def area(self) -> int:
        """Places of a map."""
        return self.maps.shape[2] * self.maps.shape[3]

    @cached_property
    def values(self) -> Tensor:
        """The maps in float32, or in float64 if that is what they are: (N, C, h, w)."""
        return self.maps if self.maps.dtype == torch.float64 else self.maps.float()

    @cached_property
    def means(self) -> Tensor:
        """Mean over places, (N, C), float64."""
        return self.exact(rows(self.values)) / self.area

    @cached_property
    def squares(self) -> Tensor:
        """Sum of squared deviations from each map's own mean, (N, C), float64."""
        # one image's worth of memory, used again and again, is much faster than a batch's
        scratch = torch.empty_like(self.values[0])
        middles = self.means.to(self.values)[:, :, None, None]
        parts = [
            torch.linalg.vector_norm(torch.sub(value, middle, out=scratch), dim=-1)
            for value, middle in zip(self.values, middles, strict=True)
        ]
        about = self.exact(torch.stack(parts)).square().sum(dim=-1)
        # the rounded mean is not quite the mean
        missed = self.means - self.exact(middles[:, :, 0, 0])
        return (about - self.area * missed.square()).clamp(min=0)

    @cached_property
    def peaks(self) -> Tensor:
        """Greatest value of each map, (N, C), float64."""
        return self.exact(self.maps.amax(dim=(-2, -1)))

    @cached_property
    def sampled(self) -> Tensor:
        """Values at random places, the same for all channels of an image: (N, C, P), float32."""
        flat = self.values.flatten(2)
        if self.places is None or self.area <= self.places:
            return flat
        index = torch.from_numpy(
            np.stack([places_of(position, self.area, self.places) for position in self.positions])
        ).to(flat.device, non_blocking=True)
        return flat.gather(2, index.unsqueeze(1).expand(-1, flat.shape[1], -1))

    def exact(self, tensor: Tensor) -> Tensor:
        """Go on in float64 where sums are kept."""
        return tensor.to(self.device).double()


def rows(maps: Tensor) -> Tensor:
    """Sum over places: rows in float32, what they give in float64."""
    short = maps.sum(dim=-1)
    # not every accelerator knows float64
    if short.device.type == "mps":
        short = short.cpu()
    return short.double().sum(dim=-1)


@lru_cache(maxsize=4096)
def places_of(position: int, area: int, count: int) -> np.ndarray:
    """Choose places of a map at random, the same for every network and channel.

    Parameters
    ----------
    position : int
        Which image: each has its own places.
    area : int
        Places of the map.
    count : int
        How many to choose, without repetition.

    Returns
    -------
    ndarray of shape (count,), int64
        Indices into the flattened map.
    """
    generator = np.random.default_rng([_SEED, position, area])
    return generator.choice(area, count, replace=False, shuffle=False)
