"""Attribution maps over the pixels that each network saw, joined on stride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import SubFigure
from matplotlib.patheffects import withStroke

from vizkit.errors import InputError, unknown
from vizkit.plots import style
from vizkit.plots.style import Picture, Theme
from vizkit.results import Attributions

HEAT = "inferno"
INPUT = "input"
BACKGROUNDS = ("input", "photo")
STYLES = ("overlay", "contours", "map")
LEVELS = (0.25, 0.5, 0.75)
# more input-level methods than this stand in rows of their own
_BESIDE = 3
_PACKED = 6
_FINE = 96

_Extent = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Cell:
    """One map, and where it stands."""

    method: str
    key: tuple[int, int] | str
    title: str
    values: np.ndarray


@dataclass(frozen=True)
class _Row:
    """One row of cells: a network and a class, for one image."""

    source: Attributions
    image: int
    target: int
    label: str
    cells: dict[int, _Cell]

    def background(self, on: str) -> tuple[np.ndarray, _Extent]:
        """Pixels to draw over, and where in them the network looked (left, right, bottom, top)."""
        seen = self.source.seen
        photo = seen.originals[self.image]
        if on == "photo" and photo is not None:
            x0, y0, x1, y1 = seen.boxes[self.image]
            return photo, (x0 - 0.5, x1 - 0.5, y1 - 0.5, y0 - 0.5)
        height, width = seen.pixels.shape[1:3]
        return seen.pixels[self.image], (-0.5, width - 0.5, height - 0.5, -0.5)

    @property
    def heading(self) -> str:
        """Class and probability, for the input cell."""
        name, _, other = self.source.target_name(self.image, self.target).partition(
            " \N{MINUS SIGN} "
        )
        share = self.source.probabilities[self.image, self.target].item()
        own = f"{style.shortened(name, 24)}  {share:.0%}".replace("%", "\N{NARROW NO-BREAK SPACE}%")
        return own + (f"\n\N{MINUS SIGN} {style.shortened(other, 24)}" if other else "")


@dataclass(frozen=True)
class _Look:
    """How maps are drawn."""

    theme: Theme
    draw: str
    overlay: float
    on: str
    scale: str


def plot_attributions(
    attributions: Attributions | Sequence[Attributions],
    *,
    scale: str = "panel",
    overlay: float = 0.8,
    on: str = "input",
    draw: str = "overlay",
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw attributions as a grid: a row per model, method and class, a column per stride.

    Input-level methods stand beside the first of these rows, or, where they are many, in rows
    of their own.

    Parameters
    ----------
    attributions : Attributions or list of Attributions
        Of one or more networks for the same images; every image becomes a block.
    scale : "panel", "stage", "model" or "all"
        What shares one colour scale, always of one method only, for methods have different
        units: each map alone, a column, a network, or the figure.
    overlay : float
        Opacity of the largest values over the photo, in [0, 1]; 1 hides the photo there.
    on : "input" or "photo"
        Draw over the pixels that the network saw, or over the whole original photo at the place
        that the network saw of it.
    draw : "overlay", "contours" or "map"
        Colours over the grey photo; lines at a quarter, half and three quarters of the scale over
        the photo; or the raw cells alone.
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
        If an option is unknown or out of range, or the networks saw other images.
    """
    style.check_scale(scale)
    if not 0 <= overlay <= 1:
        raise InputError(f"overlay must be between 0 and 1, not {overlay}")
    for kind, value, choices in (("background", on, BACKGROUNDS), ("drawing", draw, STYLES)):
        if value not in choices:
            raise unknown(kind, value, choices)
    look = _Look(style.theme_of(theme), draw, overlay, on, scale)
    sources = [attributions] if isinstance(attributions, Attributions) else list(attributions)
    if len({source.seen.names for source in sources}) > 1:
        raise InputError("the attributions are of different images")
    slots = _slots(sources)
    blocks = [_rows(sources, slots, n) for n in range(len(sources[0].seen))]
    columns = 1 + max(max(row.cells, default=0) for rows in blocks for row in rows)
    norms = _norms(blocks, scale)
    with style.drawing(look.theme):
        width = 1.75 * (columns + 1) + 0.3
        height = sum(2.0 * len(rows) + 0.45 for rows in blocks) + 0.3
        figure = style.picture(look.theme, figsize or (width, height))
        panels = style.blocks(figure, [len(rows) + 0.25 for rows in blocks])
        for panel, rows in zip(panels, blocks, strict=True):
            _block(panel, rows, columns, norms, look)
        style.footnote(figure, _footnote(look))
        figure.table = sources[0].to_frame()
    return figure


_Slot = tuple[int, int]


def _slots(sources: Sequence[Attributions]) -> list[_Slot]:
    """Columns of all stage-level maps: by stride, and by order where layers share one."""
    found = {
        _slot_of(source, key)
        for source in sources
        for maps in source.values.values()
        for key in maps
        if key != INPUT
    }
    return sorted(found)


