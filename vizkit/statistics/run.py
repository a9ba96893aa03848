"""Stream images through networks and accumulate statistics at every tap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from torch import nn
from tqdm.auto import tqdm

from vizkit.errors import InputError, unknown
from vizkit.forward import BATCH_SIZE, captured_batches
from vizkit.images import Images, as_images, readable
from vizkit.models import Classifier, as_classifiers
from vizkit.results import StageStatistics, Tap
from vizkit.stages import find_stages
from vizkit.statistics.registry import ACCUMULATORS, STATISTICS, Accumulator


def describe(
    models: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any],
    images: object,
    statistics: str | Sequence[str] | None = None,
    at: str | Sequence[str | Tap] = "stages",
) -> StageStatistics:
    """Describe the feature maps of one or more networks over images.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Names, modules or classifiers.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Any number: memory does not grow with it. Unreadable files are left out and listed.
    statistics : str or list of str, optional
        Names in `STATISTICS`; by default all.
    at : "stages", "layers", or a list of names, paths or taps
        Where to read; see `find_stages`.

    Returns
    -------
    StageStatistics
        Per tap (``frame``) and per channel (``channels``).

    Raises
    ------
    InputError
        If a statistic or tap is unknown, or no image can be read.
    """
    wanted = _wanted(statistics)
    classifiers = as_classifiers(models)
    everything = as_images(images)
    failed: dict[str, str] = {}
    tables: list[dict[Tap, list[Accumulator]]] = []
    counted = 0
    total = len(everything) * len(classifiers)
    with tqdm(total=total, desc="statistics", unit="image", disable=total < 20) as bar:
        for classifier in classifiers:
            taps = find_stages(classifier, at)
            table = _empty(taps, wanted)
            for batch in everything.batches(BATCH_SIZE):
                photos, unreadable = readable(batch)
                failed |= unreadable
                _count(classifier, photos, table)
                counted += len(photos)
                bar.update(len(batch))
            tables.append(table)
    if not counted:
        raise InputError(f"none of the {len(everything)} images can be read: {failed}")
    return StageStatistics(
        frame=_frame(classifiers, tables, wanted),
        channels=_channels(classifiers, tables, wanted),
        images=counted // len(classifiers),
        failed=pd.DataFrame(list(failed.items()), columns=["file", "reason"]),
        units={name: STATISTICS[name] for name in wanted},
    )


def _wanted(statistics: str | Sequence[str] | None) -> list[str]:
    if statistics is None:
        return list(STATISTICS)
    names = [statistics] if isinstance(statistics, str) else list(dict.fromkeys(statistics))
    for name in names:
        if name not in STATISTICS:
            raise unknown("statistic", name, STATISTICS)
    return names


def _empty(taps: Sequence[Tap], wanted: list[str]) -> dict[Tap, list[Accumulator]]:
    classes = list(dict.fromkeys(ACCUMULATORS[name] for name in wanted))
    return {tap: [cls(tap.channels) for cls in classes] for tap in taps}


def _count(classifier: Classifier, images: Images, table: dict[Tap, list[Accumulator]]) -> None:
    for maps in captured_batches(classifier, images, list(table)):
        for tap, accumulators in table.items():
            for accumulator in accumulators:
                accumulator.update(maps[tap])


def _frame(
    classifiers: list[Classifier], tables: list[dict[Tap, list[Accumulator]]], wanted: list[str]
) -> pd.DataFrame:
    rows = [
        {**_where(classifier, tap), "statistic": name, "value": value}
        for classifier, table in zip(classifiers, tables, strict=True)
        for tap, accumulators in table.items()
        for name, value in _ordered([a.whole() for a in accumulators], wanted)
    ]
    return pd.DataFrame(rows)


def _channels(
    classifiers: list[Classifier], tables: list[dict[Tap, list[Accumulator]]], wanted: list[str]
) -> pd.DataFrame:
    parts = []
    for classifier, table in zip(classifiers, tables, strict=True):
        for tap, accumulators in table.items():
            columns = dict(_ordered([a.channels() for a in accumulators], wanted))
            numbers = {name: value.numpy() for name, value in columns.items()}
            where = {**_where(classifier, tap), "channel": range(tap.channels)}
            parts.append(pd.DataFrame({**where, **numbers}))
    return pd.concat(parts, ignore_index=True)


def _ordered(parts: list[dict[str, Any]], wanted: list[str]) -> list[tuple[str, Any]]:
    merged = {name: value for part in parts for name, value in part.items()}
    return [(name, merged[name]) for name in wanted]


def _where(classifier: Classifier, tap: Tap) -> dict[str, Any]:
    return {
        "model": classifier.name,
        "stride": tap.stride,
        "layer": tap.name,
        "role": tap.role,
    }
