"""Which class is taken for which, models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes

from vizkit.errors import chosen, instance
from vizkit.plots import series, style
from vizkit.plots.disagreement import seen_words
from vizkit.plots.style import Picture, Theme
from vizkit.results.judged import Judged

# with more classes, only the most frequent confusions are drawn
_CLASSES = 20
_CONFUSIONS = 20
# inches
_CELL = 0.29

_Sides = tuple[list[str], list[str]]
_Size = tuple[float, float] | None


def plot_confusion(
    disagreement: Judged,
    *,
    models: Sequence[str] | None = None,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw which class each model takes for which, side by side.

    Parameters
    ----------
    disagreement : Disagreement or Evaluation
        From `vizkit.disagreement` or `vizkit.evaluation.evaluated`, of images in class folders.
    models : sequence of str, optional
        Which, in this order; by default all, twins next to each other.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure: matrices, each row the images of a class; with more than 20
        classes, the most frequent confusions as bars.

    Raises
    ------
    InputError
        If the images' own classes are not known, a model is unknown, or there are no models.
    """
    instance("disagreement", disagreement, Judged)
    look = style.theme_of(theme)
    known = disagreement.models
    drawn = series.with_twins(known) if models is None else chosen("model", models, known)
    table = disagreement.confusion()
    table = table[table["model"].isin(drawn)]
    table["share"] = table["n"] / table.groupby(["model", "label"])["n"].transform("sum")
    labels = list(disagreement.labels)
    classes = [*labels, *sorted(set(table["class"]) - set(labels))]
    sides = labels, classes
    with style.drawing(look):
        if not len(labels) or len(classes) > _CLASSES:
            figure = _bars(table, drawn, disagreement, look, figsize)
        elif len(labels) == 1:
            figure = _of_one_class(table, drawn, sides, disagreement, look, figsize)
        else:
            figure = _matrices(table, drawn, sides, disagreement, look, figsize)
        figure.table = table.reset_index(drop=True)
    return figure


