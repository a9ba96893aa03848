"""Shape of the distribution of activations: skew, kurtosis, quantiles, histogram."""

from __future__ import annotations

import math
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from vizkit.interrupts import surely
from vizkit.statistics.registry import Accumulator, Site, statistic
from vizkit.statistics.sample import STILL, Sample

QUANTILES = {
    "q01": 0.01, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "q99": 0.99,
}  # fmt: skip
# a bin holds the numbers that share sign, exponent and this many bits of the mantissa
_MANTISSA = 6
_SHIFT = 23 - _MANTISSA
_BINS = 1 << (32 - _SHIFT)
_HALF = _BINS // 2
# the greatest exponent stands for infinity and what is no number
_ODD = torch.arange(_BINS) % _HALF >= _HALF - (1 << _MANTISSA)


@statistic(
    skew="skewness of activations",
    kurtosis="excess kurtosis of activations",
)
class Shape(Accumulator):
    """Third and fourth standardised moments, at sampled places.

    ``skew`` is m3 / m2^1.5 and ``kurtosis`` m4 / m2^2 - 3 (0 for a normal distribution), with
    central moments m; NaN where all values are the same. Those of the whole tap are over all
    channels together. Parts are joined after Pébay, "Formulas for robust, one-pass parallel
    computation of covariances and arbitrary-order statistical moments", Sandia 2008.
    """

    sampled: ClassVar[bool] = True

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        # count, mean and sums of the second, third and fourth powers of deviations
        self.sums = site.zeros(5, site.channels)

    def update(self, sample: Sample) -> None:
        """Count the maps of some images."""
        # fourth powers of float32 leave its range where activations are tiny or huge
        values = sample.exact(sample.sampled)
        number = values.shape[0] * values.shape[2]
        mean = values.sum(dim=(0, 2)) / number
        away = values - mean[:, None]
        square = away * away
        powers = [square, square * away, square * square]
        count = torch.full_like(mean, float(number))
        sums = [each.sum(dim=(0, 2)) for each in powers]
        self.sums = _joined(self.sums, torch.stack([count, mean, *sums]))

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self.sums = _joined(self.sums, other.sums)

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        return _standardised(self.sums)

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        total = self.sums[:, :1]
        for channel in range(1, self.sums.shape[1]):
            total = _joined(total, self.sums[:, channel : channel + 1])
        return {name: value.item() for name, value in _standardised(total).items()}


@statistic(
    q01="1 % quantile of activations",
    q05="5 % quantile of activations",
    q25="25 % quantile of activations",
    median="median activation",
    q75="75 % quantile of activations",
    q95="95 % quantile of activations",
    q99="99 % quantile of activations",
)
class Histogram(Accumulator):
    """Quantiles of the whole tap, from a histogram of values at sampled places.

    The bins are those of a float32 cut off after 6 bits of its mantissa: exact zeros have their
    own, all others are narrower than 1/64 of their value, whatever the range, so that histograms
    of different images and machines add up exactly. A quantile is interpolated within its bin; NaN
    if any value is not finite.
    The idea of relative bins is that of Masson, Rim and Lee, "DDSketch", VLDB 2019.
    """

    sampled: ClassVar[bool] = True

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.counts = site.zeros(_BINS, dtype=torch.int64)

    def update(self, sample: Sample) -> None:
        """Count the maps of some images."""
        values = sample.sampled.float().contiguous()
        codes = (values.view(torch.int32) >> _SHIFT).bitwise_and_(_BINS - 1).flatten()
        if codes.device.type == "cpu":
            self.counts = self.counts + torch.bincount(codes, minlength=_BINS)
        else:  # bincount would wait for the accelerator
            codes = codes.to(self.counts.device).long()
            self.counts = self.counts.index_add(0, codes, torch.ones_like(codes))

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self.counts = self.counts + other.counts

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        if self.counts[_ODD].any():
            return dict.fromkeys(QUANTILES, math.nan)
        low, high, counts = self.bins()
        total = np.cumsum(counts)
        found = {}
        for name, share in QUANTILES.items():
            rank = share * total[-1]
            n = min(int(np.searchsorted(total, rank)), len(counts) - 1)
            inside = (rank - (total[n] - counts[n])) / counts[n]
            found[name] = float(low[n] + inside * (high[n] - low[n]))
        return found

    def bins(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the bins that are not empty, from the smallest value to the largest.

        Returns
        -------
        low, high : ndarray of shape (B,)
            Edges; both 0 for exact zeros.
        counts : ndarray of shape (B,), int64
            Sampled values in each.
        """
        counts = self.counts.cpu().numpy()
        above, below = counts[:_HALF].copy(), counts[_HALF:]
        zeros = above[0] + below[0]
        codes = np.arange(_HALF + 1, dtype=np.int64) << _SHIFT
        # the last codes stand for infinity and no number
        with surely(np.errstate(invalid="ignore")):
            edges = codes.astype(np.int32).view(np.float32).astype(np.float64)
        ordered = np.concatenate([below[:0:-1], [zeros], above[1:]])
        low = np.concatenate([-edges[2:][::-1], [0.0], edges[1:-1]])
        high = np.concatenate([-edges[1:-1][::-1], [0.0], edges[2:]])
        filled = ordered > 0
        return low[filled], high[filled], ordered[filled]


def _standardised(sums: Tensor) -> dict[str, Tensor]:
    count, mean, second, third, fourth = sums
    variance = second / count
    # below what float32 can tell from a constant
    spread = variance.masked_fill(variance.sqrt() <= STILL * mean.abs(), torch.nan)
    return {
        "skew": third / count / spread.pow(1.5),
        "kurtosis": fourth / count / spread.square() - 3,
    }


def _joined(first: Tensor, second: Tensor) -> Tensor:
    """Join two sets of (count, mean, second, third and fourth power sums): (5, C) each."""
    n_a, mean_a, a2, a3, a4 = first
    n_b, mean_b, b2, b3, b4 = second
    n = n_a + n_b
    d, part_a, part_b = mean_b - mean_a, n_a / n.clamp(min=1), n_b / n.clamp(min=1)
    # of two parts, each as a share of the whole
    product = n_a * part_b
    third = a3 + b3 + d**3 * product * (part_a - part_b) + 3 * d * (part_a * b2 - part_b * a2)
    fourth = (
        a4 + b4
        + d**4 * product * (part_a.square() - part_a * part_b + part_b.square())
        + 6 * d.square() * (part_a.square() * b2 + part_b.square() * a2)
        + 4 * d * (part_a * b3 - part_b * a3)
    )  # fmt: skip
    return torch.stack([n, mean_a + d * part_b, a2 + b2 + d.square() * product, third, fourth])
