"""Attribution maps over the pixels that each network saw, joined on stride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import SubFigure

from vizkit.errors import InputError, unknown
from vizkit.plots import style
from vizkit.plots.style import Picture, Theme
from vizkit.results import Attributions

HEAT = "inferno"
INPUT = "input"
BACKGROUNDS = ("input", "photo")


_Extent = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Row:
    """One row of cells: a network, a class and a stage-level method, for one image.

    Input-level methods have one map only, so that all of them stand at the end of the first
    row of their network and class.
    """

    source: Attributions
    image: int
    target: int
    method: str | None
    at_input: tuple[str, ...]

    def cells(self) -> dict[int | str, np.ndarray]:
        """Map of each column: by stride for stages, by method at the input."""
        strides = {tap.name: tap.stride for tap in self.source.taps}
        strides |= {tap.label: tap.stride for tap in self.source.taps}
        staged = self.source.values[self.method] if self.method else {}
        maps = {strides.get(key, key): values for key, values in staged.items()}
        maps |= {method: self.source.values[method][INPUT] for method in self.at_input}
        return {
            key: values[self.image, self.target].float().cpu().numpy()
            for key, values in maps.items()
        }

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
        name = style.shortened(self.source.target_name(self.image, self.target), 20)
        share = self.source.probabilities[self.image, self.target].item()
        return f"{name}  {share:.0%}".replace("%", "\N{NARROW NO-BREAK SPACE}%")


def plot_attributions(
    attributions: Attributions | Sequence[Attributions],
    *,
    scale: str = "panel",
    overlay: float = 0.8,
    on: str = "input",
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw attributions as a grid: a row per model, method and class, a column per stride.

    Parameters
    ----------
    attributions : Attributions or list of Attributions
        Of one or more networks for the same images; every image becomes a block.
    scale : "panel", "stage", "model" or "all"
        What shares one colour scale: each map alone, a column, a row, or the figure.
    overlay : float
        Opacity of the largest values over the photo, in [0, 1]; 1 hides the photo there.
    on : "input" or "photo"
        Draw over the pixels that the network saw, or over the whole original photo at the place
        that the network saw of it.
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
    if on not in BACKGROUNDS:
        raise unknown("background", on, BACKGROUNDS)
    look = style.theme_of(theme)
    sources = [attributions] if isinstance(attributions, Attributions) else list(attributions)
    if len({source.seen.names for source in sources}) > 1:
        raise InputError("the attributions are of different images")
    blocks = [_rows(sources, n) for n in range(len(sources[0].seen))]
    columns = _columns(blocks[0])
    with style.drawing(look):
        width = 1.75 * (len(columns) + 1) + 0.3
        height = sum(2.0 * len(rows) + 0.45 for rows in blocks) + 0.3
        figure = style.picture(look, figsize or (width, height))
        panels = style.blocks(figure, [len(rows) + 0.25 for rows in blocks])
        norms = _norms(blocks, scale)
        for n, (panel, rows) in enumerate(zip(panels, blocks, strict=True)):
            _block(panel, n, rows, columns, norms, overlay, on, look, scale)
        style.footnote(figure, _scale_words(scale))
        figure.table = sources[0].to_frame()
    return figure


def _rows(sources: Sequence[Attributions], n: int) -> list[_Row]:
    rows = []
    for source in sources:
        at_input = tuple(name for name, maps in source.values.items() if INPUT in maps)
        staged: list[str | None] = [name for name in source.values if name not in at_input]
        for t in range(source.targets.shape[1]):
            for i, method in enumerate(staged or [None]):
                rows.append(_Row(source, n, t, method, () if i else at_input))
    return rows


def _columns(rows: list[_Row]) -> list[int | str]:
    keys = dict.fromkeys(key for row in rows for key in row.cells())
    strides = sorted(key for key in keys if isinstance(key, int))
    return [*strides, *(key for key in keys if isinstance(key, str))]


_Norms = dict[tuple[int, int, int | str], Normalize]


def _norms(blocks: list[list[_Row]], scale: str) -> _Norms:
    cells = {
        (b, r, key): values
        for b, rows in enumerate(blocks)
        for r, row in enumerate(rows)
        for key, values in row.cells().items()
    }
    # what two cells must have in common to share a scale: block, row, column
    shares = {"panel": (0, 1, 2), "stage": (0, 2), "model": (0, 1), "all": ()}[scale]
    members: dict[tuple[object, ...], list[np.ndarray]] = {}
    for cell, values in cells.items():
        members.setdefault(tuple(cell[i] for i in shares), []).append(values)
    norms = {key: style.norm_of(values) for key, values in members.items()}
    return {cell: norms[tuple(cell[i] for i in shares)] for cell in cells}


def _block(
    panel: SubFigure,
    n: int,
    rows: list[_Row],
    columns: list[int | str],
    norms: _Norms,
    overlay: float,
    on: str,
    look: Theme,
    scale: str,
) -> None:
    grid = panel.subplots(len(rows), len(columns) + 1, squeeze=False)
    first = rows[0].source
    methods = list(dict.fromkeys(row.method for row in rows if row.method))
    heading = [style.shortened(first.seen.names[n], 40), *(methods if len(methods) == 1 else [])]
    panel.suptitle("  ·  ".join(heading), fontsize=11, fontweight="bold", x=0.01, ha="left")
    for r, (row, axes) in enumerate(zip(rows, grid, strict=True)):
        pixels, extent = row.background(on)
        style.bare(axes[0]).imshow(pixels)
        axes[0].set_title(row.heading, fontsize=8.5)
        label = row.source.model + (f"\n{row.method}" if len(methods) > 1 else "")
        axes[0].set_ylabel(label, fontsize=8.5, fontweight="bold")
        cells = row.cells()
        for column, cell in zip(columns, axes[1:], strict=True):
            name = f"stride {column}" if isinstance(column, int) else str(column)
            above = f"{name}\n" if r == 0 else ""
            if column in cells:
                values, norm = cells[column], norms[n, r, column]
                _cell(cell, pixels, extent, values, norm, overlay, look)
                height, width = values.shape
                peak = f"max {_short(np.abs(values).max())}"
                cell.set_title(f"{above}{width} x {height}, {peak}", fontsize=8)
            elif isinstance(column, int):
                style.empty_cell(cell, look, f"no {name}\nin this model")
                cell.set_title(above, fontsize=8)
            else:
                cell.set_axis_off()
    if scale == "all":
        norm = next(iter(norms.values()))
        mappable = _mappable(norm, look)
        panel.colorbar(mappable, ax=grid[:, -1], location="right", fraction=0.06, extend="max")


def _cell(
    axes: Axes,
    pixels: np.ndarray,
    extent: _Extent,
    values: np.ndarray,
    norm: Normalize,
    overlay: float,
    look: Theme,
) -> None:
    grey = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    style.bare(axes).imshow(grey, cmap="gray", vmin=0, vmax=255)
    strength = np.clip(np.abs(values) / (norm.vmax or 1.0), 0, 1)
    if not strength.any():
        axes.text(
            0.5, 0.5, "zero\neverywhere", transform=axes.transAxes, ha="center", va="center",
            fontsize=9, color="white", bbox={"facecolor": "#000000b0", "edgecolor": "none"},
        )  # fmt: skip
        return
    # clear where nothing speaks for the class, so that the photo stays readable
    axes.imshow(
        values,
        cmap=look.diverging if (norm.vmin or 0) < 0 else HEAT,
        norm=norm,
        alpha=overlay * np.sqrt(strength),
        extent=extent,
        interpolation="bilinear",
    )
    height, width = pixels.shape[:2]
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _mappable(norm: Normalize, look: Theme) -> ScalarMappable:
    return ScalarMappable(norm, look.diverging if (norm.vmin or 0) < 0 else HEAT)


def _short(value: float) -> str:
    return f"{value:.2g}"


def _scale_words(scale: str) -> str:
    words = {
        "panel": "each map from zero to its own 99.5th percentile; compare places, not heights",
        "stage": "one scale for each column of a block",
        "model": "one scale for each row",
        "all": "one scale for the whole figure",
    }
    return f"Colours: {words[scale]}. Values are raw; 'max' is the largest in each map."
