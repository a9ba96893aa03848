"""What batch normalisation changes at each stage: twins against each other."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from vizkit.errors import InputError, chosen, instance
from vizkit.interrupts import surely
from vizkit.plots import series, style
from vizkit.plots.curves import DEFAULT
from vizkit.plots.style import Picture, Theme
from vizkit.results import StageStatistics
from vizkit.results.twins import twins

_KEYS = ["stride", "layer", "statistic"]
# labels of an axis of factors
_TICKS = 7
# axes reach at least so far: no factor, no percentage points
_LEAST = {"ratio": 1.5, "difference": 1.0}


def plot_twins(
    statistics: StageStatistics,
    names: str | Sequence[str] | None = None,
    *,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw batch-normalised models against their plain twins, one line per pair.

    Parameters
    ----------
    statistics : StageStatistics
        Of stages, of twins such as ``vgg11`` and ``vgg11_bn``.
    names : str or sequence of str, optional
        Which statistics, one panel each; by default mean, std, sparsity, dead and energy.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure: with over without batch normalisation on a logarithmic axis; with
        less without for shares, in percentage points, and for what may be negative.

    Raises
    ------
    InputError
        If no model has a twin, there are no stages, or a statistic or theme is unknown.
    """
    instance("statistics", statistics, StageStatistics)
    look = style.theme_of(theme)
    pairs = _twins(statistics.frame["model"].unique())
    frame = statistics.frame[statistics.frame["layer"].str.fullmatch(r"stride\d+")]
    if frame.empty:
        raise InputError("twins are drawn at stages: use statistics of at='stages'")
    wanted = _wanted(names, list(frame["statistic"].unique()))
    table = _table(frame[frame["statistic"].isin(wanted)], pairs, statistics.units)
    with style.drawing(look):
        columns = min(3, len(wanted))
        lines = math.ceil(len(wanted) / columns)
        figure = style.picture(look, figsize, (max(5.2, 3.7 * columns), 2.75 * lines + 0.9))
        grid = list(figure.subplots(lines, columns, squeeze=False).ravel())
        strides = [stride for stride, _ in series.places_of(table)]
        for axes, name in zip(grid, wanted, strict=False):
            own = table[table["statistic"] == name]
            _panel(axes, own, strides, list(pairs), look)
            title = statistics.units.get(name, name)
            axes.set_title(textwrap.fill(title, 42), fontsize=9.5)
        for axes in grid[len(wanted) :]:
            axes.set_axis_off()
        lines_of = [Line2D([], [], **series.line_of(model, list(pairs), look)) for model in pairs]
        labels = [model.replace("$", r"\$") for model in pairs]
        figure.legend(lines_of, labels, loc="outside upper left", ncols=min(4, len(labels)))
        style.footnote(figure, _note(statistics, table))
        figure.table = table
    return figure


def _twins(models: Iterable[str]) -> dict[str, str]:
    """Find the twin of each plain model."""
    known = list(models)
    found = twins(known)
    if not found:
        raise InputError(
            f"no batch-normalised twins among {', '.join(known)}: they are models such as vgg11 "
            "and vgg11_bn"
        )
    return found


def _wanted(names: str | Sequence[str] | None, known: Sequence[str]) -> list[str]:
    default = [name for name in DEFAULT if name in known] or list(known)
    return default if names is None else chosen("statistic", names, known)


def _table(frame: pd.DataFrame, pairs: dict[str, str], units: dict[str, str]) -> pd.DataFrame:
    """Put twins beside each other: a row per pair, stage and statistic."""
    parts = []
    for plain, twin in pairs.items():
        one, other = (frame[frame["model"] == model][[*_KEYS, "value"]] for model in (plain, twin))
        both = one.merge(other, on=_KEYS, suffixes=("_plain", "_bn"))
        both.insert(0, "model", plain)
        both.insert(1, "twin", twin)
        parts.append(both)
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        names = ", ".join(f"{plain} and {twin}" for plain, twin in pairs.items())
        raise InputError(f"no statistic at a stage in common: {names}")
    rows = table.groupby("statistic", sort=False)
    kinds = {name: _kind(own, units.get(str(name), "")) for name, own in rows}
    table["kind"] = table["statistic"].map(kinds)
    table["change"] = _changes(table)
    return table


