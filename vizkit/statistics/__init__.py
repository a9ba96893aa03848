"""Statistics of feature maps, accumulated image by image in constant memory."""

# importing registers, in the order in which tables show them
# isort: off
from vizkit.statistics import moments, values, distribution, entropy  # noqa: F401
from vizkit.statistics import covariance, selectivity, normalisation, gradients  # noqa: F401

# isort: on
from vizkit.statistics.effective import receptive_fields
from vizkit.statistics.patches import top_patches
from vizkit.statistics.probe import linear_probe
from vizkit.statistics.registry import ACCUMULATORS, STATISTICS, Accumulator, statistic
from vizkit.statistics.run import describe
from vizkit.statistics.storing import read_statistics

__all__ = [
    "ACCUMULATORS",
    "STATISTICS",
    "Accumulator",
    "describe",
    "linear_probe",
    "read_statistics",
    "receptive_fields",
    "statistic",
    "top_patches",
]
