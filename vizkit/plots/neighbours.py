"""Images and their nearest neighbours in the embeddings of networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vizkit.errors import InputError
from vizkit.plots import style
from vizkit.plots.style import Picture, Theme

# inches
_CELL = 0.95
_WORDS = 0.2
_HEADING = 0.45


def plot_neighbours(
    neighbours: pd.DataFrame,
    queries: Mapping[str, np.ndarray],
    images: Mapping[str, np.ndarray],
    *,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw images with their nearest neighbours: a row each, a block of columns per network.

    Parameters
    ----------
    neighbours : DataFrame
        From `vizkit.neighbours`.
    queries, images : mapping of str to ndarray of shape (H, W, 3), uint8
        Pictures by name; queries without a picture are not drawn.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure; its table is ``neighbours``.

    Raises
    ------
    InputError
        If there is nothing to draw or the theme is unknown.
    """
    style.table_of(
        "neighbours", neighbours, "vizkit.neighbours", ("model", "query", "rank", "image")
    )
    look = style.theme_of(theme)
    drawn = neighbours[neighbours["query"].isin(list(queries))]
    if drawn.empty:
        raise InputError("no neighbours to draw")
    names = list(dict.fromkeys(drawn["query"]))
    models = list(dict.fromkeys(drawn["model"]))
    k = int(drawn["rank"].max())
    note = _note(neighbours)
    width = 0.3 + _CELL * (1 + k * len(models)) + 0.15 * len(models)
    height = _HEADING + (_CELL + _WORDS) * len(names) + style.note_height(note, width)
    with style.drawing(look):
        figure = style.picture(look, figsize, (width, height))
        ratios = [1.0, *([float(k)] * len(models))]
        sides: Any = figure.subfigures(1, 1 + len(models), width_ratios=ratios, squeeze=False)
        sides[0, 0].suptitle("image", fontsize=9)
        for axes, name in zip(_grid(sides[0, 0], len(names), 1), names, strict=True):
            _photo(axes[0], queries[name], _label(drawn, name))
        for side, model in zip(sides[0, 1:], models, strict=True):
            side.suptitle(style.shortened(model), fontsize=9)
            grid = _grid(side, len(names), k)
            for axes, name in zip(grid, names, strict=True):
                own = drawn[(drawn["model"] == model) & (drawn["query"] == name)]
                _row(axes, own, images, look)
        style.footnote(figure, note)
        figure.table = neighbours
    return figure


def _grid(side: Any, rows: int, columns: int) -> np.ndarray:
    grid: np.ndarray = side.subplots(rows, columns, squeeze=False)
    return grid


def _row(
    axes: np.ndarray, own: pd.DataFrame, images: Mapping[str, np.ndarray], look: Theme
) -> None:
    for each in axes:
        style.bare(each).set_axis_off()
    row: Any
    for each, row in zip(axes, own.itertuples(), strict=False):
        each.set_axis_on()
        words = f"{row.similarity:.2f}".replace("-", "\N{MINUS SIGN}")
        # "class" is no name for an attribute
        known = "class" in own.columns
        right = known and row.query_class == own.loc[row.Index, "class"]
        _photo(each, images[row.image], f"{'✓' if right else '✗'} {words}" if known else words)
        if known and not right:
            for spine in each.spines.values():
                spine.set(visible=True, color=look.series[1], linewidth=1.6)


def _photo(axes: Axes, picture: np.ndarray, words: str) -> None:
    style.bare(axes).imshow(picture, interpolation="antialiased")
    axes.set_xlabel(words, fontsize=7, labelpad=2.5)


def _label(drawn: pd.DataFrame, name: str) -> str:
    """Name a query by its class, or where that is not known by its file."""
    if "query_class" in drawn.columns:
        name = drawn.loc[drawn["query"] == name, "query_class"].iloc[0]
    return style.shortened(name.rpartition("/")[2], 14)


def _note(neighbours: pd.DataFrame) -> str:
    words = "Nearest first, with the cosine similarity of the embeddings."
    if "class" not in neighbours.columns:
        return words
    same = neighbours["class"] == neighbours["query_class"]
    shares = same.groupby(neighbours["model"], sort=False).mean()
    listed = ", ".join(f"{model} {share:.0%}" for model, share in shares.items())
    count = neighbours["query"].nunique()
    return f"{words} Of the same class, over all {count} images: {listed}."