def _matrices(
    table: pd.DataFrame,
    models: Sequence[str],
    sides: _Sides,
    found: Judged,
    look: Theme,
    figsize: _Size,
) -> Picture:
    """Draw one matrix a model: a row for each class of images."""
    labels, known = sides
    columns = min(len(models), max(1, int(10 / (_CELL * len(known)))))
    rows = ceil(len(models) / columns)
    names = 0.062 * max(len(_short(name)) for name in known) + 0.5
    width = max(5.0, columns * (_CELL * len(known) + 0.15) + names)
    note = _confusion_words(found)
    height = rows * (_CELL * len(labels) + 0.35) + names + style.note_height(note, width)
    figure = style.picture(look, figsize, (width, height))
    grid = figure.subplots(rows, columns, squeeze=False)
    for n, axes in enumerate(grid.ravel()):
        if n >= len(models):
            axes.set_axis_off()
            continue
        own = table[table["model"] == models[n]]
        _cells(axes, _grid(own, "label", labels, known), labels, known, look)
        axes.set_title(style.shortened(models[n], 26), fontweight="bold", loc="left")
        # names only at the outer sides
        axes.tick_params(labelleft=n % columns == 0, labelbottom=n + columns >= len(models))
    grid[rows // 2, 0].set_ylabel("own class")
    grid[-1, (columns - 1) // 2].set_xlabel("predicted class")
    style.footnote(figure, note)
    return figure


def _of_one_class(
    table: pd.DataFrame,
    models: Sequence[str],
    sides: _Sides,
    found: Judged,
    look: Theme,
    figsize: _Size,
) -> Picture:
    """Draw one matrix in all: a row for each model."""
    (label,), known = sides
    width = max(6.0, _CELL * len(known) + 3.0)
    note = _confusion_words(found)
    height = 0.34 * len(models) + 1.7 + style.note_height(note, width)
    figure = style.picture(look, figsize, (width, height))
    axes = figure.subplots()
    names = [style.shortened(model) for model in models]
    _cells(axes, _grid(table, "model", models, known), names, known, look)
    title = f"What images of {_short(label)} are taken for"
    axes.set_title(title, fontweight="bold", loc="left")
    style.footnote(figure, note)
    return figure


def _grid(table: pd.DataFrame, rows: str, down: Sequence[str], across: Sequence[str]) -> np.ndarray:
    """Put shares in rows and columns; NaN where there are none."""
    values = np.full((len(down), len(across)), np.nan)
    for row, said, share in zip(table[rows], table["class"], table["share"], strict=True):
        values[list(down).index(row), list(across).index(said)] = share
    return values


def _cells(
    axes: Axes, values: np.ndarray, down: Sequence[str], across: Sequence[str], look: Theme
) -> None:
    """Draw shares as colours and whole percents; what does not occur stays empty."""
    colours = colormaps[look.sequential].with_extremes(bad=look.empty)
    axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=0, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        if not np.isnan(value):
            words = f"{100 * value:.0f}" if value >= 0.005 else "<1"
            colour = "#000000" if value > 0.6 else "#ffffff"
            axes.text(x, y, words, ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(across)), [_short(name) for name in across], rotation=90)
    axes.set_yticks(range(len(down)), [_short(name) for name in down])
    axes.tick_params(length=0, labelsize=7.5)
    axes.spines[:].set_visible(False)


def _bars(
    table: pd.DataFrame, models: Sequence[str], found: Judged, look: Theme, figsize: _Size
) -> Picture:
    """List the confusions that are most frequent over all models, a bar for each model."""
    wrong = table[table["label"] != table["class"]]
    totals = wrong.groupby(["label", "class"])["n"].sum()
    pairs = list(totals.sort_values(ascending=False, kind="stable").index[:_CONFUSIONS])
    names = [f"{_short(label)} → {_short(said)}" for label, said in pairs]
    note = _confusion_words(found, len(pairs))
    width = 3.2 + 1.25 * len(models)
    height = 0.24 * max(3, len(pairs)) + 0.8 + style.note_height(note, width)
    figure = style.picture(look, figsize, (width, height))
    grid = figure.subplots(1, len(models), squeeze=False, sharex=True, sharey=True)[0]
    for axes, model in zip(grid, models, strict=True):
        own = wrong[wrong["model"] == model].set_index(["label", "class"])["share"]
        shares = own.reindex(pairs).fillna(0).to_numpy()
        axes.barh(range(len(pairs)), shares, color=look.series[0], height=0.72)
        for y, share in enumerate(shares):
            if share:
                axes.text(share, y, f" {share:.0%}".replace("%", " %"), va="center", fontsize=7.5)
        axes.set_title(style.shortened(model, 18), fontsize=8, fontweight="bold", loc="left")
        axes.set_yticks(range(len(pairs)), names)
        axes.tick_params(length=0, labelbottom=False)
        axes.spines[["bottom"]].set_visible(False)
    top = wrong.loc[wrong.set_index(["label", "class"]).index.isin(pairs), "share"].max()
    grid[0].set(xlim=(0, 1.45 * (top if pairs else 1)), ylim=(len(pairs) - 0.4, -0.6))
    style.footnote(figure, note)
    return figure


def _short(name: str) -> str:
    return style.shortened(name, 20)


def _confusion_words(found: Judged, pairs: int | None = None) -> str:
    words = [f"{found.images} images."]
    if pairs is None:
        words.append(
            "A row is the images of one class, a column what they are taken for; percent of the "
            "row, colours from 0 to 100; empty: never."
        )
    elif pairs:
        words.append(
            f"The {pairs} most frequent confusions, own class → predicted class, over all models; "
            "percent of the images of the own class."
        )
    else:
        words.append("No image is taken for another class.")
    return " ".join([*words, *seen_words(found)]).replace("$", r"\$")
