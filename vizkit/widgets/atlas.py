"""The atlas widget: a matrix of similarities, and the maps of two taps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets

from vizkit.results import FeatureMaps, Similarity
from vizkit.widgets.canvas import script, styles
from vizkit.widgets.packing import Buffer, packed
from vizkit.widgets.palettes import lookup_tables
from vizkit.widgets.scene import Scene

# as many channels as are shown of a tap
_CHANNELS = 16


class AtlasCanvas(anywidget.AnyWidget):
    """Similarity of all pairs of taps: see `atlas.js` for what it does with its traits.

    Attributes
    ----------
    atlas : dict
        Names of rows and columns; see `atlas_scene`.
    matrix : bytes
        Values, lower and upper ends of intervals: three matrices of float32.
    scene, scene_data : dict, bytes
        Maps of one photo; see `tap_scene`.
    palettes : bytes
        Colours; see `vizkit.widgets.palettes`.
    row, column : int
        Which pair is chosen, from 0.
    message, busy : str
        What went wrong, and what is going on.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)

    atlas = traitlets.Dict().tag(sync=True)
    matrix = traitlets.Bytes().tag(sync=True)
    scene = traitlets.Dict().tag(sync=True)
    scene_data = traitlets.Bytes().tag(sync=True)
    palettes = traitlets.Bytes().tag(sync=True)
    row = traitlets.Int(0, min=0).tag(sync=True)
    column = traitlets.Int(0, min=0).tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)
    busy = traitlets.Unicode().tag(sync=True)

    @traitlets.default("_esm")
    def _own_script(self) -> str:
        return script("atlas.js")

    @traitlets.default("_css")
    def _own_styles(self) -> str:
        return styles()

    @traitlets.default("palettes")
    def _own_palettes(self) -> bytes:
        return lookup_tables()


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
