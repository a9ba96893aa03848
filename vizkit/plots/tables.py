"""Tables as pictures: predictions beside their photos, and what each stage costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes

from vizkit.errors import whole
from vizkit.plots import style
from vizkit.plots.style import Picture, Theme
from vizkit.results import Seen

COSTS = {"params": ("parameters, millions", 1e6), "gmacs": ("GMACs", 1.0),
         "activations": ("activations, millions", 1.0)}  # fmt: skip
# with more models than this, columns are narrow, in inches
_WIDE = 5
_WIDE_INCHES, _NARROW_INCHES = 2.15, 1.5


def plot_predictions(
    predictions: Mapping[str, pd.DataFrame],
    seen: Seen,
    *,
    k: int = 3,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw what each model says about each photo: a row per photo, a column per model.

    Parameters
    ----------
    predictions : mapping of str to DataFrame
        As `vizkit.predict` returns them, by model name.
    seen : Seen
        The photos as the first model saw them.
    k : int
        How many classes to show.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure.
    """
    k = whole("k", k)
    look = style.theme_of(theme)
    with style.drawing(look):
        narrow = len(predictions) > _WIDE
        wide = _NARROW_INCHES if narrow else _WIDE_INCHES
        size = (1.4 + wide * len(predictions), 1.3 * len(seen) + 0.6)
        figure = style.picture(look, figsize, size)
        grid = figure.subplots(
            len(seen), len(predictions) + 1, squeeze=False,
            width_ratios=[1.33 / wide] + [1.0] * len(predictions),
        )  # fmt: skip
        for n, row in enumerate(grid):
            style.bare(row[0]).imshow(seen.pixels[n])
            row[0].set_title(style.shortened(seen.names[n], 18), fontsize=8.5)
            for axes, (model, frame) in zip(row[1:], predictions.items(), strict=True):
                rows = frame[(frame["image"] == seen.names[n]) & (frame["rank"] <= k)]
                _bars(axes, rows, look, 7.2 if narrow else 8.5)
                if n == 0:
                    name = style.shortened(model, 20 if narrow else 30)
                    axes.set_title(name, fontsize=8 if narrow else 9, fontweight="bold", loc="left")
        style.footnote(figure, "Softmax probability of the most probable classes, from 0 to 100 %.")
        figure.table = pd.concat(
            [frame.assign(model=model) for model, frame in predictions.items()], ignore_index=True
        )
    return figure


def plot_profile(
    profiles: pd.DataFrame,
    *,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw where each model's parameters, multiply-accumulates and activations lie.

    Parameters
    ----------
    profiles : DataFrame
        One or more results of `vizkit.profile`, concatenated.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure.
    """
    style.table_of("profiles", profiles, "vizkit.profile", ("model", "stage", "stride"))
    look = style.theme_of(theme)
    parts = profiles[profiles["stage"] != "total"]
    models = list(dict.fromkeys(parts["model"]))
    strides = sorted(parts["stride"].dropna().unique())
    staged = [f"stride{int(stride)}" for stride in strides]
    # what belongs to no stage: the head, and parameters that do not run, if any
    others = [stage for stage in dict.fromkeys(parts["stage"]) if stage not in staged]
    stages = [*staged, *others]
    greys = colormaps["gray"](np.linspace(0.75, 0.45, len(others)))
    colours = [*colormaps[look.sequential](np.linspace(0.1, 0.95, len(staged))), *greys]
    with style.drawing(look):
        figure = style.picture(look, figsize, (10.5, 0.38 * len(models) + 1.5))
        grid = figure.subplots(1, len(COSTS), sharey=True)
        for axes, (column, (label, unit)) in zip(grid, COSTS.items(), strict=True):
            left = np.zeros(len(models))
            table = parts.pivot_table(index="model", columns="stage", values=column, sort=False)
            for stage, colour in zip(stages, colours, strict=True):
                values = table.get(stage, pd.Series(dtype=float)).reindex(models).fillna(0) / unit
                name = stage.replace("stride", "stride ")
                axes.barh(
                    range(len(models)), values, left=left, color=colour, label=name, height=0.72
                )
                left += values.to_numpy()
            for y, total in enumerate(left):
                axes.text(total, y, f" {total:.3g}", va="center", fontsize=8)
            axes.set_yticks(range(len(models)), [style.shortened(model, 28) for model in models])
            axes.set_xlim(0, left.max() * 1.18)
            axes.set_xlabel(label)
            axes.tick_params(axis="y", length=0)
        grid[0].invert_yaxis()
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))
        figure.table = profiles
    return figure


def _bars(axes: Axes, rows: pd.DataFrame, look: Theme, fontsize: float) -> None:
    places = range(len(rows))
    axes.barh(places, rows["probability"], color=look.series[0], alpha=0.3, height=0.82)
    for y, (name, share) in enumerate(zip(rows["class"], rows["probability"], strict=True)):
        words = style.shortened(name, 16 if fontsize < 8 else 24)
        axes.text(0.015, y, words, va="center", fontsize=fontsize)
        percent = f"{share:.0%}".replace("%", "\N{NARROW NO-BREAK SPACE}%")
        axes.text(1.0, y, percent, va="center", ha="right", fontsize=fontsize)
    axes.set(xlim=(0, 1), ylim=(2.6, -0.6))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    style.bare(axes)
