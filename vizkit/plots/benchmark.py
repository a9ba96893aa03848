"""What tasks cost beside the plain passes: a block per task, a row per tool, a column per model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vizkit.errors import InputError
from vizkit.plots import style
from vizkit.plots.style import Picture, Theme

_OWN = "vizkit"
_COLUMNS = ("suite", "model", "task", "tool", "ratio", "low", "high", "floor", "goal", "reached")
_ROW, _EDGES = 0.235, 1.15
_LABELS, _COLUMN = 2.3, 2.6
# a factor beyond the ends of the scale: room for numbers beside the marks
_BELOW, _ABOVE = 1.25, 2.6


def plot_benchmark(
    table: pd.DataFrame, *, theme: str = "light", figsize: tuple[float, float] | None = None
) -> Picture:
    """Draw how many times its floor each tool takes for each task of a suite.

    Parameters
    ----------
    table : DataFrame
        ``table`` of a `vizkit.benchmarks.Record`, of one suite.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure; the scale is logarithmic, lines are quartiles, and a cross marks a
        result that is wrong.

    Raises
    ------
    InputError
        If the table is of several suites, or nothing was timed.
    """
    style.table_of("table", table, "vizkit.benchmarks.benchmark", _COLUMNS)
    look = style.theme_of(theme)
    suites = list(dict.fromkeys(table["suite"]))
    if len(suites) > 1:
        raise InputError(f"one suite fits in a figure, not {', '.join(suites)}")
    shown = table[table["task"] != table["floor"]]
    if not shown["ratio"].notna().any():
        raise InputError("no benchmark to draw: nothing was timed")
    lines = _lines(shown)
    models = list(dict.fromkeys(shown["model"]))
    text = _words(shown, suites[0])
    with style.drawing(look):
        width = _LABELS + _COLUMN * max(len(models), 1.6)
        height = _EDGES + _ROW * len(lines) + style.note_height(text, width)
        figure = style.picture(look, figsize, (width, height))
        axes = figure.subplots(1, len(models), squeeze=False, sharex=True, sharey=True)[0]
        limits = _limits(shown)
        for each, model in zip(axes, models, strict=True):
            _column(each, shown[shown["model"] == model], lines, look)
            each.set_title(style.shortened(model, 30), loc="left", fontweight="bold")
            each.set(xscale="log", xlim=limits, ylim=(len(lines) - 0.4, -0.7))
            _scale(each, limits)
        _name_lines(axes[0], lines, look)
        figure.legend(
            handles=_legend(look, shown), loc="outside upper left", ncols=4, borderaxespad=0.2
        )
        style.footnote(figure, text)
        figure.table = table
    return figure


def _lines(shown: pd.DataFrame) -> list[tuple[str, str]]:
    """List what stands below each other: a task's name with no tool, then its tools."""
    found: list[tuple[str, str]] = []
    for task, rows in shown.groupby("task", sort=False):
        found.append((str(task), ""))
        found += [(str(task), tool) for tool in dict.fromkeys(rows["tool"])]
    return found


def _limits(shown: pd.DataFrame) -> tuple[float, float]:
    values = shown[["low", "ratio", "high"]].to_numpy(dtype=float)
    low, high = np.nanmin(values), np.nanmax(values)
    return min(float(low), 1.0) / _BELOW, max(float(high), 1.0) * _ABOVE


