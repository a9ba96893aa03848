"""Statistics of feature maps, accumulated image by image in constant memory."""

from vizkit.statistics import moments, values  # noqa: F401  (importing registers)
from vizkit.statistics.describe import describe
from vizkit.statistics.registry import ACCUMULATORS, STATISTICS, Accumulator, statistic

__all__ = ["ACCUMULATORS", "STATISTICS", "Accumulator", "describe", "statistic"]
