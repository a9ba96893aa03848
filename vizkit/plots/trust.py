"""How far maps can be trusted: curves, agreement, and what random weights leave of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.integrate import trapezoid

from vizkit.errors import InputError, choice, instance, numbered
from vizkit.plots import style
from vizkit.plots.overlays import HEAT
from vizkit.plots.style import Picture, Theme
from vizkit.results import Attributions

CURVES = {
    "deletion": "deletion (low is good)",
    "insertion": "insertion (high is good)",
}
MEASURES = {
    "spearman": "rank correlation",
    "ssim": "structural similarity",
    "iou": "overlap of the top places",
}
_LABELLED = 24
_LINES = ("-", "--", ":", "-.")


def plot_curves(
    curves: pd.DataFrame,
    *,
    labels: Mapping[str, str] | None = None,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw deletion and insertion curves, a line per method and stage, averaged over images.

    Parameters
    ----------
    curves : DataFrame
        From `vizkit.perturbation_curves`; of several models put one behind the other, each
        becomes a row.
    labels : mapping of str to str, optional
        What to call each method.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure; the legend gives the area under each pair of curves.

    Raises
    ------
    InputError
        If there are no curves.
    """
    style.table_of(
        "curves",
        curves,
        "vizkit.perturbation_curves",
        ("model", "method", "stage", "curve", "fraction", "probability"),
    )
    look = style.theme_of(theme)
    models = list(dict.fromkeys(curves["model"]))
    keys = ["model", "method", "stage", "curve", "fraction"]
    means = curves.groupby(keys, sort=False)["probability"].mean().reset_index()
    lines = list(dict.fromkeys(zip(means["method"], means["stage"], strict=True)))
    with style.drawing(look):
        figure = style.picture(look, figsize, (9.6, 3.3 * len(models) + 0.3))
        grid = figure.subplots(len(models), 2, squeeze=False, sharex=True, sharey=True)
        for model, row in zip(models, grid, strict=True):
            own = means[means["model"] == model]
            for (curve, title), axes in zip(CURVES.items(), row, strict=True):
                _lines(axes, own, curve, lines, look, labels or {})
                axes.set_title(title)
            row[0].set_ylabel(f"{style.shortened(model, 30)}\nprobability of the class")
            row[1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        for axes, words in zip(grid[-1], ("taken away", "put back"), strict=True):
            axes.set_xlabel(f"share of the places {words}, most important first")
        count = curves.groupby(keys).size().max()
        style.footnote(
            figure,
            f"Means over {count} map(s). In the legend: area under the deletion / the insertion "
            "curve.",
        )
        figure.table = means
    return figure


def _lines(
    axes: Axes,
    rows: pd.DataFrame,
    curve: str,
    lines: Sequence[tuple[str, str]],
    look: Theme,
    labels: Mapping[str, str],
) -> None:
    for n, (method, stage) in enumerate(lines):
        both = rows[(rows["method"] == method) & (rows["stage"] == stage)]
        if both.empty:
            continue
        areas = [
            f"{trapezoid(own['probability'], own['fraction']):.2f}"
            for own in (both[both["curve"] == name] for name in CURVES)
        ]
        own = both[both["curve"] == curve]
        reference = method.startswith("(")
        colour = look.ink if reference else look.series[n % len(look.series)]
        dashes = "--" if method == "(centre)" else ":" if reference else None
        name = labels.get(method, method) + ("" if stage == "input" else f", {stage}")
        axes.plot(
            own["fraction"],
            own["probability"],
            color=colour,
            linestyle=dashes or _LINES[n // len(look.series) % len(_LINES)],
            linewidth=1.2 if reference else 1.8,
            label=f"{' / '.join(areas)}  {name}",
        )
    axes.grid(visible=True)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))


