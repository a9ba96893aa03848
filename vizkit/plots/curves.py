"""Numbers against depth, and training curves."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vizkit.errors import choice, chosen, instance
from vizkit.plots import series, style
from vizkit.plots.style import Picture, Theme
from vizkit.results import StageStatistics

DEFAULT = ("mean", "std", "sparsity", "dead", "energy")


def plot_statistics(
    statistics: StageStatistics,
    names: str | Sequence[str] | None = None,
    *,
    role: str | None = None,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw statistics against depth, one line per model.

    Models joined by name share a colour with their batch-normalised twin (``vgg11`` and
    ``vgg11_bn``): the plain one is dashed with open markers.

    Parameters
    ----------
    statistics : StageStatistics
        Of stages (x is the stride) or layers (x is the layer).
    names : str or sequence of str, optional
        Which statistics, one panel each, or ``"all"``; by default mean, std, sparsity, dead and
        energy.
    role : str, optional
        Which role to draw; by default all of a stage statistic, and of a layer one ``"act"``, or
        the only role that has the statistic.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure.

    Raises
    ------
    InputError
        If a statistic, role or theme is unknown.
    """
    instance("statistics", statistics, StageStatistics)
    look = style.theme_of(theme)
    frame = statistics.frame
    known = list(frame["statistic"].unique())
    default = [name for name in DEFAULT if name in known]
    wanted = default if names is None else chosen("statistic", names, [*known, "all"])
    wanted = known if wanted == ["all"] else wanted
    by_stage = bool(frame["layer"].str.fullmatch(r"stride\d+").all())
    rows = {name: _rows_of(frame, name, role, by_stage) for name in wanted}
    with style.drawing(look):
        columns = min(3 if by_stage else 2, len(wanted))
        lines = math.ceil(len(wanted) / columns)
        size = ((3.7 if by_stage else 5.4) * columns, 2.75 * lines + 0.8)
        figure = style.picture(look, figsize, size)
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes, name in zip(grid.ravel(), wanted, strict=False):
            _panel(axes, rows[name], by_stage, look)
            where = "" if by_stage else f" ({', '.join(rows[name]['role'].unique())})"
            title = statistics.units.get(name, name) + where
            axes.set_title(textwrap.fill(title, 46), fontsize=9.5)
        for axes in grid.ravel()[len(wanted) :]:
            axes.set_axis_off()
        handles, labels = _legend(list(grid.ravel()))
        figure.legend(handles, labels, loc="outside upper left", ncols=min(5, len(labels)))
        style.footnote(figure, _note(statistics, rows))
        figure.table = frame
    return figure


