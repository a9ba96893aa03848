"""How models and taps are told apart: one colour a depth, dashed without batch normalisation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from vizkit.plots.style import Theme
from vizkit.results.axis import Layer, in_order

MARKERS = "osD^vP*X"
TWINS = "Same colour: same depth; dashed: without batch normalisation."


def family(model: str) -> str:
    """Name what a model shares with its batch-normalised twin."""
    return model.removesuffix("_bn")


def is_plain(model: str, models: Iterable[str]) -> bool:
    """Whether a model's batch-normalised twin is among the models."""
    return not model.endswith("_bn") and f"{model}_bn" in set(models)


def with_twins(models: Iterable[str]) -> list[str]:
    """Put twins next to each other, the plain one first, and else keep the order."""
    known = list(dict.fromkeys(models))
    families = list(dict.fromkeys(family(model) for model in known))
    return sorted(known, key=lambda model: (families.index(family(model)), model.endswith("_bn")))


def colour_of(model: str, models: Iterable[str], look: Theme) -> str:
    """Choose a model's colour, which it shares with its twin."""
    return look.series[_number(model, models) % len(look.series)]


def line_of(model: str, models: Sequence[str], look: Theme) -> dict[str, Any]:
    """Choose how a model's line is drawn: options of matplotlib's ``plot``."""
    plain = is_plain(model, models)
    colour = colour_of(model, models, look)
    return {
        "color": colour,
        "linestyle": "--" if plain else "-",
        "marker": MARKERS[_number(model, models) % len(MARKERS)],
        "markersize": 4.5,
        "markerfacecolor": look.paper if plain else colour,
        "linewidth": 1.5,
    }


def places_of(rows: pd.DataFrame) -> list[Layer]:
    """Join the places of every model in a table with columns model, stride and layer."""
    return in_order(
        zip(own["stride"].astype(int), own["layer"].astype(str), strict=True)
        for _, own in rows.groupby("model", sort=False)
    )


def _number(model: str, models: Iterable[str]) -> int:
    families = list(dict.fromkeys(family(each) for each in models))
    return families.index(family(model))