def plot_agreement(
    agreement: pd.DataFrame,
    measure: str = "spearman",
    *,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw how far every pair of maps agrees, as a matrix.

    Parameters
    ----------
    agreement : DataFrame
        From `vizkit.agreement`.
    measure : "spearman", "ssim" or "iou"
        Which of its columns.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure; crosses mark pairs without a number.

    Raises
    ------
    InputError
        If the measure is unknown or there are no pairs.
    """
    style.table_of("pairs", agreement, "vizkit.agreement", ("model_a", "model_b", "spearman"))
    choice("measure", measure, MEASURES)
    look = style.theme_of(theme)
    sides = [
        list(agreement[[f"{name}_{side}" for name in ("model", "method", "stage")]].itertuples(
            index=False, name=None
        ))
        for side in "ab"
    ]  # fmt: skip
    keys = list(dict.fromkeys([*sides[0], *sides[1]]))
    place = {key: n for n, key in enumerate(keys)}
    matrix = np.eye(len(keys))
    for a, b, value in zip(*sides, agreement[measure], strict=True):
        matrix[place[a], place[b]] = matrix[place[b], place[a]] = value
    names = _short_names(keys)
    with style.drawing(look):
        # inches: the matrix, and the names beside and below it
        side = max(1.9, 0.3 * len(keys)) + 0.075 * max(map(len, names))
        figure = style.picture(look, figsize, (side + 0.9, side + 0.4))
        axes = figure.subplots()
        drawn = axes.imshow(np.ma.masked_invalid(matrix), cmap=look.diverging, vmin=-1, vmax=1)
        ys, xs = np.nonzero(np.isnan(matrix))
        axes.scatter(xs, ys, marker="x", color=look.ink, s=14, linewidths=0.8)
        axes.set_xticks(range(len(keys)), names, rotation=90)
        axes.set_yticks(range(len(keys)), names)
        if len(keys) <= _LABELLED:
            _numbers(axes, matrix, look)
        axes.set_title(f"Agreement: {MEASURES[measure]}", fontsize=10.5, loc="left")
        figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.02)
        figure.table = agreement
    return figure


def _short_names(keys: Sequence[tuple[str, str, str]]) -> list[str]:
    """Name maps by what differs among them."""
    several = [len({key[part] for key in keys}) > 1 for part in range(3)]
    names = []
    for key in keys:
        parts = [value for value, yes in zip(key, several, strict=True) if yes and value != "input"]
        names.append(style.shortened(" ".join(parts) or key[1], 44))
    return names


def _numbers(axes: Axes, matrix: np.ndarray, look: Theme) -> None:
    # the ends of the light theme's colours are dark, its middle bright; the dark theme's not
    strong, weak = ("#ffffff", "#000000") if look.name == "light" else ("#000000", "#ffffff")
    for (y, x), value in np.ndenumerate(matrix):
        if not np.isnan(value):
            words = f"{value:.1f}".replace("-0.0", "0.0").replace("-", "\N{MINUS SIGN}")
            colour = strong if abs(value) > 0.6 else weak
            axes.text(x, y, words, ha="center", va="center", fontsize=6.5, color=colour)


def plot_randomisation(
    steps: Mapping[str, Attributions],
    frame: pd.DataFrame,
    *,
    image: int = 0,
    target: int = 0,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw what becomes of maps while a network's weights are made random from the head down.

    Parameters
    ----------
    steps : mapping of str to Attributions
        `Randomisation.steps`.
    frame : DataFrame
        `Randomisation.frame`.
    image, target : int
        Which image and class to show.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A row of maps per method and stage, a column per step; under each map its rank
        correlation with the first.

    Raises
    ------
    InputError
        If there is no such image or class.
    """
    _check_steps(steps)
    style.table_of("frame", frame, "vizkit.randomisation", ("method", "stage", "step", "spearman"))
    look = style.theme_of(theme)
    trained = next(iter(steps.values())).select(image, target=target)
    rows = [(method, stage) for method, maps in trained.values.items() for stage in maps]
    count, width = next(iter(steps.values())).targets.shape
    image, target = numbered("image", image, count), numbered("target", target, width)
    # rows of a method, stage and step stand in the order of images and classes
    position = image * width + target
    with style.drawing(look):
        size = (1.45 * (len(steps) + 1) + 0.4, 1.75 * len(rows) + 0.8)
        figure = style.picture(look, figsize, size)
        grid = figure.subplots(len(rows), len(steps) + 1, squeeze=False)
        for (method, stage), axes in zip(rows, grid, strict=True):
            style.bare(axes[0]).imshow(trained.seen.pixels[0])
            name = trained.labels.get(method, method) + (f"\n{stage}" if stage != "input" else "")
            axes[0].set_ylabel(name, fontsize=8.5, fontweight="bold")
            for n, (step, cell) in enumerate(zip(steps, axes[1:], strict=True)):
                values = steps[step].values[method][stage][image, target].cpu().numpy()
                signed = values.min() < 0
                norm = style.norm_of([values])
                cmap = look.diverging if signed else HEAT
                style.bare(cell).imshow(values, cmap=cmap, norm=norm, interpolation="nearest")
                at = frame["method"].eq(method) & frame["stage"].eq(stage) & frame["step"].eq(n)
                likeness = frame.loc[at, "spearman"].iloc[position]
                same = "the same everywhere" if np.isnan(likeness) else f"{likeness:.2f}"
                cell.set_xlabel(same.replace("-", "\N{MINUS SIGN}"), fontsize=8.5)
        grid[0, 0].set_title(style.shortened(trained.target_name(0, 0), 18), fontsize=8.5)
        for n, (step, cell) in enumerate(zip(steps, grid[0, 1:], strict=True)):
            cell.set_title(f"from head\nto {step}" if n > 1 else step, fontsize=8.5)
        style.footnote(
            figure,
            f"{trained.model}: weights made random from the head down to the stage named. Below "
            "each map: rank correlation with the trained network's. A map that stays the same "
            "does not explain the network. Each map has its own scale.",
        )
        figure.table = frame
    return figure


def _check_steps(steps: object) -> None:
    if not isinstance(steps, Mapping) or not steps:
        raise InputError("steps must be those of vizkit.randomisation")
    for each in steps.values():
        instance("each of steps", each, Attributions)
