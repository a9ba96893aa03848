"""From sums to tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from vizkit.models import Classifier
from vizkit.results import Tap
from vizkit.statistics.distribution import Histogram
from vizkit.statistics.places import columns_of
from vizkit.statistics.registry import Accumulator

# what counts at each tap of one network
Table = dict[Tap, list[Accumulator]]


def tap_frame(
    classifiers: Sequence[Classifier], tables: Sequence[Table], wanted: Sequence[str]
) -> pd.DataFrame:
    """Compute the statistics of whole taps: model, stride, layer, role, statistic, value."""
    rows = [
        {**_where(classifier, tap), "statistic": name, "value": value}
        for classifier, table in zip(classifiers, tables, strict=True)
        for tap, accumulators in table.items()
        for name, value in _ordered([a.whole() for a in accumulators], wanted)
    ]
    return pd.DataFrame(rows, columns=["model", "stride", "layer", "role", "statistic", "value"])


def channel_frame(
    classifiers: Sequence[Classifier], tables: Sequence[Table], wanted: Sequence[str]
) -> pd.DataFrame:
    """Compute the statistics of channels: a row each, a column per statistic."""
    parts = []
    for classifier, table in zip(classifiers, tables, strict=True):
        for tap, accumulators in table.items():
            columns = dict(_ordered([a.channels() for a in accumulators], wanted))
            numbers = {name: value.cpu().numpy() for name, value in columns.items()}
            where = {**_where(classifier, tap), "channel": range(tap.channels)}
            parts.append(pd.DataFrame({**where, **numbers}))
    return pd.concat(parts, ignore_index=True)


def bin_frame(classifiers: Sequence[Classifier], tables: Sequence[Table]) -> pd.DataFrame:
    """List the bins of all histograms: model, stride, layer, role, low, high, count."""
    parts = [
        pd.DataFrame(
            {**_where(classifier, tap)}
            | dict(zip(("low", "high", "count"), accumulator.bins(), strict=True))
        )
        for classifier, table in zip(classifiers, tables, strict=True)
        for tap, accumulators in table.items()
        for accumulator in accumulators
        if isinstance(accumulator, Histogram)
    ]
    columns = ["model", "stride", "layer", "role", "low", "high", "count"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _ordered(parts: Sequence[dict[str, Any]], wanted: Sequence[str]) -> list[tuple[str, Any]]:
    merged = {name: value for part in parts for name, value in part.items()}
    return [(name, merged[name]) for name in wanted if name in merged]


def _where(classifier: Classifier, tap: Tap) -> dict[str, Any]:
    columns = columns_of(classifier, tap)
    return {name: columns[name] for name in ("model", "stride", "layer", "role")}
