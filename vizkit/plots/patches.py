"""Galleries of the patches that excite channels most."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from vizkit.errors import InputError, instance
from vizkit.plots import style
from vizkit.plots.style import Picture, Theme
from vizkit.results import Patches

# inches
_SMALL, _LARGE = 0.66, 0.95
_FULL = 11.0
_HEADING = 0.6
_LEAST_WIDTH = 3.6
# shares of a tile: between tiles, and below for the value and a gap
_GAP = 0.06
_WORDS = 0.26
# tiles beside each other in the whole figure, and at least for one network
_ACROSS = 18
_LEAST = 5


def plot_patches(
    patches: Patches,
    *,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw patches as a gallery: a row per channel, networks side by side, best first.

    Parameters
    ----------
    patches : Patches
        From `vizkit.top_patches`. Each crop is drawn at its true place in a square that holds
        the whole receptive field: what is left empty lay beyond the border of the input. A
        field that is larger than the input is drawn at its place in the input instead.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure; its table is ``patches.frame``.

    Raises
    ------
    InputError
        If there are no patches or the theme is unknown.
    """
    instance("patches", patches, Patches)
    look = style.theme_of(theme)
    if not patches.crops:
        raise InputError("no patches to draw")
    models = list(dict.fromkeys(patches.fields["model"]))
    layers = [group for _, group in _by_layer(patches.fields)]
    k = int(patches.frame["rank"].max())
    across = min(k, max(_LEAST, _ACROSS // len(models)))
    lines = math.ceil(k / across)
    tile = min(_LARGE, max(_SMALL, _FULL / (across * len(models))))
    heights = [_HEADING + tile * _height(patches, group, lines) for group in layers]
    with style.drawing(look):
        width = 0.3 + len(models) * max(_LEAST_WIDTH, across * tile * (1 + _GAP) + 0.45)
        note = _footnote(patches, len(models))
        size = (
            width,
            sum(heights) + style.note_height(note, width) + 0.1,
        )
        figure = style.picture(look, figsize, size)
        panels = style.blocks(figure, heights)
        for panel, group in zip(panels, layers, strict=True):
            # titles of subfigures keep their room beside axes of fixed shape, others may not
            sides: Any = panel.subfigures(1, len(models), squeeze=False)
            for side, model in zip(sides[0], models, strict=True):
                own = group[group["model"] == model]
                if own.empty:
                    layer = style.shortened(str(group["layer"].iloc[0]))
                    style.empty_cell(side.subplots(), look, f"no {layer}\nin {model}")
                else:
                    side.suptitle(_title(own.iloc[0]), fontsize=8.5, x=0.01, ha="left")
                    _gallery(side.subplots(), patches, own.iloc[0], across, look)
        style.footnote(figure, note)
        figure.table = patches.frame
    return figure


def _by_layer(fields: pd.DataFrame) -> Iterable[tuple[Any, pd.DataFrame]]:
    """Taps that stand beside each other: the n-th of the same layer in each network."""
    number = fields.groupby(["model", "layer"]).cumcount()
    return fields.groupby([fields["layer"], number], sort=False)


def _height(patches: Patches, group: pd.DataFrame, lines: int) -> float:
    """How many tiles the largest gallery of a row is high."""
    counts = [_of(patches.frame, tap)["channel"].nunique() for _, tap in group.iterrows()]
    return max(counts) * (lines * (1 + _GAP + _WORDS) + _GAP)


def _of(frame: pd.DataFrame, tap: pd.Series) -> pd.DataFrame:
    keys = ["model", "layer", "role"]
    found: pd.DataFrame = frame[(frame[keys] == tap[keys]).all(axis=1)]
    return found


def _gallery(axes: Axes, patches: Patches, tap: pd.Series, across: int, look: Theme) -> None:
    """Draw all channels of one tap."""
    rows = _of(patches.frame, tap)
    lines = math.ceil(int(rows["rank"].max()) / across)
    channels = list(dict.fromkeys(rows["channel"]))
    step = 1 + _GAP + _WORDS
    tops = {channel: i * (lines * step + _GAP) for i, channel in enumerate(channels)}
    row: Any
    for row in rows.itertuples():
        line, place = divmod(int(row.rank) - 1, across)
        left, top = place * (1 + _GAP), tops[row.channel] + line * step
        axes.add_patch(Rectangle((left, top), 1, 1, color=look.empty, linewidth=0, zorder=-1))
        if row.value:
            _crop(axes, patches.crops[int(row.Index)], row, tap, (left, top))
        words = f"{row.value:.3g}".replace("-", "\N{MINUS SIGN}") if row.value else "silent"
        axes.text(
            left + 0.5, top + 1.02, words, ha="center", va="top", fontsize=6.5, alpha=0.85
        )  # fmt: skip
    style.bare(axes).set_aspect("equal", anchor="NW")
    axes.set_xlim(0, across * (1 + _GAP) - _GAP)
    axes.set_ylim(len(channels) * (lines * step + _GAP), 0)
    middles = [top + (lines * step - _WORDS) / 2 for top in tops.values()]
    axes.set_yticks(middles, [str(channel) for channel in channels], fontsize=8)
    axes.tick_params(length=0, pad=2)
    axes.set_ylabel("channel", fontsize=8, labelpad=1)


def _crop(
    axes: Axes, crop: np.ndarray, row: Any, tap: pd.Series, tile: tuple[float, float]
) -> None:
    """Draw a crop where it lies in the field, or, where the field is larger, in the input."""
    height, width = shown = _shown(tap)
    side = max(shown)
    if not crop.size:
        return
    # what is not square stands in the middle of its tile
    x, y = row.x0 + (side - width) / 2, row.y0 + (side - height) / 2
    if _fits(tap):
        x, y = x - row.field_x0, y - row.field_y0
    left, top = tile[0] + x / side, tile[1] + y / side
    right, bottom = left + crop.shape[1] / side, top + crop.shape[0] / side
    axes.imshow(crop, extent=(left, right, bottom, top))


def _fits(tap: pd.Series) -> bool:
    """Whether the field is known and no larger than the input."""
    return bool(tap["height"] <= tap["input_height"] and tap["width"] <= tap["input_width"])


def _shown(tap: pd.Series) -> tuple[int, int]:
    """Height and width, in input pixels, of what a tile stands for."""
    names = ("height", "width") if _fits(tap) else ("input_height", "input_width")
    return int(tap[names[0]]), int(tap[names[1]])


def _title(tap: pd.Series) -> str:
    name = style.shortened(str(tap["model"]), 40)
    if math.isnan(tap["height"]):
        words = f"field not known, the whole input ({_size(tap, 'input_')})"
    elif _fits(tap):
        words = f"field {_size(tap)}"
    else:
        words = f"field {_size(tap)}, input {_size(tap, 'input_')}"
    return f"{name}\n{style.shortened(str(tap['layer']), 30)} {tap['role']}, {words}"


def _size(tap: pd.Series, prefix: str = "") -> str:
    height, width = int(tap[f"{prefix}height"]), int(tap[f"{prefix}width"])
    return f"{width} px" if width == height else f"{width} x {height} px"


def _footnote(patches: Patches, models: int) -> str:
    words = (
        f"What the network saw at the place of a channel's greatest activation (the number below) "
        f"in a photo, from the best of {patches.images} photo(s); at most one patch a photo. Empty "
        "margins lay beyond the border of the input."
    )
    if not all(_fits(tap) for _, tap in patches.fields.iterrows()):
        words += (
            " Where the field is larger than the input, a square is the whole input, and what is "
            "empty lay outside the field."
        )
    if (patches.frame["value"] == 0).any():
        words += " Silent: the channel is 0 everywhere in the photo."
    if models > 1:
        words += " Networks trained apart number their channels apart."
    return words
