"""The atlas widget: a matrix of similarities, and the maps of two taps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import traitlets

from vizkit.results import FeatureMaps, Similarity
from vizkit.widgets.canvas import Canvas
from vizkit.widgets.packing import Buffer, packed
from vizkit.widgets.scene import Scene

# as many channels as are shown of a tap
_CHANNELS = 16


class AtlasCanvas(Canvas):
    """Similarity of all pairs of taps: see `atlas.js` for what it does with its traits.

    Its scene is that of one photo; see `tap_scene`.

    Attributes
    ----------
    atlas : dict
        Names of rows and columns; see `atlas_scene`.
    matrix : bytes
        Values, lower and upper ends of intervals: three matrices of float32.
    row, column : int
        Which pair is chosen, from 0.
    """

    _files = ("atlas.js",)

    atlas = traitlets.Dict().tag(sync=True)
    matrix = traitlets.Bytes().tag(sync=True)
    row = traitlets.Int(0, min=0).tag(sync=True)
    column = traitlets.Int(0, min=0).tag(sync=True)


def atlas_scene(similarity: Similarity) -> Scene:
    """Describe a similarity.

    Parameters
    ----------
    similarity : Similarity
        From `vizkit.similarity`.

    Returns
    -------
    Scene
        labels (model, tap, short) of rows and columns, blocks (model, start, end), measure,
        images; and three matrices of float32: value, low, high.
    """
    labels = similarity.labels
    blocks = []
    for model in similarity.models:
        rows = similarity.rows_of(model)
        blocks.append({"model": model, "start": int(rows[0]), "end": int(rows[-1]) + 1})
    meta = {
        "labels": [
            {"model": model, "tap": tap, "short": str(tap).removeprefix("stride")}
            for model, tap in zip(labels["model"], labels["tap"], strict=True)
        ],
        "blocks": blocks,
        "measure": similarity.measure,
        "images": similarity.images,
    }
    numbers = np.stack([similarity.matrix, similarity.low, similarity.high])
    return Scene(meta, numbers.astype("<f4").tobytes())


def tap_scene(labels: pd.DataFrame, maps: Mapping[str, FeatureMaps]) -> Scene:
    """Describe the strongest channels of every tap for one image.

    Parameters
    ----------
    labels : DataFrame
        A row per tap: model, tap.
    maps : mapping of str to FeatureMaps
        By model; those of a network that is not here are empty.

    Returns
    -------
    Scene
        A cell per row of the labels, or None.
    """
    buffer = Buffer()
    cells: list[dict[str, Any] | None] = [
        packed(buffer, maps[model][tap][0], _CHANNELS) if model in maps else None
        for model, tap in zip(labels["model"], labels["tap"], strict=True)
    ]
    names = next((each.seen.names for each in maps.values()), ("",))
    return Scene({"image": names[0], "cells": cells, "bytes": buffer.size}, buffer.joined())
