"""The images on which networks part, each with what every network says and looks at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vizkit.errors import InputError, instance, results_of, unknown
from vizkit.plots import style
from vizkit.plots.disagreement import seen_words
from vizkit.plots.overlays import HEAT, Look, draw_map
from vizkit.plots.style import Picture, Theme
from vizkit.results import Attributions
from vizkit.results.disagreement import Disagreement

_SIGNS = {True: "✓ ", False: "✗ ", None: ""}
# inches
_CELL = 1.3


def plot_gallery(
    disagreement: Disagreement,
    attributions: Sequence[Attributions],
    *,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw disputed images: a row each, the photo and what every network says and looks at.

    Parameters
    ----------
    disagreement : Disagreement
        From `vizkit.disagreement`.
    attributions : list of Attributions
        One per network, of some of its images in the order in which they shall stand, by one
        method.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure; maps are those of the last stage that all models have.

    Raises
    ------
    InputError
        If an image or network was not compared, or there are none.
    """
    instance("disagreement", disagreement, Disagreement)
    attributions = results_of("attributions", attributions, Attributions)
    look = style.theme_of(theme)
    images = attributions[0].seen.names
    rows = _rows(disagreement, attributions)
    keys = [_key_of(each, disagreement.stage) for each in attributions]
    note = _words(disagreement, attributions[0], keys[0])
    columns = 1 + len(attributions)
    width = max(6.0, _CELL * columns + 0.4)
    cell = (width - 0.4) / columns - 0.1
    height = (cell + 0.5) * len(images) + 0.35 + style.note_height(note, width)
    with style.drawing(look):
        figure = style.picture(look, figsize, (width, height))
        grid = figure.subplots(len(images), columns, squeeze=False)
        for n, row in enumerate(grid):
            _photo(row[0], attributions[0], n, disagreement)
            for axes, source, key in zip(row[1:], attributions, keys, strict=True):
                above = f"{style.shortened(source.model, 18)}\n\n" if n == 0 else ""
                _map(axes, source, key, n, look)
                said = rows[rows["model"] == source.model].iloc[n]
                _heading(axes, said, above, look)
        style.footnote(figure, note)
        figure.table = rows
    return figure


def _rows(found: Disagreement, attributions: Sequence[Attributions]) -> pd.DataFrame:
    """Predictions of the drawn networks for the drawn images."""
    names = attributions[0].seen.names
    for each in attributions:
        if each.model not in found.models:
            raise unknown("model", each.model, found.models)
        if each.seen.names != names:
            raise InputError("the attributions are of different images")
    known = set(found.ranking["image"])
    for name in names:
        if name not in known:
            raise unknown("image", name, found.ranking["image"], 8)
    table = found.predictions.set_index(["image", "model"])
    chosen = [(name, each.model) for name in names for each in attributions]
    return table.loc[chosen].reset_index()


def _key_of(source: Attributions, stage: str | None) -> str:
    """Find the map of a stage, by its name or its stride; without a stage, the last."""
    maps = next(iter(source.values.values()))
    if stage is None or stage in maps:
        return stage or list(maps)[-1]
    if "input" in maps:
        return "input"
    found = [
        key
        for key in maps
        if any(key in (t.name, t.label) and f"stride{t.stride}" == stage for t in source.taps)
    ]
    if not found:
        raise unknown(f"stage of {source.model}", stage, maps)
    return found[-1]


def _photo(axes: Axes, source: Attributions, n: int, found: Disagreement) -> None:
    """Draw what the first network saw, with the image's class and how disputed it is."""
    name = source.seen.names[n]
    own = found.ranking[found.ranking["image"] == name].iloc[0]
    style.bare(axes).imshow(source.seen.pixels[n])
    words = f"divergence {own['divergence']:.2f}"
    if not np.isnan(own["maps"]):
        words += f"\nmaps {own['maps']:.2f}"
    file = name.rpartition("/")[2]
    # what is explained is the photo's class only where that is known
    known = found.labelled
    lead, below = (own["label"], file) if known else (file, f"maps: {own['explained']}")
    axes.set_title(f"{style.shortened(lead, 18)}\n", fontsize=8, fontweight="bold")
    axes.text(0.5, 1.03, style.shortened(below, 22), transform=axes.transAxes, ha="center",
              va="bottom", fontsize=6.5)  # fmt: skip
    axes.set_ylabel(words, fontsize=7.5)


def _heading(axes: Axes, said: pd.Series, above: str, look: Theme) -> None:
    """Write what a network says over its map, marked right or wrong."""
    right = None if said["right"] is None else bool(said["right"])
    colour = look.ink if right is None else look.series[2 if right else 1]
    share = f"{said['probability']:.0%}".replace("%", "\N{NARROW NO-BREAK SPACE}%")
    words = f"{_SIGNS[right]}{style.shortened(said['class'], 17)}\n{share}"
    axes.set_title(words, fontsize=7.5, color=colour)
    if above:
        axes.annotate(
            above.strip(), (0.5, 1), (0, 27), xycoords="axes fraction", textcoords="offset points",
            ha="center", va="bottom", fontsize=8.5, fontweight="bold",
        )  # fmt: skip


def _map(axes: Axes, source: Attributions, key: str, n: int, look: Theme) -> None:
    """Draw a map over the photo, by its own scale."""
    values = next(iter(source.values.values()))[key][n, 0].float().cpu().numpy()
    norm = style.norm_of([values])
    draw_map(axes, source.seen.pixels[n], values, norm, Look(look))


def _words(found: Disagreement, source: Attributions, key: str) -> str:
    method = next(iter(source.values))
    label = source.labels.get(method, method)
    stage = found.stage or "each model's last stage"
    place = "" if key == "input" else f" at {stage}".replace("stride", "stride ")
    which = (
        "the photo's own class" if found.labelled else "the class most probable on average"
    ) + ", printed above the photo"
    signed = bool((source.values[method][key] < 0).any())
    colours = "diverging about zero" if signed else HEAT
    words = [
        f"{label}{place}, of {which}. Colours ({colours}): each map from zero to its own 99.5th "
        "percentile; compare places, not heights.",
        "Above each map: what the model predicts"
        + (", ✓ right or ✗ wrong." if found.labelled else "."),
        f"{len(source.seen)} of {found.images} images; divergence of predictions, 0 to 1"
        + (f"; maps: 1 less the mean rank correlation of {found.method}." if found.stage else "."),
        *seen_words(found),
    ]
    return " ".join(words).replace("$", r"\$")
