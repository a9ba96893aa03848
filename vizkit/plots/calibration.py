"""How far probabilities can be trusted: how sure models are against how often they are right."""

from __future__ import annotations

from math import ceil

import pandas as pd
from matplotlib.axes import Axes

from vizkit.errors import instance
from vizkit.plots import series, style
from vizkit.plots.disagreement import seen_words
from vizkit.plots.style import Picture, Theme
from vizkit.results.judged import ECE_BINS, Judged

# more panels do not fit beside each other
_COLUMNS = 5
# of more bins, the numbers would not fit
_NUMBERED = 12


def plot_calibration(
    disagreement: Judged,
    *,
    bins: int = 10,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw how sure each model is against how often it is right, side by side.

    Parameters
    ----------
    disagreement : Disagreement or Evaluation
        From `vizkit.disagreement` or `vizkit.evaluation.evaluated`, of images in class folders.
    bins : int
        Intervals of confidence, of equal width from 0 to 1.
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
        If the images' own classes are not known, or ``bins`` is no number of bins.
    """
    instance("disagreement", disagreement, Judged)
    look = style.theme_of(theme)
    table = disagreement.calibration(bins)
    scores = disagreement.scores().set_index("model")
    models = series.with_twins(disagreement.models)
    columns = min(_COLUMNS, len(models), ceil(len(models) / ceil(len(models) / _COLUMNS)))
    rows = ceil(len(models) / columns)
    note = _calibration_words(disagreement)
    width = max(5.0, 2.35 * columns + 0.5)
    size = (width, 2.7 * rows + 0.3 + style.note_height(note, width))
    with style.drawing(look):
        figure = style.picture(look, figsize, size)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes, model in zip(grid.ravel(), models, strict=False):
            own = table[table["model"] == model]
            _reliability(axes, own, series.colour_of(model, models, look), look)
            title = style.shortened(model, 26)
            axes.set_title(f"{title}\n", fontsize=9, fontweight="bold", loc="left")
            words = f"calibration error {float(scores['ece'][model]):.3f}"
            axes.text(0, 1.03, words, transform=axes.transAxes, fontsize=8)
        for axes in grid.ravel()[len(models) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("share that is right")
        for axes in grid.ravel()[max(0, len(models) - columns) : len(models)]:
            axes.set_xlabel("probability of the predicted class")
            axes.tick_params(labelbottom=True)
        style.footnote(figure, note)
        figure.table = table
    return figure


def _reliability(axes: Axes, rows: pd.DataFrame, colour: str, look: Theme) -> None:
    """Draw accuracy against confidence, over bars of how many images are in each bin."""
    counts = rows["n"].to_numpy()
    width = rows["high"] - rows["low"]
    axes.bar(rows["low"], counts / counts.sum(), width, align="edge", color=look.faint,
             alpha=0.6, edgecolor=look.paper, linewidth=0.5)  # fmt: skip
    axes.plot([0, 1], [0, 1], color=look.ink, linewidth=0.8, linestyle=":", alpha=0.8)
    kept = rows[rows["n"] > 0]
    axes.vlines(kept["confidence"], kept["accuracy_low"], kept["accuracy_high"], color=colour,
                linewidth=1.6, alpha=0.45)  # fmt: skip
    # no line: it would make much of bins with an image or two
    axes.scatter(kept["confidence"], kept["accuracy"], color=colour, linewidths=0, zorder=3,
                 s=8 + 110 * kept["n"] / counts.sum())  # fmt: skip
    if len(rows) <= _NUMBERED:
        for low, high, n in zip(rows["low"], rows["high"], counts, strict=True):
            if n:
                axes.text((low + high) / 2, 0.012, f"{n}", ha="center", va="bottom", fontsize=6.5)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_box_aspect(1)


def _calibration_words(found: Judged) -> str:
    words = [
        f"{found.images} images. Points: images in a bin of probability, the larger the more "
        "images, with 95 % intervals; "
        "below the dotted line a model is surer than it is right, above it less sure. Bars and "
        "numbers: images in each bin, bars as a share of all. Calibration error: mean distance "
        f"from the dotted line over {ECE_BINS} bins, by their images (Guo et al., 2017).",
        *seen_words(found),
    ]
    return " ".join(words).replace("$", r"\$")