def _slot_of(source: Attributions, key: str) -> _Slot:
    taps = source.taps
    tap = next(tap for tap in taps if key == tap.label or key == tap.name)
    return tap.stride, [other for other in taps if other.stride == tap.stride].index(tap)


def _rows(sources: Sequence[Attributions], slots: list[_Slot], n: int) -> list[_Row]:
    rows = []
    for source in sources:
        at_input = [name for name, maps in source.values.items() if INPUT in maps]
        staged = [name for name in source.values if name not in at_input]
        for t in range(source.targets.shape[1]):
            own = [_staged(source, name, slots, n, t) for name in staged]
            fine = [
                _cell(source, name, INPUT, name, source.labels.get(name, name), n, t)
                for name in at_input
            ]
            if own and len(fine) <= _BESIDE:
                own[0] |= {len(slots) + i: cell for i, cell in enumerate(fine)}
            else:
                wide = max(len(slots), _PACKED)
                parts = [fine[start : start + wide] for start in range(0, len(fine), wide)]
                own += [dict(enumerate(part)) for part in parts]
            labels = [source.labels.get(name, name) if len(staged) > 1 else "" for name in staged]
            for cells, label in zip(own, labels + [""] * len(own), strict=False):
                rows.append(_Row(source, n, t, label, cells))
    return rows


def _staged(
    source: Attributions, method: str, slots: list[_Slot], n: int, t: int
) -> dict[int, _Cell]:
    """Cells of a stage-level method, by column."""
    cells = {}
    for key in source.values[method]:
        slot = _slot_of(source, key)
        title = f"stride {slot[0]}" if key == f"stride{slot[0]}" else key
        cells[slots.index(slot)] = _cell(source, method, key, slot, title, n, t)
    return cells


def _cell(
    source: Attributions, method: str, key: str, column: _Slot | str, title: str, n: int, t: int
) -> _Cell:
    return _Cell(method, column, title, source.values[method][key][n, t].float().cpu().numpy())


def _norms(blocks: list[list[_Row]], scale: str) -> dict[int, Normalize]:
    """Colour scale of each cell, by its identity."""
    shared: dict[tuple[object, ...], list[_Cell]] = {}
    for b, rows in enumerate(blocks):
        for row in rows:
            for cell in row.cells.values():
                # what two cells must have in common to share a scale, beside the method
                common = {
                    "panel": (id(cell),),
                    "stage": (b, cell.key),
                    "model": (b, row.source.model, row.target),
                    "all": (),
                }[scale]
                shared.setdefault((cell.method, *common), []).append(cell)
    every = [cell for cells in shared.values() for cell in cells]
    signed = {cell.method for cell in every if (cell.values < 0).any()}
    found = {}
    for (method, *_), cells in shared.items():
        # the largest of the maps' own tops: a fine map has more cells than a coarse one
        tops = [style.norm_of([cell.values]).vmax for cell in cells if cell.values.any()]
        top = max((each for each in tops if each), default=1.0)
        norm = Normalize(-top if method in signed else 0.0, top)
        found.update({id(cell): norm for cell in cells})
    return found


def _block(
    panel: SubFigure, rows: list[_Row], columns: int, norms: dict[int, Normalize], look: _Look
) -> None:
    grid = panel.subplots(len(rows), columns + 1, squeeze=False)
    source = rows[0].source
    staged = {cell.method for row in rows for cell in row.cells.values() if cell.key != cell.method}
    named = [source.labels.get(name, name) for name in staged] if len(staged) == 1 else []
    heading = "  ·  ".join([style.shortened(source.seen.names[rows[0].image], 40), *named])
    panel.suptitle(heading, fontsize=11, fontweight="bold", x=0.01, ha="left")
    strides = _columns_of(rows)
    before: dict[int, str] = {}
    for row, axes in zip(rows, grid, strict=True):
        pixels, _ = row.background(look.on)
        style.bare(axes[0]).imshow(pixels)
        axes[0].set_title(row.heading, fontsize=8.5)
        label = style.shortened(row.source.model, 24) + (f"\n{row.label}" if row.label else "")
        axes[0].set_ylabel(label, fontsize=8.5, fontweight="bold")
        packed = all(cell.key == cell.method for cell in row.cells.values())
        for c, cell_axes in enumerate(axes[1:]):
            cell = row.cells.get(c)
            if cell is not None:
                _draw(cell_axes, row, cell, norms[id(cell)], look)
                # a column's name is printed where it changes
                above = f"{cell.title}\n" if before.get(c) != cell.title else ""
                before[c] = cell.title
                cell_axes.set_title(f"{above}{_sizes(cell.values)}", fontsize=8)
            elif c in strides and not packed:
                text = f"no {strides[c]}\nin this model" if not _elsewhere(rows, row, c) else "–"
                style.empty_cell(cell_axes, look.theme, text)
                if before.get(c) != strides[c]:
                    cell_axes.set_title(f"{strides[c]}\n", fontsize=8)
                    before[c] = strides[c]
            else:
                cell_axes.set_axis_off()
    scales = set(map(id, norms.values()))
    if look.scale == "all" and len(scales) == 1:
        norm = next(iter(norms.values()))
        mappable = ScalarMappable(*_colours(norm, look.theme))
        ends = "both" if (norm.vmin or 0) < 0 else "max"
        panel.colorbar(mappable, ax=grid[:, -1], location="right", fraction=0.06, extend=ends)


