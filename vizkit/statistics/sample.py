"""The maps of some images at one tap, with the sums that several statistics share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

# sampled places of an image's map; few enough to be nearly free
PLACES = 100
_SEED = 4
# places summed in one go
_SHORT = 1024
# squared mean over variance, from where on sums of squares about zero lose too many digits
_FAR = 9.0
# a standard deviation of this share of the mean is that of a constant, rounded
STILL = 1e-9
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
        return self.exact(_rows(self.values).sum(dim=-1)).sum(dim=-1) / self.area

    @cached_property
    def squares(self) -> Tensor:
        """Sum of squared deviations from each map's own mean, (N, C), float64."""
        if self.maps.device.type != "cpu":
            return self._about_means(self.values, self.means)
        # sums about zero are cheaper; they lose digits where a mean is far from it
        sums = self.area * self.means.square()
        squares = (self._norms(self.values) - sums).clamp(min=0)
        far = (sums > _FAR * squares).any(dim=0) & (sums > 0).any(dim=0)
        if far.any():
            squares[:, far] = self._about_means(self.values[:, far], self.means[:, far])
        return squares

    @cached_property
    def lows(self) -> Tensor:
        """Smallest value of each map, (N, C), float64."""
        return self.exact(self.maps.amin(dim=(-2, -1)))

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

    def _about_means(self, values: Tensor, means: Tensor) -> Tensor:
        """Sum of squared deviations from means, (N, C), float64."""
        # one image's worth of memory, used again and again, is much faster than a batch's
        scratch = torch.empty_like(values[0])
        middles = means.to(values)[:, :, None, None]
        parts = [
            self._norms(torch.sub(value, middle, out=scratch))
            for value, middle in zip(values, middles, strict=True)
        ]
        # the rounded mean is not quite the mean
        missed = means - self.exact(middles[:, :, 0, 0])
        return (torch.stack(parts) - self.area * missed.square()).clamp(min=0)

    def _norms(self, maps: Tensor) -> Tensor:
        """Sum of squares over places, float64."""
        return self.exact(torch.linalg.vector_norm(_rows(maps), dim=-1)).square().sum(dim=-1)


def _rows(maps: Tensor) -> Tensor:
    """Cut maps into rows short enough to be summed in their own precision: (..., R, W)."""
    return maps if maps.shape[-1] * maps.shape[-2] > _SHORT else maps.flatten(-2).unsqueeze(-2)


@lru_cache(maxsize=512)
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
