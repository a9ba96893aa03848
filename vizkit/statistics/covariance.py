"""How many independent directions the channels of a tap span."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from torch import Tensor

from vizkit.statistics.registry import Accumulator, Site, statistic
from vizkit.statistics.sample import STILL, Sample


@statistic(
    effective_rank="effective rank of the channels' covariance",
    participation_ratio="participation ratio of the channels' covariance",
    redundancy="largest correlation of a channel with another",
)
class Covariance(Accumulator):
    """Covariance of the channels over images and sampled places.

    ``effective_rank`` is exp(-sum p log p) with p the eigenvalues as shares of their sum (Roy and
    Vetterli, "The effective rank", EUSIPCO 2007), ``participation_ratio`` is tr(S)^2 / |S|_F^2
    (Gao et al., "A theory of multineuronal dimensionality", 2017): both between 1 and the number
    of channels, 0 if nothing varies. ``redundancy`` of a channel is its largest |Pearson r| with
    any other, in [0, 1], NaN if it does not vary; the whole tap's is the mean over those that do.
    The rank is at most the number of sampled places less one.
    """

    sampled: ClassVar[bool] = True

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.count = site.zeros(1)
        self.means = site.zeros(site.channels)
        self.products = site.zeros(site.channels, site.channels)

    def update(self, sample: Sample) -> None:
        """Count the maps of some images."""
        values = sample.sampled
        number = values.shape[0] * values.shape[2]
        middles = (sample.exact(values.sum(dim=-1)).sum(dim=0) / number).to(values)
        # in rows: sums down columns would round more
        away = (values - middles[:, None]).contiguous()
        products = values.new_zeros(len(middles), len(middles))
        for each in away:
            products.addmm_(each, each.mT)
        missed = sample.exact(away.sum(dim=-1)).sum(dim=0)
        own = sample.exact(products) - torch.outer(missed, missed) / number
        # the rounded mean is not quite the mean
        means = sample.exact(middles) + missed / number
        self._join(torch.full_like(self.count, float(number)), means, own)

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self._join(other.count, other.means, other.products)

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        spread = self.products.diagonal().clamp(min=0).sqrt()
        still = spread <= STILL * (spread.max() + self.count.sqrt() * self.means.abs())
        scale = spread.masked_fill(still, torch.inf)
        correlations = (self.products / scale / scale[:, None]).abs().fill_diagonal_(0)
        largest = correlations.amax(dim=1).clamp(max=1)
        # a single channel has no other
        alone = still | (len(largest) == 1)
        return {"redundancy": largest.masked_fill(alone, torch.nan)}

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        trace = self.products.trace()
        redundancy = self.channels()["redundancy"].nanmean().item()
        if trace <= 0:
            nothing = {"effective_rank": 0.0, "participation_ratio": 0.0}
            return {**nothing, "redundancy": redundancy}
        if not torch.isfinite(self.products).all():
            unknown = {"effective_rank": torch.nan, "participation_ratio": torch.nan}
            return {**unknown, "redundancy": redundancy}
        shares = torch.linalg.eigvalsh(self.products / trace).clamp(min=0)
        return {
            "effective_rank": torch.special.entr(shares).sum().exp().item(),
            "participation_ratio": (trace / self.products.norm()).square().item(),
            "redundancy": redundancy,
        }

    def _join(self, count: Tensor, means: Tensor, products: Tensor) -> None:
        total = self.count + count
        shift = means - self.means
        share = count / total.clamp(min=1)
        between = shift * (self.count * share).sqrt()
        # in place: this is the one sum that is large
        self.products.add_(products).addr_(between, between)
        self.means = self.means + shift * share
        self.count = total