def _columns_of(rows: list[_Row]) -> dict[int, str]:
    """Names of the columns that belong to a stride."""
    return {
        c: cell.title for row in rows for c, cell in row.cells.items() if cell.key != cell.method
    }


def _elsewhere(rows: list[_Row], row: _Row, column: int) -> bool:
    """Whether the same network has a map in this column by another method."""
    return any(other.source is row.source and column in other.cells for other in rows)


def _sizes(values: np.ndarray) -> str:
    height, width = values.shape
    if values.min() < 0:
        low, high = (
            f"{v:.2g}".replace("-", "\N{MINUS SIGN}") for v in (values.min(), values.max())
        )
        return f"{width} x {height}, {low} to {high}"
    return f"{width} x {height}, max {values.max():.2g}"


def _draw(axes: Axes, row: _Row, cell: _Cell, norm: Normalize, look: _Look) -> None:
    pixels, extent = row.background(look.on)
    style.bare(axes)
    if not cell.values.any():
        axes.imshow(_grey(pixels), cmap="gray", vmin=0, vmax=255)
        axes.text(
            0.5, 0.5, "zero\neverywhere", transform=axes.transAxes, ha="center", va="center",
            fontsize=9, color="white", bbox={"facecolor": "#000000b0", "edgecolor": "none"},
        )  # fmt: skip
        return
    {"overlay": _overlay, "contours": _contours, "map": _raw}[look.draw](
        axes, pixels, extent, cell.values, norm, look
    )
    if look.draw != "map":
        height, width = pixels.shape[:2]
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _overlay(
    axes: Axes,
    pixels: np.ndarray,
    extent: _Extent,
    values: np.ndarray,
    norm: Normalize,
    look: _Look,
) -> None:
    axes.imshow(_grey(pixels), cmap="gray", vmin=0, vmax=255)
    strength = np.clip(np.abs(values) / (norm.vmax or 1.0), 0, 1)
    scale, colours = _colours(norm, look.theme)
    # clear where nothing speaks for the class, so that the photo stays readable
    axes.imshow(
        values,
        cmap=colours,
        norm=scale,
        alpha=look.overlay * np.sqrt(strength),
        extent=extent,
        interpolation="bilinear",
    )


def _contours(
    axes: Axes,
    pixels: np.ndarray,
    extent: _Extent,
    values: np.ndarray,
    norm: Normalize,
    look: _Look,
) -> None:
    axes.imshow(pixels)
    left, right, bottom, top = extent
    fine = _finer(_finer(values).T).T
    xs = np.linspace(left, right, fine.shape[1])
    ys = np.linspace(top, bottom, fine.shape[0])
    scale, colours = _colours(norm, look.theme)
    signs = (-1, 1) if (norm.vmin or 0) < 0 else (1,)
    levels = sorted(sign * level * (norm.vmax or 1.0) for sign in signs for level in LEVELS)
    lines = axes.contour(xs, ys, fine, levels, cmap=colours, norm=scale, linewidths=1.2)
    lines.set_path_effects([withStroke(linewidth=2.4, foreground="#000000a0")])


def _finer(values: np.ndarray) -> np.ndarray:
    """Interpolate along rows, from border to border, as the overlay does."""
    width = values.shape[1]
    centres = (np.arange(width) + 0.5) / width
    places = np.linspace(0, 1, max(_FINE, width))
    return np.stack([np.interp(places, centres, row) for row in values])


def _raw(
    axes: Axes,
    _pixels: np.ndarray,
    _extent: _Extent,
    values: np.ndarray,
    norm: Normalize,
    look: _Look,
) -> None:
    scale, colours = _colours(norm, look.theme)
    axes.imshow(values, cmap=colours, norm=scale, interpolation="nearest")


def _grey(pixels: np.ndarray) -> np.ndarray:
    grey: np.ndarray = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return grey


def _colours(norm: Normalize, theme: Theme) -> tuple[Normalize, Any]:
    """Scale and colour map: diverging about zero where values may be negative."""
    return norm, colormaps[theme.diverging if (norm.vmin or 0) < 0 else HEAT]


def _footnote(look: _Look) -> str:
    words = {
        "panel": "each map from zero to its own 99.5th percentile; compare places, not heights",
        "stage": "one scale for each column of a block",
        "model": "one scale for each network and class of a block",
        "all": "one scale for the whole figure",
    }
    lines = " Lines at 25, 50 and 75 % of the scale." if look.draw == "contours" else ""
    return (
        f"Colours: {words[look.scale]}, never across methods.{lines} Values are raw: 'max' is the "
        "largest in a map, 'a to b' its smallest and largest."
    )
