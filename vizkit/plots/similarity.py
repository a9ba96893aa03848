"""How similar feature maps are: two networks in numbers, several as an atlas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from vizkit.errors import chosen, instance
from vizkit.plots import series, style
from vizkit.plots.style import Picture, Theme
from vizkit.results import Similarity

# with more cells in a row, numbers would not fit
_NUMBERED = 20
# inches: a cell with a number, one without, the least that fits a label, and a whole picture
_CELL, _SMALL, _LETTERS, _MOST = 0.46, 0.18, 0.115, 14.0
# a letter's width as a share of its size
_WIDTH = 0.62


def plot_similarity(
    similarity: Similarity,
    *,
    models: Sequence[str] | None = None,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw how similar the feature maps of networks are, as a matrix.

    Parameters
    ----------
    similarity : Similarity
        From `vizkit.similarity`.
    models : sequence of str, optional
        Which networks, in this order; by default all, twins next to each other. Two are drawn
        against each other with numbers and the best match of each tap of the first; one or more
        than two as blocks of one matrix of all with all, with the best match of each tap in
        each block.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure; colours always run from 0 to 1. Crosses mark taps whose maps are the
        same for all images.

    Raises
    ------
    InputError
        If a model or the theme is unknown, or there are no models.
    """
    instance("similarity", similarity, Similarity)
    look = style.theme_of(theme)
    known = similarity.models
    models = series.with_twins(known) if models is None else chosen("model", models, known)
    pair = len(models) == 2
    down = _side(similarity, models[:1] if pair else models)
    across = _side(similarity, models[1:] if pair else models)
    matrix = similarity.matrix[np.ix_(down.rows, across.rows)]
    cell = _inches(down, across)
    with style.drawing(look):
        figure = style.picture(look, figsize, _size(down, across))
        axes = figure.subplots()
        drawn = _cells(axes, matrix, look)
        for axis, side in ((axes.xaxis, across), (axes.yaxis, down)):
            room = _label_taps(axis, side, cell)
            if pair:
                _label_pair(axis, side)
            else:
                _label_models(axis, side, cell, room)
        if max(matrix.shape) <= _NUMBERED:
            _numbers(axes, matrix)
        if pair:
            _best(axes, matrix, width=3.0 if cell == _CELL else 1.8)
        elif len(models) > 1:
            _paths(axes, matrix, down, across, numbered=max(matrix.shape) <= _NUMBERED)
        _lines(axes, down, across, look)
        bar = figure.colorbar(drawn, ax=axes, fraction=0.04, pad=0.02, shrink=0.8)
        bar.set_label(similarity.measure)
        bar.outline.set_visible(False)
        style.footnote(figure, _words(similarity, down, across, pair))
        figure.table = similarity.to_frame()
    return figure


@dataclass(frozen=True)
class _Side:
    """What stands along one side of the matrix."""

    models: list[str]
    # rows in the matrix of all
    rows: np.ndarray
    # where each model begins, and the end of the last
    edges: list[int]
    ticks: list[str]
    by_stage: bool


def _side(similarity: Similarity, models: list[str]) -> _Side:
    parts = [similarity.rows_of(model) for model in models]
    rows = np.concatenate(parts)
    labels = similarity.labels.iloc[rows]
    by_stage = bool(labels["tap"].str.fullmatch(r"stride\d+").all())
    names = labels["stride"].astype(str) if by_stage else labels["tap"]
    edges = [0, *np.cumsum([len(part) for part in parts]).tolist()]
    return _Side(models, rows, edges, [style.shortened(name, 18) for name in names], by_stage)


def _inches(down: _Side, across: _Side) -> float:
    """Choose the size of a cell."""
    longest = max(len(down.rows), len(across.rows))
    if longest <= _NUMBERED:
        return _CELL
    return min(_SMALL, (_MOST - 2.5) / longest)


def _size(down: _Side, across: _Side) -> tuple[float, float]:
    cell = _inches(down, across)
    extra = 0.0 if down.by_stage and across.by_stage else 0.6
    width = max(4.6, cell * len(across.rows) + 2.5 + extra)
    return width, max(2.4, cell * len(down.rows) + 1.5 + extra)


def _cells(axes: Axes, matrix: np.ndarray, look: Theme) -> AxesImage:
    colours = colormaps[look.sequential].with_extremes(bad=look.empty)
    drawn = axes.imshow(
        np.ma.masked_invalid(matrix), cmap=colours, vmin=0, vmax=1, interpolation="nearest"
    )
    ys, xs = np.nonzero(np.isnan(matrix))
    axes.scatter(xs, ys, marker="x", color=look.ink, s=14, linewidths=0.8)
    axes.spines[:].set_visible(False)
    return drawn


def _label_taps(axis: Axis, side: _Side, cell: float) -> float:
    """Write taps beside the cells, as minor ticks; return the room they take, in points."""
    step = _step(cell)
    spans = zip(side.edges, side.edges[1:], strict=False)
    places = [place for first, end in spans for place in range(first, end, step)]
    ticks = [side.ticks[place] for place in places]
    size = 8.0 if cell == _CELL else 6.5
    below = isinstance(axis, XAxis)
    turned = below and not side.by_stage
    axis.set_ticks(places, ticks, minor=True)
    axis.set_tick_params(
        which="minor", length=0, pad=2, labelsize=size, labelrotation=90 if turned else 0
    )
    sideways = turned or not below
    return size * (_WIDTH * max(len(tick) for tick in ticks) if sideways else 1.0)


