"""Statistics of feature maps, accumulated image by image in constant memory."""

from vizkit.statistics import moments, values  # noqa: F401  (importing registers)
from vizkit.statistics.registry import ACCUMULATORS, STATISTICS, Accumulator, statistic
from vizkit.statistics.run import describe

__all__ = ["ACCUMULATORS", "STATISTICS", "Accumulator", "describe", "statistic"]
