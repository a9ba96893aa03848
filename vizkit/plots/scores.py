"""How faithful maps are: a matrix of methods and models, with numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import Normalize

from vizkit.plots import style
from vizkit.plots.style import Picture

_CELL = (0.92, 0.36)


def plot_faithfulness(
    scores: pd.DataFrame,
    *,
    labels: Mapping[str, str] | None = None,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw how far insertion lies above deletion, for each method and model.

    Parameters
    ----------
    scores : DataFrame
        model, method, stage, insertion, deletion (mean areas under the curves, in [0, 1]),
        difference and images.
    labels : mapping of str to str, optional
        What to call each method.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure: a row per method and stage, a column per model.

    Raises
    ------
    InputError
        If there are no scores.
    """
    style.table_of("scores", scores, "vizkit evaluate", ("model", "method", "stage", "difference"))
    look = style.theme_of(theme)
    keys = list(dict.fromkeys(zip(scores["method"], scores["stage"], strict=True)))
    models = list(dict.fromkeys(scores["model"]))
    table = scores.set_index(["method", "stage", "model"])["difference"]
    values = np.array([[table.get((*key, model), np.nan) for model in models] for key in keys])
    with style.drawing(look):
        size = (_CELL[0] * len(models) + 2.6, _CELL[1] * len(keys) + 1.45)
        figure = style.picture(look, figsize, size)
        axes = figure.subplots()
        top = float(np.nanmax(np.abs(values))) or 1.0
        norm = Normalize(-top, top)
        colours = colormaps[look.diverging].with_extremes(bad=look.empty)
        axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm, aspect="auto")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.xaxis.tick_top()
        names = [style.shortened(model.rpartition("/")[2], 15) for model in models]
        axes.set_xticks(range(len(models)), names)
        axes.set_yticks(range(len(keys)), [_name(*key, labels or {}) for key in keys])
        for (y, x), value in np.ndenumerate(values):
            words = "–" if np.isnan(value) else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
            red, green, blue, _ = colours(norm(value)) if not np.isnan(value) else (0.5,) * 4
            bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            colour = look.ink if np.isnan(value) else ("#000000" if bright else "#ffffff")
            axes.text(x, y, words, ha="center", va="center", fontsize=8, color=colour)
        style.footnote(
            figure,
            "Area under the insertion curve less that under the deletion curve, mean over "
            f"{int(scores['images'].max())} images: the higher, the better a map tells what the "
            "answer rests on. A bell over the centre and a map that is the same everywhere are "
            "what knows nothing.",
        )
        figure.table = scores
    return figure


def _name(method: str, stage: str, labels: Mapping[str, str]) -> str:
    name = labels.get(method, method)
    return name if stage == "input" else f"{name}, {stage.replace('stride', 'stride ')}"
