"""Mean, standard deviation and energy, from means and squared deviations."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from vizkit.statistics.registry import Accumulator, Site, statistic
from vizkit.statistics.sample import Sample


class Moments(Accumulator):
    """Count, mean and sum of squared deviations of each channel.

    An image is summed row by row in float32, around its own mean so that nothing cancels; rows
    and images are joined in float64, after Chan, Golub and LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances", 1979.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.count = site.zeros(1)
        self.means = site.zeros(site.channels)
        self.squares = site.zeros(site.channels)

    def update(self, sample: Sample) -> None:
        """Count the maps of some images."""
        mean = sample.means.mean(dim=0)
        between = (sample.means - mean).square().sum(dim=0) * sample.area
        number = torch.full_like(self.count, float(len(sample.means) * sample.area))
        self._join(number, mean, sample.squares.sum(dim=0) + between)

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self._join(other.count, other.means, other.squares)

    def _join(self, count: Tensor, means: Tensor, squares: Tensor) -> None:
        """Add the means and squared deviations of other values."""
        total = self.count + count
        shift = means - self.means
        share = count / total.clamp(min=1)
        self.means = self.means + shift * share
        self.squares = self.squares + squares + shift.square() * (self.count * share)
        self.count = total

    @property
    def variance(self) -> Tensor:
        """Population variance of each channel: (C,)."""
        return self.squares / self.count


@statistic(
    by_default=True,
    mean="mean activation",
    std="standard deviation of activations",
    energy="mean squared activation",
)
class Spread(Moments):
    """First two moments over images and places.

    ``mean`` and ``energy`` are the means of a and a^2; ``std`` is the population standard
    deviation. Those of the whole tap are over all channels together.
    """

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        energy = self.variance + self.means.square()
        return {"mean": self.means, "std": self.variance.sqrt(), "energy": energy}

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        variance = self.variance.mean() + self.means.var(correction=0)
        mean = self.means.mean()
        energy = variance + mean.square()
        return {"mean": mean.item(), "std": variance.sqrt().item(), "energy": energy.item()}
