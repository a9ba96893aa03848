"""How activations are distributed: quantiles against depth, and a ridge for every tap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from vizkit.errors import InputError, choice, instance
from vizkit.plots import series, style
from vizkit.plots.bins import Axis, Bins
from vizkit.plots.style import Picture, Theme
from vizkit.results import StageStatistics
from vizkit.results.axis import Layer, in_order

QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
ROLES = {
    "conv": "convolution",
    "norm": "normalised",
    "act": "activation",
}
_MOST_COLUMNS = 4
# the share of a ridge's values that may lie beyond either end of its axis
_TAIL = 0.005
_HEIGHT = 0.88
# letters of a layer's name where it stands beside its row
_LONGEST = 34


def plot_distributions(
    statistics: StageStatistics,
    *,
    kind: str = "bands",
    role: str | None = None,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw how the activations of each tap are distributed.

    Twins with and without batch normalisation stand next to each other. All panels share one
    axis of activations: linear, or asinh (linear near zero, logarithmic beyond, on both sides)
    where taps differ more than 30-fold.

    Parameters
    ----------
    statistics : StageStatistics
        With ``distributions``, of stages or layers.
    kind : "bands" or "ridge"
        Quantiles (5, 25, 50, 75 and 95 %) against depth, a panel per model; or the density of
        each tap, from the first at the top to the last, a column per model, with the share of
        exact zeros apart.
    role : str, optional
        Which role to draw. By default all of stages; of layers what there is of ``"conv"``
        (before normalisation), ``"norm"`` and ``"act"``, side by side or one over the other.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure; its table has the quantiles and the share of exact zeros.

    Raises
    ------
    InputError
        If there are no distributions, or the kind, role or theme is unknown.
    """
    instance("statistics", statistics, StageStatistics)
    look = style.theme_of(theme)
    choice("kind", kind, KINDS)
    content = _Content.of(statistics.distributions, role)
    with style.drawing(look):
        figure = KINDS[kind](content, look, figsize)
        photos = "1 image" if statistics.images == 1 else f"{statistics.images} images"
        style.footnote(figure, f"Over {photos}. {_NOTES[kind]}{content.scale_note}")
        figure.table = content.table()
    return figure


@dataclass(frozen=True, eq=False)
class _Content:
    """The histograms to draw, and on which axis."""

    bins: dict[tuple[str, Layer, str], Bins]
    by_stage: bool
    axis: Axis

    @classmethod
    def of(cls, rows: pd.DataFrame, role: str | None) -> _Content:
        if rows.empty:
            raise InputError("no distributions to draw: describe quantiles, such as 'median'")
        by_stage = bool(rows["layer"].str.fullmatch(r"stride\d+").all())
        roles = list(rows["role"].unique())
        if role is not None:
            choice("role", role, roles)
        usual = [name for name in ROLES if name in roles]
        wanted = [role] if role else roles if by_stage or not usual else usual
        kept = rows[rows["role"].isin(wanted)]
        keys = ["model", "stride", "layer", "role"]
        groups: Any = kept.groupby(keys, sort=False)
        bins = {
            (model, (int(stride), layer), name): Bins.of(own)
            for (model, stride, layer, name), own in groups
        }
        return cls(bins, by_stage, Axis.for_all(list(bins.values()), _TAIL))

    @property
    def models(self) -> list[str]:
        return series.with_twins(model for model, _, _ in self.bins)

    @property
    def roles(self) -> list[str]:
        """Roles to tell apart, in the order of computation; of stages, none."""
        found = dict.fromkeys(role for _, _, role in self.bins)
        known = [role for role in ROLES if role in found]
        return ["*"] if self.by_stage else known or list(found)

    @property
    def scale_note(self) -> str:
        return "" if self.axis.width is None else " Axis: linear near zero, logarithmic beyond."

    def places(self, model: str) -> list[Layer]:
        """Rows of one model: those of all models where they have any in common."""
        own = {each: [p for m, p, _ in self.bins if m == each] for each in self.models}
        joint = set.intersection(*(set(places) for places in own.values()))
        return in_order(own.values() if joint else [own[model]])

    def of_role(self, model: str, role: str) -> list[tuple[Layer, Bins]]:
        """Histograms of one model, in order of depth."""
        found = {p: b for (m, p, r), b in self.bins.items() if m == model and role in (r, "*")}
        return [(place, found[place]) for place in self.places(model) if place in found]

    @property
    def most_places(self) -> int:
        return max(len(self.places(model)) for model in self.models)

    def labels(self, places: Sequence[Layer], most: int = 24) -> list[str]:
        return [str(s) if self.by_stage else style.shortened(name, most) for s, name in places]

    def table(self) -> pd.DataFrame:
        rows = [
            {
                "model": model, "stride": stride, "layer": layer, "role": role,
                **{name: bins.quantile(share) for name, share in QUANTILES.items()},
                "zeros": bins.zeros, "count": int(bins.count.sum()),
            }
            for (model, (stride, layer), role), bins in self.bins.items()
        ]  # fmt: skip
        return pd.DataFrame(rows)


