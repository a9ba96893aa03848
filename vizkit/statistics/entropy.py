"""Where in the image a channel is active: spread out or in one place."""

from __future__ import annotations

import math
from typing import ClassVar, Self

import torch
from torch import Tensor

from vizkit.statistics.registry import Accumulator, Site, statistic
from vizkit.statistics.sample import Sample


@statistic(spatial_entropy="how evenly activity is spread over the image")
class SpatialEntropy(Accumulator):
    """Entropy of where the activity of a channel lies, at sampled places, in [0, 1].

    -sum p log p / log(P) over P places, with p the share of each place in the sum of |a|: 1 where
    the activity is even, 0 where it is all in one place. A channel's is the mean over the images
    in which it is not zero at all of them, NaN if there are none; the whole tap's is the mean over
    the other channels. 0 for maps of one place. Stages are on one scale where their maps have at
    least as many places as are sampled.
    """

    sampled: ClassVar[bool] = True

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.entropies = site.zeros(site.channels)
        self.images = site.zeros(site.channels)

    def update(self, sample: Sample) -> None:
        """Count the maps of some images."""
        activity = sample.sampled.abs()
        total = activity.sum(dim=-1, keepdim=True)
        shares = activity / total.clamp(min=torch.finfo(total.dtype).tiny)
        alive = sample.exact(total[..., 0] > 0)
        entropy = sample.exact(torch.special.entr(shares).sum(dim=-1))
        entropy = entropy / math.log(max(shares.shape[-1], 2))
        self.entropies = self.entropies + (alive * entropy).sum(dim=0)
        self.images = self.images + alive.sum(dim=0)

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self.entropies = self.entropies + other.entropies
        self.images = self.images + other.images

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        return {"spatial_entropy": self.entropies / self.images}

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        return {"spatial_entropy": self.channels()["spatial_entropy"].nanmean().item()}