def _label_models(axis: Axis, side: _Side, cell: float, room: float) -> None:
    """Write models beyond the taps, as major ticks."""
    spans = list(zip(side.edges, side.edges[1:], strict=False))
    names = [style.shortened(model, 24) for model in side.models]
    fitting = min(
        (end - first) * cell * 72 / (_WIDTH * len(name))
        for (first, end), name in zip(spans, names, strict=True)
    )
    upright = isinstance(axis, XAxis)
    axis.remove_overlapping_locs = False
    axis.set_ticks(
        [(first + end - 1) / 2 for first, end in spans],
        names,
        fontsize=min(8.5, max(5.5, fitting)),
        rotation=0 if upright else 90,
        va="top" if upright else "center",
    )
    axis.set_tick_params(which="major", length=0, pad=6 + room)


def _label_pair(axis: Axis, side: _Side) -> None:
    axis.set_ticks([])
    words = "stride of the stage" if side.by_stage else "layer"
    axis.set_label_text(f"{style.shortened(side.models[0], 30)}: {words}")


def _step(cell: float) -> int:
    """Choose of how many taps one is named, so that names have room."""
    return max(1, ceil(_LETTERS / cell))


def _numbers(axes: Axes, matrix: np.ndarray) -> None:
    for (y, x), value in np.ndenumerate(matrix):
        if not np.isnan(value):
            words = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}")
            # the top of the colours is bright in both themes
            colour = "#000000" if value > 0.6 else "#ffffff"
            axes.text(x, y, words, ha="center", va="center", fontsize=7.5, color=colour)


def _best(axes: Axes, matrix: np.ndarray, width: float) -> None:
    """Frame the best match in each row, so that it shows on dark and on bright cells."""
    for y, values in enumerate(matrix):
        if np.isnan(values).all():
            continue
        corner = (int(np.nanargmax(values)) - 0.43, y - 0.43)
        for colour, share in (("#000000", 1.0), ("#ffffff", 0.47)):
            frame = Rectangle(corner, 0.86, 0.86, fill=False)
            frame.set(edgecolor=colour, linewidth=share * width)
            axes.add_patch(frame)


def _paths(axes: Axes, matrix: np.ndarray, down: _Side, across: _Side, *, numbered: bool) -> None:
    """Mark in each block of two networks where each tap has its like."""
    found = []
    for m, (top, bottom) in enumerate(pairwise(down.edges)):
        for n, (left, right) in enumerate(pairwise(across.edges)):
            block = matrix[top:bottom, left:right]
            if m != n:
                found += [
                    (left + int(np.nanargmax(values)), top + row)
                    for row, values in enumerate(block)
                    if not np.isnan(values).all()
                ]
    if numbered:
        for x, y in found:
            corner = (x - 0.45, y - 0.45)
            axes.add_patch(
                Rectangle(corner, 0.9, 0.9, fill=False, edgecolor="#ffffff", linewidth=1.4)
            )
        return
    xs, ys = zip(*found, strict=True) if found else ((), ())
    axes.scatter(xs, ys, s=9, marker="o", color="#ffffff", edgecolors="#000000", linewidths=0.5)


def _lines(axes: Axes, down: _Side, across: _Side, look: Theme) -> None:
    """Part the models."""
    for edge in across.edges[1:-1]:
        axes.axvline(edge - 0.5, color=look.paper, linewidth=2)
    for edge in down.edges[1:-1]:
        axes.axhline(edge - 0.5, color=look.paper, linewidth=2)


def _words(similarity: Similarity, down: _Side, across: _Side, pair: bool) -> str:
    batches = f"{similarity.batches} batch{'es' if similarity.batches > 1 else ''}"
    words = [
        "1: the same images are alike, up to rotation and scale of the features; 0: unrelated.",
        f"{similarity.images} images in {batches}, unbiased estimates.",
    ]
    places = np.ix_(down.rows, across.rows)
    width = (similarity.high - similarity.low)[places]
    if np.isfinite(width).any():
        words.append(f"95 % intervals are at most {np.nanmax(width):.2f} wide.")
    if pair:
        words.append(f"Framed: the best match of each tap of {down.models[0]}.")
    elif len(down.models) > 1:
        words.append("Marked: in each block, the best match of each tap of the model at the left.")
    if not pair and down.by_stage:
        words.append("Along the sides: the strides of the stages.")
    step = _step(_inches(down, across))
    if step > 1:
        words.append(f"Of every {step} layers one is named.")
    if (similarity.matrix[places] < -0.005).any():
        words.append("Values below 0 have the colour of 0.")
    inputs = {similarity.transforms.get(name, "") for name in (*down.models, *across.models)}
    if len(inputs) > 1:
        words.append(f"The networks see different inputs: {'; '.join(sorted(inputs))}.")
    return " ".join(words).replace("$", r"\$")
