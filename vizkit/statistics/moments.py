"""Mean, standard deviation and energy, from sums of values and of squares."""

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
    deviation. Those of the whole tap are over all channels together. Sums of one image are
    float32, sums over images float64.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.sums = torch.zeros(channels, dtype=torch.float64)
        self.squares = torch.zeros(channels, dtype=torch.float64)

    def update(self, maps: Tensor) -> None:
        """Count the maps of some images: (N, C, h, w)."""
        values = maps.float()
        self.count += values.shape[0] * values.shape[2] * values.shape[3]
        self.sums += values.sum(dim=(-2, -1)).double().sum(dim=0).cpu()
        norms = torch.linalg.vector_norm(values, dim=(-2, -1)).double()
        self.squares += norms.square().sum(dim=0).cpu()

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self.count += other.count
        self.sums += other.sums
        self.squares += other.squares

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        return _moments(self.sums / self.count, self.squares / self.count)

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        means = _moments((self.sums / self.count).mean(), (self.squares / self.count).mean())
        return {name: value.item() for name, value in means.items()}


def _moments(mean: Tensor, energy: Tensor) -> dict[str, Tensor]:
    # rounding may leave a constant channel a hair below zero
    deviation = (energy - mean.square()).clamp_min(0).sqrt()
    return {"mean": mean, "std": deviation, "energy": energy}
