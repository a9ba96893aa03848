"""Measure what looking costs, beside the plain passes and other tools, and judge the results."""

from vizkit.benchmarks import (  # noqa: F401  (importing a file registers its suite)
    attribution,
    capture,
    importing,
    occlusion,
    passes,
    reporting,
    similarity,
    statistics,
)
from vizkit.benchmarks.page import write_page
from vizkit.benchmarks.record import Record, read_record, write_record
from vizkit.benchmarks.registry import SUITES, Suite, suite
from vizkit.benchmarks.run import ALL, RUNS, benchmark, suites_of

__all__ = [
    "ALL",
    "RUNS",
    "SUITES",
    "Record",
    "Suite",
    "benchmark",
    "read_record",
    "suite",
    "suites_of",
    "write_page",
    "write_record",
]
