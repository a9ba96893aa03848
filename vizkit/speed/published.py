"""What timm publishes about the speed of its models, on hardware of its own."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd

from vizkit.models import Classifier


def published_rows(classifier: Classifier) -> list[dict[str, Any]]:
    """Find timm's figures of one of its networks at its input size.

    Parameters
    ----------
    classifier : Classifier
        A network of timm's, by its name.

    Returns
    -------
    list of dict
        device, precision, layout, compiled, batch, images_per_second; none for others.
    """
    name = str((classifier.recipe or {}).get("name", ""))
    source, _, short = name.rpartition("/")
    if source not in {"", "timm"}:
        return []
    height, width = getattr(classifier.transform, "size", (0, 0))
    table = _table() if height == width else _table().head(0)
    own = table[(table["name"] == short.partition(".")[0]) & (table["input_size"] == height)]
    return [
        {str(column): value for column, value in row.items()}
        for row in own.drop(columns=["name", "input_size"]).to_dict("records")
    ]


@cache
def _table() -> pd.DataFrame:
    with (files("vizkit") / "data" / "timm_speed.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, comment="#")
