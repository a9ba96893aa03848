"""Extremes, exact zeros, and channels that never fire."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from vizkit.statistics.registry import statistic


@statistic(
    min="smallest activation",
    max="largest activation",
    dead="share of channels that never exceed zero",
)
class Range:
    """Smallest and largest value over images and places.

    A channel is ``dead`` (1, else 0) if no value above zero was seen; the whole tap's is the
    share of such channels, in [0, 1]. Meant for the role ``act``; it depends on how many images
    were seen.
    """

    def __init__(self, channels: int) -> None:
        self.low = torch.full((channels,), torch.inf, dtype=torch.float64)
        self.high = torch.full((channels,), -torch.inf, dtype=torch.float64)

    def update(self, maps: Tensor) -> None:
        """Count the maps of some images: (N, C, h, w)."""
        self.low = self.low.minimum(maps.amin(dim=(0, 2, 3)).double().cpu())
        self.high = self.high.maximum(maps.amax(dim=(0, 2, 3)).double().cpu())

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self.low = self.low.minimum(other.low)
        self.high = self.high.maximum(other.high)

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        return {"min": self.low, "max": self.high, "dead": (self.high <= 0).double()}

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        dead = (self.high <= 0).double().mean().item()
        return {"min": self.low.min().item(), "max": self.high.max().item(), "dead": dead}


@statistic(sparsity="share of activations that are exactly zero")
class Zeros:
    """Share of exact zeros over images and places, in [0, 1]: what ReLU switched off."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.zeros = torch.zeros(channels, dtype=torch.float64)

    def update(self, maps: Tensor) -> None:
        """Count the maps of some images: (N, C, h, w)."""
        places = maps.shape[2] * maps.shape[3]
        self.count += maps.shape[0] * places
        # |sign| is 1 where a value is not zero; its sum is exact in float32 and fast
        fired = maps.sign().abs_().float().sum(dim=(-2, -1))
        self.zeros += (places - fired).double().sum(dim=0).cpu()

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self.count += other.count
        self.zeros += other.zeros

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        return {"sparsity": self.zeros / self.count}

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        return {"sparsity": (self.zeros / self.count).mean().item()}
