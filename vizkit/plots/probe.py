"""How well linear classifiers read the class, against depth."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from vizkit.errors import choice, instance
from vizkit.plots import series, style
from vizkit.plots.style import Picture, Theme
from vizkit.results import LinearProbe


def plot_probe(
    probe: LinearProbe,
    *,
    role: str | None = None,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw the accuracy of linear classifiers against depth, one line per model.

    Parameters
    ----------
    probe : LinearProbe
        Of stages (x is the stride) or layers (x is the layer).
    role : str, optional
        Which role to draw; by default all of stages, ``"act"`` of layers.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure; bands are 95 % intervals.

    Raises
    ------
    InputError
        If the role or theme is unknown.
    """
    instance("probe", probe, LinearProbe)
    look = style.theme_of(theme)
    rows = probe.frame[probe.frame["stride"] > 0]
    by_stage = bool(rows["layer"].str.fullmatch(r"stride\d+").all())
    roles = list(rows["role"].unique())
    wanted = "act" if not by_stage and "act" in roles else None
    if role is not None:
        wanted = choice("role", role, roles)
    rows = rows if wanted is None else rows[rows["role"] == wanted]
    order = series.places_of(rows)
    width = 6.6 if by_stage else max(6.6, 0.3 * len(order) + 3)
    with style.drawing(look):
        figure = style.picture(look, figsize, (width, 4.2 if by_stage else 5.0))
        axes = figure.subplots()
        _lines(axes, rows, [layer for _, layer in order], look)
        _references(axes, probe.frame)
        labels = [str(stride) if by_stage else style.shortened(name, 24) for stride, name in order]
        axes.set_xticks(range(len(order)), labels, rotation=0 if by_stage else 90, fontsize=8)
        axes.set_xlabel("stride of the stage" if by_stage else "")
        axes.set(ylabel="accuracy of a linear classifier", ylim=(0, 1.02))
        axes.grid(visible=True, axis="y")
        count = len(axes.get_legend_handles_labels()[0])
        columns = min(3, count)
        figure.legend(loc="outside upper left", ncols=columns)
        style.footnote(
            figure,
            f"Maps averaged over places; {probe.split}. Bands: 95 % Wilson intervals, each model "
            f"by itself. {series.TWINS}",
        )
        figure.table = probe.frame
    return figure


def _lines(axes: Axes, rows: pd.DataFrame, layers: list[str], look: Theme) -> None:
    models = list(rows["model"].unique())
    # the more bands lie over each other, the fainter each
    opacity = 0.45 / max(3, len(models))
    for model in series.with_twins(models):
        own = rows[rows["model"] == model]
        own = own.assign(place=own["layer"].map(layers.index)).sort_values("place")
        line = series.line_of(model, models, look)
        axes.fill_between(
            own["place"], own["low"], own["high"], color=line["color"], alpha=opacity, linewidth=0
        )
        axes.plot(own["place"], own["accuracy"], label=model.replace("$", r"\$"), **line)


def _references(axes: Axes, frame: pd.DataFrame) -> None:
    """Draw what can be had without a network."""
    pixels = frame[frame["stride"] == 0]
    lines = [(float(frame["chance"].max()), ":", "chance: the most frequent class")]
    if len(pixels):
        lines.append((float(pixels["accuracy"].iloc[0]), "-.", "no network: 8 x 8 pixels"))
    for value, dashes, label in lines:
        axes.axhline(value, linestyle=dashes, linewidth=1.1, color="0.5", label=label)
