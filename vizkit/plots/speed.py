"""How fast networks run, and how much memory they take, setting by setting."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from vizkit.errors import InputError
from vizkit.plots import style
from vizkit.plots.style import Picture, Theme

_ROW, _HEAD = 0.27, 0.75


def plot_speed(
    table: pd.DataFrame, *, theme: str = "light", figsize: tuple[float, float] | None = None
) -> Picture:
    """Draw throughput and peak memory: a block per model, a row per setting.

    Parameters
    ----------
    table : DataFrame
        As `vizkit.speed.throughput` returns it.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure; lines are quartiles. What timm publishes stands below as text: it
        is of other hardware.

    Raises
    ------
    InputError
        If nothing was measured.
    """
    style.table_of("table", table, "vizkit.speed.measure", ("source", "model", "images_per_second"))
    look = style.theme_of(theme)
    here = table[table["source"] == "here"]
    if not here["images_per_second"].notna().any():
        raise InputError("no speed to draw: no setting ran")
    models = list(dict.fromkeys(here["model"]))
    rows = [here[here["model"] == model] for model in models]
    text = f"{_words(here)} {_published(table)}"
    with style.drawing(look):
        width = 8.6
        heights = [_HEAD + _ROW * len(own) for own in rows]
        size = (width, sum(heights) + style.note_height(text, width) + 0.2)
        figure = style.picture(look, figsize, size)
        ratios = [len(own) + 1 for own in rows]
        grid = figure.subplots(
            len(models), 2, squeeze=False, height_ratios=ratios, width_ratios=[1.5, 1],
            sharex="col" if len(models) == 1 else False,
        )  # fmt: skip
        for (left, right), model, own in zip(grid, models, rows, strict=True):
            _speeds(left, own, look)
            _memory(right, own, look)
            name = style.shortened(model, 40)
            left.set_title(f"{name}, {own['size'].iloc[0]} px", loc="left", fontweight="bold")
        grid[-1][0].set_xlabel("images per second")
        grid[-1][1].set_xlabel("peak memory, MB")
        style.footnote(figure, text)
        figure.table = table
    return figure


def _speeds(axes: Axes, own: pd.DataFrame, look: Theme) -> None:
    places = range(len(own))
    axes.barh(places, own["images_per_second"].fillna(0), color=_colours(own, look), height=0.68)
    axes.hlines(places, own["low"], own["high"], color=look.ink, linewidth=1.4)
    top = float(own["high"].max())
    axes.set(xlim=(0, 1.22 * top), ylim=(len(own) - 0.4, -0.6))
    axes.set_yticks(places, [_label(row) for _, row in own.iterrows()])
    for place, (_, row) in zip(places, own.iterrows(), strict=True):
        rate = row["images_per_second"]
        known = pd.notna(rate)
        words = f"{rate:.3g}" if known else "did not run"
        axes.text((row["high"] if known else 0) + 0.015 * top, place, words, va="center", size=8)
    _plain(axes)


def _memory(axes: Axes, own: pd.DataFrame, look: Theme) -> None:
    places = range(len(own))
    peak, weights = own["peak_mb"], own["weights_mb"]
    axes.set_ylim(len(own) - 0.4, -0.6)
    axes.set_yticks([])
    if not peak.notna().any():
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", alpha=0.7)
        axes.set_xticks([])
        return
    axes.barh(places, peak.fillna(0), color=look.faint, height=0.68)
    # the beginning of the bar is the weights' share
    axes.barh(places, weights.where(peak.notna(), 0), color=look.ink, alpha=0.55, height=0.68)
    top = float(peak.max())
    axes.set_xlim(0, 1.22 * top)
    for place, value in zip(places, peak, strict=True):
        words = f"{value:.0f}" if pd.notna(value) else "–"
        axes.text(
            (value if pd.notna(value) else 0) + 0.015 * top, place, words, va="center", size=8
        )
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)


def _colours(own: pd.DataFrame, look: Theme) -> list[str]:
    """Choose one colour for each number of images in a pass."""
    batches = sorted(own["batch"].unique())
    return [look.series[batches.index(batch) % len(look.series)] for batch in own["batch"]]


def _label(row: pd.Series) -> str:
    parts = [row["precision"], "channels last" if row["layout"] == "channels_last" else ""]
    parts += ["compiled" if row["compiled"] else ""]
    return ", ".join(part for part in parts if part) + f" · {row['batch']}"


def _words(here: pd.DataFrame) -> str:
    one = here.iloc[0]
    threads = f", {one['threads']:.0f} CPU thread(s)" if one["device"].startswith("cpu") else ""
    return (
        f"After the dot: images in a pass. On {one['device']}{threads}; medians of "
        f"{one['runs']:.0f} interleaved rounds, lines: quartiles. bfloat16: weights and inputs "
        "cast. The first part of a memory bar: the weights."
    )


def _published(table: pd.DataFrame) -> str:
    """Name what timm publishes of the models, with its hardware."""
    theirs = table[table["source"] == "timm"]
    if theirs.empty:
        return ""
    parts = []
    for model, rows in theirs.groupby("model", sort=False):
        figures = [
            f"{row['device']} {row['precision']} "
            f"{'channels last ' if row['layout'] == 'channels_last' else ''}"
            f"{'compiled ' if row['compiled'] else ''}· {row['batch']}: "
            f"{row['images_per_second']:.4g}"
            for _, row in rows.iterrows()
        ]
        parts.append(f"{style.shortened(str(model), 40)}: " + ", ".join(figures))
    return "Published by timm, on other hardware: " + "; ".join(parts) + "."