def plot_training(log: pd.DataFrame, *, title: str = "", theme: str = "light") -> Picture:
    """Draw the loss and accuracy of a training run against its epochs.

    Parameters
    ----------
    log : DataFrame
        As `vizkit.train` returns and ``log.csv`` holds it.
    title : str
        Printed above.
    theme : "light" or "dark"
        Colours of the figure.

    Returns
    -------
    Picture
        A matplotlib figure.
    """
    style.table_of("log", log, "vizkit.train", ("epoch", "loss", "train_top1", "val_top1"))
    look = style.theme_of(theme)
    with style.drawing(look):
        figure = style.picture(look, None, (8.4, 3.2))
        left, right = figure.subplots(1, 2)
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        left.plot(log["epoch"], log["loss"], "o-", markersize=3, color=look.series[0])
        left.set(xlabel="epoch", ylabel="training loss")
        measured = log.dropna(subset=["val_top1"])
        right.plot(
            *(log["epoch"], log["train_top1"]), "o-", markersize=3, color=look.series[0],
            label="training crops",
        )  # fmt: skip
        averaged = "weights" in log and bool((log["weights"] == "ema").any())
        words = "validation (averaged weights)" if averaged else "validation"
        right.plot(measured["epoch"], measured["val_top1"], "o-", color=look.series[1], label=words)
        # a network that was trained before begins high: the lower part would be empty
        lowest = float(np.nanmin(log[["train_top1", "val_top1"]].to_numpy(dtype=float)))
        bottom = max(0.0, math.floor(10 * lowest - 0.5) / 10)
        right.set(xlabel="epoch", ylabel="top-1 accuracy", ylim=(bottom, 1))
        right.legend(loc="lower right")
        for axes in (left, right):
            axes.grid(visible=True, axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            _mark_sizes(axes, log)
        figure.table = log
    return figure


def _mark_sizes(axes: Axes, log: pd.DataFrame) -> None:
    starts = log[log["size"] != log["size"].shift()]
    for epoch, size in zip(starts["epoch"], starts["size"], strict=True):
        axes.axvline(epoch - 0.5, linewidth=0.6, linestyle=":", alpha=0.6)
        axes.text(
            epoch - 0.4, 0.99, f"{size} px", transform=axes.get_xaxis_transform(),
            fontsize=7, va="top",
        )  # fmt: skip


def _panel(axes: Axes, rows: pd.DataFrame, by_stage: bool, look: Theme) -> None:
    order = series.places_of(rows)
    places = {layer: x for x, (_, layer) in enumerate(order)}
    models = list(rows["model"].unique())
    for model, group in rows.groupby("model", sort=False):
        # a gap stays a gap: no line is drawn across a place without a value
        finite = group["value"].where(np.isfinite(group["value"]))
        points = sorted(zip(group["layer"].map(places), finite, strict=True))
        line = series.line_of(str(model), models, look)
        axes.plot(*zip(*points, strict=True), label=str(model).replace("$", r"\$"), **line)
    values = rows["value"].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        axes.text(0.5, 0.5, "no value anywhere", transform=axes.transAxes, ha="center")
    elif values.min() > 0 and values.max() / values.min() > 100:
        axes.set_yscale("log")
    elif values.min() >= 0:
        top = values.max() * 1.08 or 1.0
        axes.set_ylim(-0.03 * top, top)
    labels = [str(stride) if by_stage else layer for stride, layer in order]
    axes.set_xticks(
        range(len(order)), labels, rotation=0 if by_stage else 90, fontsize=8 if by_stage else 7
    )
    if by_stage:
        axes.set_xlabel("stride of the stage")
    axes.grid(visible=True, axis="y")


def _legend(panels: Sequence[Axes]) -> tuple[list[Any], list[str]]:
    """Collect every model of every panel once."""
    entries: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries = dict(zip(labels, handles, strict=True)) | entries
    return list(entries.values()), list(entries)


def _note(statistics: StageStatistics, rows: Mapping[str, pd.DataFrame]) -> str:
    """Say what a reader must know: how many images, what was sampled, what is missing."""
    photos = "1 image" if statistics.images == 1 else f"{statistics.images} images"
    sampled = [name for name in rows if name in statistics.sampling]
    missing = [name for name, own in rows.items() if not np.isfinite(own["value"]).all()]
    models = set(statistics.frame["model"])
    parts = [f"Over {photos}."]
    if any(series.is_plain(model, models) for model in models):
        parts.append(series.TWINS)
    if sampled:
        parts.append(f"From {statistics.sampling[sampled[0]]}: {', '.join(sampled)}.")
    if missing:
        parts.append(f"Gaps are places without a value: {', '.join(missing)}.")
    return " ".join(parts)


def _rows_of(frame: pd.DataFrame, name: str, role: str | None, by_stage: bool) -> pd.DataFrame:
    """Rows of one statistic, of one role if they are layers'."""
    own = frame[frame["statistic"] == name]
    roles = list(own["role"].unique())
    if role is not None:
        choice("role", role, frame["role"].unique())
    wanted = role
    if role is None and not by_stage:
        wanted = "act" if "act" in roles else roles[0]
    return own if wanted is None else own[own["role"] == wanted]