def _kind(rows: pd.DataFrame, unit: str) -> str:
    """Decide how twins are compared: as ratio only where nothing can be negative."""
    values = rows[["value_plain", "value_bn"]].to_numpy()
    values = values[np.isfinite(values)]
    if "share" in unit and not ((values < 0) | (values > 1)).any():
        return "share"
    return "difference" if (values < 0).any() else "ratio"


def _changes(table: pd.DataFrame) -> np.ndarray:
    plain, twin = table["value_plain"].to_numpy(), table["value_bn"].to_numpy()
    with surely(np.errstate(divide="ignore", invalid="ignore")):
        ratios = twin / plain
    # nothing is no multiple: a gap
    ratios = np.where((plain > 0) & (twin > 0), ratios, np.nan)
    scale = np.where(table["kind"] == "share", 100.0, 1.0)
    found: np.ndarray = np.where(table["kind"] == "ratio", ratios, scale * (twin - plain))
    return np.where(np.isfinite(found), found, np.nan)


def _panel(
    axes: Axes, rows: pd.DataFrame, strides: Sequence[int], models: Sequence[str], look: Theme
) -> None:
    kind = str(rows["kind"].iloc[0]) if len(rows) else "ratio"
    for model, own in rows.groupby("model", sort=False):
        places = [strides.index(stride) for stride in own["stride"]]
        axes.plot(places, own["change"], **series.line_of(str(model), models, look))
    level = 1.0 if kind == "ratio" else 0.0
    axes.axhline(level, color=look.ink, linewidth=0.9, linestyle=":", zorder=1)
    axes.annotate(
        "no change", (0.99, level), (0, 4), xycoords=axes.get_yaxis_transform(),
        textcoords="offset points", ha="right", va="bottom", fontsize=7.5, zorder=4,
        bbox={"facecolor": look.paper, "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
    )  # fmt: skip
    values = rows["change"].dropna().to_numpy()
    if not len(values):
        axes.text(0.5, 0.25, "no value anywhere", transform=axes.transAxes, ha="center")
    if kind == "ratio":
        _factors(axes, values)
    else:
        _differences(axes, values, kind)
    axes.set_xticks(range(len(strides)), [str(stride) for stride in strides])
    axes.set_xlim(-0.3, len(strides) - 0.7)
    axes.set_xlabel("stride of the stage")
    axes.grid(visible=True, axis="y")


def _factors(axes: Axes, values: np.ndarray) -> None:
    """Set a logarithmic axis that names powers of two."""
    ends = np.log2([*values, _LEAST["ratio"], 1 / _LEAST["ratio"]])
    room = 0.06 * np.ptp(ends)
    low, high = float(ends.min() - room), float(ends.max() + room)
    step = max(1, math.ceil((high - low) / _TICKS))
    first = math.ceil(low / step)
    ticks = [2.0 ** (step * n) for n in range(first, math.floor(high / step) + 1)]
    if len(ticks) < 3:
        ticks = [tick for tick in (0.5, 0.7, 1.0, 1.4, 2.0) if low <= math.log2(tick) <= high]
    axes.set_yscale("log", base=2)
    axes.set_ylim(2.0**low, 2.0**high)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("with ÷ without")


def _differences(axes: Axes, values: np.ndarray, kind: str) -> None:
    """Set a linear axis with zero on it."""
    least = _LEAST["difference"] if kind == "share" else 0.0
    ends = np.array([*values, least, -least])
    room = 0.08 * np.ptp(ends) or 1.0
    axes.set_ylim(float(ends.min() - room), float(ends.max() + room))
    axes.set_ylabel("with − without" + ("\n(percentage points)" if kind == "share" else ""))


def _note(statistics: StageStatistics, table: pd.DataFrame) -> str:
    """Say what is drawn, over how many images, and what is missing."""
    photos = "1 image" if statistics.images == 1 else f"{statistics.images} images"
    gaps = table.loc[table["change"].isna(), "statistic"].unique()
    parts = [f"Each model with batch normalisation against its twin without, over {photos}."]
    if (table["kind"] == "ratio").any():
        parts.append("Ratios on a logarithmic axis.")
    if (table["kind"] == "share").any():
        parts.append("Shares in percentage points.")
    if len(gaps):
        parts.append(f"Gaps are stages where a twin has no value, or zero: {', '.join(gaps)}.")
    return " ".join(parts)