def _column(axes: Axes, own: pd.DataFrame, lines: Sequence[tuple[str, str]], look: Theme) -> None:
    axes.axvline(1, color=look.ink, linewidth=1, alpha=0.7, zorder=1)
    rows = {(row["task"], row["tool"]): row for _, row in own.iterrows()}
    for place, line in enumerate(lines):
        if line in rows:
            _mark(axes, place, rows[line], look)
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _mark(axes: Axes, place: int, row: pd.Series, look: Theme) -> None:
    ratio = row["ratio"]
    if pd.isna(ratio):
        axes.text(1.05, place, "failed", va="center", size=8, alpha=0.7)
        return
    wrong = pd.notna(row["correct"]) and not row["correct"]
    colour = look.series[0] if row["tool"].startswith(_OWN) else look.ink
    axes.hlines(place, row["low"], row["high"], color=colour, linewidth=1.6, zorder=2)
    shape = "X" if wrong else ("o" if row["tool"].startswith(_OWN) else "s")
    axes.plot(
        ratio, place, shape, color=look.series[1] if wrong else colour, zorder=3,
        markersize=8 if wrong else 5.5, markeredgewidth=0,
    )  # fmt: skip
    goal = _goal_place(row)
    if pd.notna(goal):
        axes.plot(goal, place, "|", color=look.series[2], markersize=11, markeredgewidth=2)
    # three digits, also where they are zeros
    words = (f"{ratio:#.3g}" if ratio < 100 else f"{ratio:.0f}") + (" wrong" if wrong else "")
    end = max(row["high"], goal) if pd.notna(goal) else row["high"]
    axes.annotate(
        words, (end, place), xytext=(7, 0), textcoords="offset points", va="center", size=8,
        bbox=_patch(look),
    )  # fmt: skip


def _patch(look: Theme) -> dict[str, Any]:
    """Keep lines out of a text."""
    return {"facecolor": look.paper, "edgecolor": "none", "pad": 0.8}


def _goal_place(row: pd.Series) -> float:
    """Ratio at which a row's goal would just be met; NaN without one."""
    if pd.isna(row["goal"]) or pd.isna(row["reached"]):
        return float("nan")
    words, reached = str(row["goal"]), float(row["reached"])
    limit = float(words.split()[1].rstrip("x"))
    if " ms " in words:
        floor = float(row["milliseconds"]) - reached
        return (floor + limit) / floor
    return limit if words.startswith("≤") else float(row["ratio"]) * reached / limit


def _name_lines(axes: Axes, lines: Sequence[tuple[str, str]], look: Theme) -> None:
    axes.set_yticks(range(len(lines)), [tool for _, tool in lines])
    for label, (_, tool) in zip(axes.get_yticklabels(), lines, strict=True):
        label.set_fontweight("bold" if tool == _OWN else "normal")
    for place, (task, tool) in enumerate(lines):
        if not tool:
            axes.annotate(
                task, (0, place), xycoords=("axes fraction", "data"), xytext=(4, -1),
                textcoords="offset points", va="center", size=8.5, style="italic",
                annotation_clip=False, bbox=_patch(look),
            )  # fmt: skip


def _scale(axes: Axes, limits: tuple[float, float]) -> None:
    steps = [s * 10.0**n for n in range(-3, 5) for s in (1, 2, 5)]
    wide = limits[1] / limits[0] > 60
    marks = [s for s in steps if limits[0] <= s <= limits[1] and (not wide or _is_ten(s))]
    axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
    axes.set_xticks([], minor=True)


def _is_ten(value: float) -> bool:
    return f"{value:e}".startswith("1.0")


def _legend(look: Theme, shown: pd.DataFrame) -> list[Line2D]:
    def mark(shape: str, colour: str, label: str, size: float, edge: float = 0) -> Line2D:
        return Line2D(
            [], [], linestyle="", marker=shape, color=colour, label=label, markersize=size,
            markeredgewidth=edge,
        )  # fmt: skip

    found = [mark("o", look.series[0], _OWN, 5.5), mark("s", look.ink, "others", 5.5)]
    if (shown["correct"] == False).any():  # noqa: E712  (missing values are neither)
        found.append(mark("X", look.series[1], "wrong result", 8))
    if shown["goal"].notna().any():
        found.append(mark("|", look.series[2], "goal", 11, 2))
    return found


def _words(shown: pd.DataFrame, suite: str) -> str:
    floors = " or ".join(dict.fromkeys(shown["floor"]))
    device = " or ".join(dict.fromkeys(shown["device"]))
    counts = shown.loc[shown["ratio"].notna(), "runs"]
    least, most = int(counts.min()), int(counts.max())
    runs = f"{least}" if least == most else f"{least} to {most}"
    return (
        f"{suite}: times {floors} (the line at 1), medians of {runs} interleaved rounds on "
        f"{device}; lines: quartiles. The scale is logarithmic: left is faster."
    )
