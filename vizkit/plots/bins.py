"""Numbers behind pictures of distributions: histograms with bins of any width, and their axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vizkit.errors import InputError

# scales that differ by more do not fit a linear axis
_LINEAR = 30.0
_CELLS = 160
# room that the label of a tick takes, as a share of the axis
_ROOM = {"x": 0.14, "y": 0.09}


@dataclass(frozen=True, eq=False)
class Bins:
    """A histogram of which only the bins that are not empty are listed, in ascending order.

    Attributes
    ----------
    low, high : ndarray of shape (B,)
        Edges; both 0 for the bin of exact zeros.
    count : ndarray of shape (B,)
        Values in each.
    """

    low: np.ndarray
    high: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Bins:
        """Take columns low, high and count, in any order.

        Raises
        ------
        InputError
            If there are bins of NaN or infinity.
        """
        ordered = rows.sort_values(["low", "high"])
        low, high, count = (
            ordered[name].to_numpy(dtype=np.float64) for name in ("low", "high", "count")
        )
        if not np.isfinite([low, high]).all():
            raise InputError("cannot draw NaN or infinity: the values are not finite")
        return cls(low, high, count)

    @property
    def zeros(self) -> float:
        """Share of the values that are exactly zero, in [0, 1]."""
        return float(self.count[(self.low == 0) & (self.high == 0)].sum() / self.count.sum())

    @property
    def others(self) -> Bins:
        """The same without exact zeros; it may be empty."""
        kept = (self.low != 0) | (self.high != 0)
        return Bins(self.low[kept], self.high[kept], self.count[kept])

    def quantile(self, share: float) -> float:
        """Interpolate a quantile within its bin; NaN where there are no values."""
        if not len(self.count):
            return float("nan")
        total = np.cumsum(self.count)
        rank = share * total[-1]
        n = min(int(np.searchsorted(total, rank)), len(total) - 1)
        inside = (rank - (total[n] - self.count[n])) / self.count[n]
        return float(self.low[n] + inside * (self.high[n] - self.low[n]))

    def shares(self, edges: np.ndarray) -> np.ndarray:
        """Spread the values over cells: (E,) ascending edges to (E - 1,) shares of all values."""
        if not len(self.count):
            return np.zeros(len(edges) - 1)
        total = np.cumsum(self.count)
        places = np.stack([self.low, self.high], axis=1).ravel()
        below = np.stack([total - self.count, total], axis=1).ravel()
        shares: np.ndarray = np.diff(np.interp(edges, places, below)) / total[-1]
        return shares


@dataclass(frozen=True)
class Axis:
    """One axis for several histograms.

    Attributes
    ----------
    low, high : float
        Its ends.
    width : float or None
        None for a linear axis; else values well below are drawn linearly and values above
        logarithmically, on both sides of zero (asinh).
    """

    low: float
    high: float
    width: float | None = None

    @classmethod
    def for_all(cls, every: Sequence[Bins], tail: float) -> Axis:
        """Choose an axis on which the narrowest and the widest histogram can be read.

        Parameters
        ----------
        every : sequence of Bins
            What shall be drawn on it.
        tail : float
            The share of the values that may lie beyond either end.

        Returns
        -------
        Axis
            With zero on it. Linear unless the scales differ more than 30-fold.
        """
        low = min((0.0, *(each.quantile(tail) for each in every)))
        high = max((0.0, *(each.quantile(1 - tail) for each in every)))
        others = [each.others for each in every if len(each.others.count)]
        reach = [max(-each.quantile(0.05), each.quantile(0.95)) for each in others]
        sizes = [size for size in reach if size > 0]
        wide = bool(sizes) and max(sizes) > _LINEAR * min(sizes)
        return cls(low, high if high > low else low + 1.0, min(sizes) if wide else None)

    def edges(self) -> np.ndarray:
        """Cut the axis into cells of equal width on paper, one edge at zero."""
        low, high = self._paper(self.low), self._paper(self.high)
        step = (high - low) / _CELLS
        cuts = np.arange(np.floor(low / step), np.ceil(high / step) + 1) * step
        return cuts if self.width is None else self.width * np.sinh(cuts)

    def apply(self, axes: Axes, which: str, margin: float = 0.03) -> None:
        """Set scale, limits and ticks of an ``"x"`` or ``"y"`` axis."""
        low, high = self._paper(self.low), self._paper(self.high)
        room = margin * (high - low)
        ends = [low - room, high + room]
        if self.width is not None:
            ends = [self.width * float(np.sinh(end)) for end in ends]
            getattr(axes, f"set_{which}scale")("asinh", linear_width=self.width)
            axis = getattr(axes, f"{which}axis")
            ticks = self._ticks(_ROOM[which])
            axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.set_ticks([], minor=True)
        getattr(axes, f"set_{which}lim")(*ends)

    def _ticks(self, share: float) -> list[float]:
        """Zero, powers of ten and between them threes, far enough apart for their labels."""
        room = share * (self._paper(self.high) - self._paper(self.low))
        largest = int(np.floor(np.log10(max(-self.low, self.high))))
        found = [0.0]
        for first in (1, 3):
            sizes = [first * 10.0**power for power in range(largest, largest - 12, -1)]
            for tick in (sign * size for size in sizes for sign in (1, -1)):
                apart = min(abs(self._paper(tick) - self._paper(each)) for each in found)
                if self.low <= tick <= self.high and apart > room:
                    found.append(tick)
        return sorted(found)

    def _paper(self, value: float) -> float:
        return value if self.width is None else float(np.arcsinh(value / self.width))
