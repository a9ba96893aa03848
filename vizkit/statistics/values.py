"""Extremes, signs, and channels that never or rarely fire."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from vizkit.statistics.registry import Accumulator, Site, statistic
from vizkit.statistics.sample import Sample

RARE = 0.01


@statistic(
    by_default=True,
    min="smallest activation",
    max="largest activation",
    dead="share of channels that never exceed zero",
    active="share of images in which a channel exceeds zero",
    rare=f"share of channels that exceed zero in some, but under {RARE:.0%} of the images",
)
class Range(Accumulator):
    """Smallest and largest value, and how many images make a channel fire.

    A channel is ``dead`` (1, else 0) if no value above zero was seen. ``active`` is the share of
    images, in [0, 1], in which it exceeds zero anywhere; it is ``rare`` (1, else 0) if that share
    lies between 0 and 0.01. The whole tap's are means over channels. Meant for the role ``act``;
    ``dead`` and ``rare`` depend on how many images were seen.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.images = site.zeros(1)
        self.fired = site.zeros(site.channels)
        self.low = site.zeros(site.channels).fill_(torch.inf)
        self.high = site.zeros(site.channels).fill_(-torch.inf)

    def update(self, sample: Sample) -> None:
        """Count the maps of some images."""
        self.low = self.low.minimum(sample.lows.amin(dim=0))
        self.high = self.high.maximum(sample.peaks.amax(dim=0))
        # what is no number makes no number
        self.fired = self.fired + ((sample.peaks > 0) + 0 * sample.peaks).sum(dim=0)
        self.images = self.images + len(sample.peaks)

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self.low = self.low.minimum(other.low)
        self.high = self.high.maximum(other.high)
        self.fired = self.fired + other.fired
        self.images = self.images + other.images

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        active = self.fired / self.images
        rare = (self.fired > 0) & (active < RARE)
        unknown = active.isnan()
        return {
            "min": self.low,
            "max": self.high,
            "dead": (self.high <= 0).double().masked_fill(unknown, torch.nan),
            "active": active,
            "rare": rare.double().masked_fill(unknown, torch.nan),
        }

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        means = {k: v.mean().item() for k, v in self.channels().items() if k not in {"min", "max"}}
        return {"min": self.low.min().item(), "max": self.high.max().item(), **means}


@statistic(
    by_default=True,
    sparsity="share of activations that are exactly zero",
    below_zero="share of activations below zero",
)
class Signs(Accumulator):
    """Shares of exact zeros and of negative values over images and places, in [0, 1].

    ``sparsity`` of the role ``act`` is what ReLU switched off. ``below_zero`` of the role ``conv``
    or ``norm`` is what a ReLU behind it will switch off.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.count = site.zeros(1)
        self.zeros = site.zeros(site.channels)
        self.negative = site.zeros(site.channels)

    def update(self, sample: Sample) -> None:
        """Count the maps of some images."""
        # where nothing is negative, one sum does; an accelerator is not kept waiting for that
        negative = sample.maps.device.type != "cpu" or bool((sample.lows < 0).any())
        # sums of signs are exact in float32 and fast; image by image they stay in the cache
        pairs = [_signs(value, negative) for value in sample.values]
        balance, fired = (sample.exact(torch.stack(part)) for part in zip(*pairs, strict=True))
        self.count = self.count + len(pairs) * sample.area
        # the sign of what is no number is 0: it must not count as a zero
        odd = (0 * sample.lows + 0 * sample.peaks).sum(dim=0)
        self.zeros = self.zeros + (sample.area - fired).sum(dim=0) + odd
        self.negative = self.negative + (fired - balance).sum(dim=0) / 2 + odd

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self.count = self.count + other.count
        self.zeros = self.zeros + other.zeros
        self.negative = self.negative + other.negative

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        return {"sparsity": self.zeros / self.count, "below_zero": self.negative / self.count}

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        return {name: values.mean().item() for name, values in self.channels().items()}


def _signs(value: Tensor, negative: bool) -> tuple[Tensor, Tensor]:
    """Positive less negative values, and both together, of each map of one image: (C,)."""
    sign = value.sign()
    balance = sign.sum(dim=(-2, -1))
    return balance, sign.abs_().sum(dim=(-2, -1)) if negative else balance