def _bands(content: _Content, look: Theme, figsize: tuple[float, float] | None) -> Picture:
    panels = [(model, role) for model in content.models for role in content.roles]
    roles = len(content.roles)
    columns = roles if roles > 1 else min(_MOST_COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    width = max(3.3, 0.17 * content.most_places)
    size = (
        max(4.4, width * columns),
        (2.7 if content.by_stage else 3.5) * lines + 0.7,
    )
    figure = style.picture(look, figsize, size)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    axis = Axis.for_all(list(content.bins.values()), min(QUANTILES.values()))
    for axes, (model, role) in zip(grid.ravel(), panels, strict=False):
        words = "" if role == "*" else f"\n{ROLES.get(role, role)}"
        axes.set_title(f"{style.shortened(model, 30)}{words}")
        _quantiles(axes, content, model, role, look)
        axis.apply(axes, "y", 0.05)
    for axes in grid.ravel()[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("activation")
    handles = [
        Line2D([], [], color=look.ink, linewidth=1.5, label="median"),
        Patch(color=look.ink, alpha=0.5, linewidth=0, label="25 to 75 %"),
        Patch(color=look.ink, alpha=0.2, linewidth=0, label="5 to 95 %"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def _quantiles(axes: Axes, content: _Content, model: str, role: str, look: Theme) -> None:
    places = content.places(model)
    found = content.of_role(model, role)
    if not found:
        axes.text(
            0.5, 0.7, "has none", ha="center", transform=axes.transAxes, backgroundcolor=look.paper
        )
    x = [places.index(place) for place, _ in found]
    lowest, lower, middle, upper, highest = (
        [bins.quantile(share) for _, bins in found] for share in QUANTILES.values()
    )
    line = series.line_of(model, content.models, look)
    axes.axhline(0, color=look.ink, linewidth=0.6, alpha=0.5)
    axes.fill_between(x, lowest, highest, color=line["color"], alpha=0.2, linewidth=0)
    axes.fill_between(x, lower, upper, color=line["color"], alpha=0.4, linewidth=0)
    axes.plot(x, middle, **line)
    turn = 0 if content.by_stage else 90
    axes.set_xticks(range(len(places)), content.labels(places), rotation=turn, fontsize=7.5)
    axes.set_xlim(-0.4, len(places) - 0.6)
    axes.set_xlabel("stride of the stage" if content.by_stage else "")
    axes.grid(visible=True, axis="y")


def _ridges(content: _Content, look: Theme, figsize: tuple[float, float] | None) -> Picture:
    models = content.models
    columns = min(_MOST_COLUMNS, len(models))
    lines = math.ceil(len(models) / columns)
    every = [place for model in models for place in content.places(model)]
    names = max(len(label) for label in content.labels(every, _LONGEST))
    size = ((2.9 + 0.06 * names) * columns, (0.46 * content.most_places + 0.8) * lines + 0.8)
    figure = style.picture(look, figsize, (max(5.0, size[0]), size[1]))
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, model in zip(grid.ravel(), models, strict=False):
        axes.set_title(style.shortened(model, 30), pad=14)
        _column(axes, content, model, look)
    for axes in grid.ravel()[len(models) :]:
        axes.set_axis_off()
    if len(content.roles) > 1:
        handles = [
            Patch(color=look.series[n], alpha=0.8, label=ROLES.get(role, role))
            for n, role in enumerate(content.roles)
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    return figure


def _column(axes: Axes, content: _Content, model: str, look: Theme) -> None:
    places = content.places(model)
    for row, place in enumerate(places):
        _ridge(axes, content, (model, place), -row, look)
    right = axes.get_yaxis_transform()
    axes.text(1.02, 0.9, "exactly 0", transform=right, fontsize=7.5, va="bottom")
    axes.axvline(0, color=look.ink, linewidth=0.5, alpha=0.5, zorder=0)
    axes.set_yticks([-row for row in range(len(places))], content.labels(places, _LONGEST))
    axes.set_ylabel("stride of the stage" if content.by_stage else "")
    axes.set_ylim(-len(places) + 0.9, 1.0)
    axes.set_xlabel("activation")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    content.axis.apply(axes, "x")


def _ridge(axes: Axes, content: _Content, tap: tuple[str, Layer], base: float, look: Theme) -> None:
    """Draw one tap's density or, of several roles, one over the other on one scale."""
    edges = content.axis.edges()
    overlaid = len(content.roles) > 1
    found = [
        (look.series[n] if overlaid else series.colour_of(tap[0], content.models, look), bins)
        for n, role in enumerate(content.roles)
        for place, bins in content.of_role(tap[0], role)
        if place == tap[1]
    ]
    shares = [(colour, bins.others.shares(edges) * (1 - bins.zeros)) for colour, bins in found]
    top = max((each.max() for _, each in shares), default=0.0) or 1.0
    for colour, each in shares:
        heights = base + _HEIGHT * each / top
        options: dict[str, Any] = {"baseline": base, "color": colour}
        opacity = 0.25 if overlaid else 0.55
        axes.stairs(heights, edges, fill=True, alpha=opacity, linewidth=0, **options)
        axes.stairs(heights, edges, linewidth=0.9, **options)
    _zeros(axes, base, max((bins.zeros for _, bins in found), default=0.0), look)


def _zeros(axes: Axes, base: float, share: float, look: Theme) -> None:
    """Draw the share of exact zeros, which would flatten the rest: a bar at zero, a number."""
    if not share:
        return
    axes.vlines(0, base, base + _HEIGHT * share, color=look.ink, linewidth=2)
    words = f"{100 * share:.0f} %" if share >= 0.005 else "< 1 %"
    axes.text(1.02, base + 0.1, words, transform=axes.get_yaxis_transform(), fontsize=8)


KINDS = {"bands": _bands, "ridge": _ridges}
_NOTES = {
    "bands": f"Exact zeros count. {series.TWINS}",
    "ridge": "Density of the values that are not exactly zero, each row scaled to its own height "
    f"(up to {200 * _TAIL:g} % lie beyond the axis). Bar at zero: the share of those that are, "
    "full height for 100 %.",
}
