"""Attribution maps over the pixels that each network saw, joined on stride."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import SubFigure

from vizkit.errors import InputError, results_of
from vizkit.plots import style
from vizkit.plots.overlays import Extent, Look, colours, common_norm, draw_map, sizes
from vizkit.plots.style import Picture
from vizkit.results import Attributions, Axis, Tap, align
from vizkit.results.axis import Place

INPUT = "input"
# more input-level methods than this stand in rows of their own
_BESIDE = 3
_PACKED = 6


@dataclass(frozen=True)
class _Cell:
    """One map, and where it stands."""

    method: str
    key: Place
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

    def background(self, on: str) -> tuple[np.ndarray, Extent]:
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
    look = Look(style.theme_of(theme), draw, overlay, on, scale)
    sources = results_of("attributions", attributions, Attributions)
    if len({source.seen.names for source in sources}) > 1:
        raise InputError("the attributions are of different images")
    slots = _slots(sources)
    blocks = [_rows(sources, slots, n) for n in range(len(sources[0].seen))]
    columns = 1 + max(max(row.cells, default=0) for rows in blocks for row in rows)
    norms = _norms(blocks, scale)
    with style.drawing(look.theme):
        width = 1.75 * (columns + 1) + 0.3
        height = sum(2.0 * len(rows) + 0.45 for rows in blocks) + 0.3
        figure = style.picture(look.theme, figsize, (width, height))
        panels = style.blocks(figure, [len(rows) + 0.25 for rows in blocks])
        for panel, rows in zip(panels, blocks, strict=True):
            _block(panel, rows, columns, norms, look)
        style.footnote(figure, _footnote(look))
        figure.table = sources[0].to_frame()
    return figure


def _slots(sources: Sequence[Attributions]) -> list[Place]:
    """Columns of all stage-level maps: those of the axis that any network has a map for."""
    axis = _axis(sources)
    used = {
        _slot_of(axis.taps[str(n)], key)
        for n, source in enumerate(sources)
        for maps in source.values.values()
        for key in maps
        if key != INPUT
    }
    return [place for place in axis.places if place in used]


def _axis(sources: Sequence[Attributions]) -> Axis:
    return align({str(n): source.taps for n, source in enumerate(sources)})


def _slot_of(own: Mapping[Place, Tap], key: str) -> Place:
    return next(place for place, tap in own.items() if key in (tap.label, tap.name))


def _rows(sources: Sequence[Attributions], slots: list[Place], n: int) -> list[_Row]:
    rows = []
    for source, taps in zip(sources, _axis(sources).taps.values(), strict=True):
        at_input = [name for name, maps in source.values.items() if INPUT in maps]
        staged = [name for name in source.values if name not in at_input]
        for t in range(source.targets.shape[1]):
            own = [_staged(source, taps, name, slots, n, t) for name in staged]
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
    source: Attributions,
    taps: Mapping[Place, Tap],
    method: str,
    slots: list[Place],
    n: int,
    t: int,
) -> dict[int, _Cell]:
    """Cells of a stage-level method, by column."""
    cells = {}
    for key in source.values[method]:
        slot = _slot_of(taps, key)
        title = f"stride {taps[slot].stride}" if key == f"stride{taps[slot].stride}" else key
        cells[slots.index(slot)] = _cell(source, method, key, slot, title, n, t)
    return cells


def _cell(
    source: Attributions, method: str, key: str, column: Place, title: str, n: int, t: int
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
        norm = common_norm([cell.values for cell in cells], signed=method in signed)
        found.update({id(cell): norm for cell in cells})
    return found


def _block(
    panel: SubFigure, rows: list[_Row], columns: int, norms: dict[int, Normalize], look: Look
) -> None:
    grid = panel.subplots(len(rows), columns + 1, squeeze=False)
    source = rows[0].source
    staged = {cell.method for row in rows for cell in row.cells.values() if cell.key != cell.method}
    named = [source.labels.get(name, name) for name in staged] if len(staged) == 1 else []
    if any(cell.method not in staged for row in rows for cell in row.cells.values()):
        named = [f"at stages: {name}" for name in named]
    heading = "  ·  ".join([style.shortened(source.seen.names[rows[0].image], 40), *named])
    panel.suptitle(heading, fontsize=11, fontweight="bold", x=0.01, ha="left")
    strides = _columns_of(rows)
    before: dict[int, str] = {}
    for row, axes in zip(rows, grid, strict=True):
        pixels, extent = row.background(look.on)
        style.bare(axes[0]).imshow(pixels)
        axes[0].set_title(row.heading, fontsize=8.5)
        label = style.shortened(row.source.model, 24) + (f"\n{row.label}" if row.label else "")
        axes[0].set_ylabel(label, fontsize=8.5, fontweight="bold")
        packed = all(cell.key == cell.method for cell in row.cells.values())
        for c, cell_axes in enumerate(axes[1:]):
            cell = row.cells.get(c)
            if cell is not None:
                draw_map(cell_axes, pixels, cell.values, norms[id(cell)], look, extent)
                # a column's name is printed where it changes
                above = f"{cell.title}\n" if before.get(c) != cell.title else ""
                before[c] = cell.title
                cell_axes.set_title(f"{above}{sizes(cell.values)}", fontsize=8)
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
        mappable = ScalarMappable(*colours(norm, look.theme))
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


def _footnote(look: Look) -> str:
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
