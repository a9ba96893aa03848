"""Theoretical and effective receptive fields over what the network saw."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from vizkit.errors import instance
from vizkit.plots import style
from vizkit.plots.style import Picture, Theme
from vizkit.results import ReceptiveFields

HEAT = "inferno"
_GREY = (0.299, 0.587, 0.114)
# a field that takes less than this share of the input is drawn larger in a corner
_SMALL = 0.2
_INSET = 0.44
# inches
_CELL = 2.0
_TITLE = 0.62
_LEAST_WIDTH = 5.0

_Box = tuple[float, float, float, float]


def plot_receptive_fields(
    fields: ReceptiveFields,
    *,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw the effective field of each tap as heat over the photo, the theoretical as a box.

    Parameters
    ----------
    fields : ReceptiveFields
        From `vizkit.receptive_fields`: each network becomes a row, each stride a column (or
        more, if layers share it). A small field is drawn larger in a corner.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure; its table is ``fields.frame``.

    Raises
    ------
    InputError
        If the theme is unknown.
    """
    instance("fields", fields, ReceptiveFields)
    look = style.theme_of(theme)
    taps = _with_columns(fields)
    columns = sorted(set(taps["column"]))
    models = list(fields.seen)
    with style.drawing(look):
        note = _footnote(fields)
        width = max(_LEAST_WIDTH, _CELL * len(columns) + 0.5)
        shapes = [seen.pixels.shape[1] / seen.pixels.shape[2] for seen in fields.seen.values()]
        cell = (width - 0.5) / len(columns)
        height = sum(cell * shape + _TITLE for shape in shapes) + style.note_height(note, width)
        figure = style.picture(look, figsize, (width, height))
        grid = figure.subplots(len(models), len(columns), squeeze=False)
        for model, row in zip(models, grid, strict=True):
            for column, axes in zip(columns, row, strict=True):
                # at the top of its cell, or the layout would count the room above for the title
                axes.set_anchor("N")
                own = taps[(taps["model"] == model) & (taps["column"] == column)]
                if own.empty:
                    style.empty_cell(axes, look, f"no stride {column[0]}\nin this model")
                else:
                    _panel(axes, fields, own.iloc[0], look)
            row[0].set_ylabel(style.shortened(model, 24), fontsize=8.5, fontweight="bold")
        style.footnote(figure, note)
        figure.table = fields.frame
    return figure


def _with_columns(fields: ReceptiveFields) -> pd.DataFrame:
    """List the taps, each with its label and its column: stride, and which of those at it."""
    taps = fields.frame.copy()
    taps["label"] = [label for maps in fields.maps.values() for label in maps]
    number = taps.groupby(["model", "stride"]).cumcount()
    taps["column"] = list(zip(taps["stride"], number, strict=True))
    return taps


def _panel(axes: Axes, fields: ReceptiveFields, tap: pd.Series, look: Theme) -> None:
    pixels = fields.seen[tap["model"]].pixels[0]
    gradient = fields.maps[tap["model"]][tap["label"]]
    box = fields.boxes[tap["model"]][tap["label"]]
    _draw(axes, pixels, gradient, box, tap)
    axes.set_title(_title(tap), fontsize=8)
    height, width = gradient.shape
    side = max(box[2] - box[0], box[3] - box[1])
    if side < _SMALL * min(height, width):
        inset = axes.inset_axes((0, 0, _INSET, _INSET * width / height))
        _draw(inset, pixels, gradient, box, tap)
        # half a field of surroundings, and less where the border is near
        margin = max(2, side // 2)
        inset.set_xlim(box[0] - margin - 0.5, box[2] + margin - 0.5)
        inset.set_ylim(box[3] + margin - 0.5, box[1] - margin - 0.5)
        for spine in inset.spines.values():
            spine.set(visible=True, color=look.paper, linewidth=2)


def _draw(
    axes: Axes,
    pixels: np.ndarray,
    gradient: np.ndarray,
    box: tuple[int, int, int, int],
    tap: pd.Series,
) -> None:
    """Draw the grey photo, the heat and both squares."""
    height, width = gradient.shape
    style.bare(axes).imshow(pixels @ np.array(_GREY), cmap="gray", vmin=0, vmax=255)
    top = gradient.max()
    if top:
        strength = np.sqrt(gradient / top)
        colours = colormaps[HEAT](strength)
        # clear where nothing is seen, so that the photo stays readable
        colours[..., 3] = np.clip(1.5 * strength, 0, 0.9)
        axes.imshow(colours, interpolation="nearest")
    if not math.isnan(tap["theoretical"]):
        _square(axes, _clipped(box, width, height), "-")
    if not math.isnan(tap["effective"]):
        _square(axes, _effective(gradient, tap["effective"]), ":")
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def _clipped(box: tuple[int, int, int, int], width: int, height: int) -> _Box:
    x0, y0, x1, y1 = box
    return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)


def _effective(gradient: np.ndarray, side: float) -> _Box:
    """Square of this side about the middle of the gradient, moved into the input."""
    corner = []
    for axis, length in ((0, gradient.shape[1]), (1, gradient.shape[0])):
        line = gradient.sum(axis=axis)
        middle = (line * (np.arange(length) + 0.5)).sum() / line.sum()
        corner.append(min(max(middle - side / 2, 0.0), length - side))
    return corner[0], corner[1], corner[0] + side, corner[1] + side


def _square(axes: Axes, box: _Box, style_of_line: str) -> None:
    x0, y0, x1, y1 = box
    axes.add_patch(
        Rectangle(
            (x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0,
            fill=False, edgecolor="white", linewidth=1.2, linestyle=style_of_line,
            # a dark rim, for white photos; a box at the border is drawn over it
            path_effects=[withStroke(linewidth=2.4, foreground="#000000a0")], clip_on=False,
        )
    )  # fmt: skip


def _title(tap: pd.Series) -> str:
    stage = tap["layer"] == f"stride{tap['stride']}"
    name = f"stride {tap['stride']}" if stage else style.shortened(f"{tap['layer']} {tap['role']}")
    if math.isnan(tap["theoretical"]):
        first = "field not known"
    else:
        larger = " > input" if tap["theoretical"] > tap["clipped"] else ""
        first = f"field {tap['theoretical']:.0f} px{larger}"
    if math.isnan(tap["effective"]):
        second = "no gradient"
    else:
        share = "" if math.isnan(tap["share"]) else f" ({tap['share']:.0%})"
        second = f"effective {tap['effective']:.0f} px{share}"
    return f"{name}\n{first}\n{second}"


def _footnote(fields: ReceptiveFields) -> str:
    words = (
        "Solid: theoretical field of the central place, where it lies in the input. Heat: "
        f"square root of the mean absolute gradient over {fields.images} photo(s), over one "
        "of them. Dotted: square of the effective size, the smallest set of pixels with 95.45 % "
        "of the gradient in the field."
    )
    if (fields.frame["theoretical"] > fields.frame["clipped"]).any():
        words += " > input: the field reaches beyond the border, its effective part cannot."
    if (fields.frame["outside"] > 0.0005).any():
        most = fields.frame["outside"].max()
        words += f" Gates let in up to {most:.1%} of the gradient from outside the field."
    return words
