"""Mean, standard deviation and energy, from means and squared deviations."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from vizkit.statistics.registry import statistic


@statistic(
    mean="mean activation",
    std="standard deviation of activations",
    energy="mean squared activation",
)
class Moments:
    """First two moments over images and places.

    ``mean`` and ``energy`` are the means of a and a^2; ``std`` is the population standard
    deviation. Those of the whole tap are over all channels together. One image is summed in
    float32, around its own mean so that nothing cancels; images are joined in float64, after
    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.means = torch.zeros(channels, dtype=torch.float64)
        self.squares = torch.zeros(channels, dtype=torch.float64)

    def update(self, maps: Tensor) -> None:
        """Count the maps of some images: (N, C, h, w)."""
        values = maps.float()
        means = values.mean(dim=(-2, -1), keepdim=True)
        # one image's worth of memory, used again and again, is much faster than a batch's
        scratch = torch.empty_like(values[0])
        norms = torch.stack(
            [
                torch.linalg.vector_norm(torch.sub(value, mean, out=scratch), dim=(-2, -1))
                for value, mean in zip(values, means, strict=True)
            ]
        )
        squares = norms.double().square().cpu()
        places = maps.shape[2] * maps.shape[3]
        for mean, square in zip(means.double().cpu().flatten(1), squares, strict=True):
            self._join(places, mean, square)

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self._join(other.count, other.means, other.squares)

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        variance = self.squares / self.count
        energy = variance + self.means.square()
        return {"mean": self.means, "std": variance.sqrt(), "energy": energy}

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        variance = (self.squares / self.count).mean() + self.means.var(correction=0)
        mean = self.means.mean()
        energy = variance + mean.square()
        return {"mean": mean.item(), "std": variance.sqrt().item(), "energy": energy.item()}

    def _join(self, count: int, means: Tensor, squares: Tensor) -> None:
        """Add the means and squared deviations of other values."""
        total = self.count + count
        shift = means - self.means
        share = count / max(total, 1)
        self.means = self.means + shift * share
        self.squares = self.squares + squares + shift.square() * (self.count * share)
        self.count = total
