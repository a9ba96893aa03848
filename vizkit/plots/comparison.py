"""A matrix of models and stages: what each computes, and what its answer rests on."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import SubFigure

from vizkit.errors import InputError, choice, instance, whole
from vizkit.plots import style
from vizkit.plots.maps import mosaic
from vizkit.plots.overlays import Look, common_norm, draw_map, sizes
from vizkit.plots.style import Picture
from vizkit.results import Comparison, FeatureMaps, Tap
from vizkit.results.axis import Place

SHOWN = ("both", "maps", "energy", "attributions")
PER_PAGE = 4
INPUT = "input"
_MAPS = "feature maps"
_ENERGY = "energy of all channels"
# of a title above a cell, of a line left of a row, and of a block's heading
_LETTERS, _LINE, _LETTERS_PER_INCH = 26, 22, 8
_NBSP = "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True)
class _Cell:
    """One cell: channels (C, h, w) of a feature map, or one map (h, w) over the photo."""

    kind: str
    values: np.ndarray
    title: str

    @property
    def maps(self) -> bool:
        return self.values.ndim == 3


@dataclass(frozen=True)
class _Row:
    """One row of cells, by column."""

    model: str
    image: int
    kind: str
    target: int | None
    cells: dict[Place, _Cell]


def plot_comparison(
    comparison: Comparison,
    *,
    show: str = "both",
    channels: int = 9,
    scale: str = "stage",
    overlay: float = 0.8,
    page: int = 1,
    per_page: int = PER_PAGE,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw a comparison as a matrix: a row per model, a column per stage.

    Parameters
    ----------
    comparison : Comparison
        From `vizkit.compare`.
    show : "both", "maps", "energy" or "attributions"
        Feature maps and attributions; the channels with the most energy alone; the root mean
        square of all channels at each place; or the attributions alone.
    channels : int
        How many channels of each feature map.
    scale : "panel", "stage", "model" or "all"
        What shares one colour scale, always of one kind and one image: each cell, a column, a
        model, or the whole image's block. Printed on the figure.
    overlay : float
        Opacity of the largest values over the photo, in [0, 1].
    page : int
        Which of the pages that many images take, from 1.
    per_page : int
        Images on a page, one below the other.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure. Models without a stage have an empty cell there.

    Raises
    ------
    InputError
        If an option is unknown or out of range, or there is no such page.
    """
    instance("comparison", comparison, Comparison)
    check_options(show, channels, scale, per_page, page, theme)
    images = _on_page(comparison, page, per_page)
    look = Look(style.theme_of(theme), "overlay", overlay, "input", scale)
    blocks = [_rows(comparison, n, show, channels) for n in images]
    columns = _columns(comparison, blocks)
    note = _footnote(comparison, look, show, page, per_page)
    with style.drawing(look.theme):
        width = 1.62 * (len(columns) + 1) + 0.4
        heights = [1.86 * len(rows) + 0.5 for rows in blocks]
        size = (width, sum(heights) + style.note_height(note, width))
        figure = style.picture(look.theme, figsize, size)
        panels = style.blocks(figure, heights)
        for panel, rows in zip(panels, blocks, strict=True):
            _block(panel, comparison, rows, columns, look)
        style.footnote(figure, note)
        figure.table = pd.concat(
            [each.to_frame() for each in comparison.attributions.values()], ignore_index=True
        )
    return figure


def check_options(
    show: str, channels: int, scale: str, per_page: int, page: int = 1, theme: str = "light"
) -> None:
    """Refuse options that `plot_comparison` cannot use, before any network runs."""
    choice("part of a comparison", show, SHOWN)
    style.check_scale(scale)
    style.theme_of(theme)
    whole("channels", channels)
    whole("per_page", per_page)
    whole("page", page)


def pages(comparison: Comparison, per_page: int = PER_PAGE) -> int:
    """Count the pages that a comparison's images take."""
    return -(-len(comparison.images) // per_page)


def _on_page(comparison: Comparison, page: int, per_page: int) -> range:
    count = pages(comparison, per_page)
    if page > count:
        raise InputError(f"no page {page}: the comparison has {count}")
    return range(len(comparison.images))[(page - 1) * per_page : page * per_page]


def _columns(comparison: Comparison, blocks: Sequence[list[_Row]]) -> dict[Place, str]:
    """Places of the axis that have anything, then methods of the input, with their titles."""
    cells = {place: c for rows in blocks for row in rows for place, c in row.cells.items()}
    found: dict[Place, str] = {
        place: style.shortened(comparison.places.title(place), _LETTERS)
        for place in comparison.axis
        if place in cells
    }
    return found | {place: c.title for place, c in cells.items() if place not in comparison.axis}


def _rows(comparison: Comparison, n: int, show: str, channels: int) -> list[_Row]:
    rows = []
    for model in comparison.models:
        taps = comparison.places.taps[model]
        if show in {"both", "maps"}:
            rows.append(_maps_row(comparison, model, n, _MAPS, lambda v: _strongest(v, channels)))
        if show == "energy":
            rows.append(_maps_row(comparison, model, n, _ENERGY, _root_mean_square))
        if show in {"both", "attributions"}:
            rows += _attribution_rows(comparison, model, taps, n)
    return rows


def _maps_row(
    comparison: Comparison,
    model: str,
    n: int,
    kind: str,
    reduce: Callable[[np.ndarray], np.ndarray],
) -> _Row:
    maps = comparison.maps[model]
    cells: dict[Place, _Cell] = {}
    for place, tap in comparison.places.taps[model].items():
        values = reduce(maps[tap][n].float().cpu().numpy())
        height, width = values.shape[-2:]
        title = f"{len(values)} of {tap.channels} channels, {width} x {height}"
        cells[place] = _Cell(kind, values, title)
    return _Row(model, n, kind, None, cells)


def _attribution_rows(
    comparison: Comparison, model: str, taps: Mapping[Place, Tap], n: int
) -> list[_Row]:
    source = comparison.attributions[model]
    places = {key: place for place, tap in taps.items() for key in (tap.name, tap.label)}
    rows = []
    for target in range(source.targets.shape[1]):
        fine: dict[Place, _Cell] = {}
        own = []
        for method, maps in source.values.items():
            label = source.labels.get(method, method)
            cells: dict[Place, _Cell] = {
                places.get(key, label): _Cell(label, values[n, target].float().cpu().numpy(), label)
                for key, values in maps.items()
            }
            if INPUT in maps:
                fine |= cells
            else:
                own.append(_Row(model, n, label, target, cells))
        own = own or [_Row(model, n, "", target, {})]
        own[0].cells.update(fine)
        rows += own
    return rows


def _strongest(values: np.ndarray, channels: int) -> np.ndarray:
    energy = np.square(values, dtype=np.float64).sum(axis=(1, 2))
    return values[np.sort(np.argsort(-energy, kind="stable")[:channels])]


def _root_mean_square(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.sqrt(np.square(values, dtype=np.float64).mean(axis=0))
    return found


def _norms(rows: Sequence[_Row], scale: str) -> dict[int, Normalize]:
    """Colour scale of each cell, by its identity."""
    shared: dict[tuple[str, object], list[_Cell]] = {}
    for row in rows:
        for place, cell in row.cells.items():
            # what two cells must have in common to share a scale, beside their kind
            common = {"panel": id(cell), "stage": place, "model": (row.model, row.target), "all": 0}
            shared.setdefault((cell.kind, common[scale]), []).append(cell)
    every = [cell for cells in shared.values() for cell in cells]
    signed = {cell.kind for cell in every if (cell.values < 0).any()}
    found: dict[int, Normalize] = {}
    for (kind, _), cells in shared.items():
        norm = common_norm([cell.values for cell in cells], signed=kind in signed)
        found |= {id(cell): norm for cell in cells}
    return found


def _block(
    panel: SubFigure,
    comparison: Comparison,
    rows: Sequence[_Row],
    columns: Mapping[Place, str],
    look: Look,
) -> None:
    grid = panel.subplots(len(rows), len(columns) + 1, squeeze=False)
    room = round(_LETTERS_PER_INCH * panel.figure.get_figwidth())
    name = style.shortened(comparison.images[rows[0].image], min(60, room))
    panel.suptitle(name, fontsize=11, fontweight="bold", x=0.01, ha="left")
    norms = _norms(rows, look.scale)
    differ = len(set(comparison.transforms.values())) > 1
    for number, (row, axes) in enumerate(zip(rows, grid, strict=True)):
        first = number == 0 or rows[number - 1].model != row.model
        pixels = comparison.maps[row.model].seen.pixels[row.image]
        if first:
            style.bare(axes[0]).imshow(pixels)
        else:
            style.bare(axes[0])
        _head(axes[0], comparison, row, first, differ)
        for cell_axes, (place, title) in zip(axes[1:], columns.items(), strict=True):
            cell = row.cells.get(place)
            above = f"{title}\n" if number == 0 else ""
            if cell is None:
                _missing(cell_axes, comparison, row, place, look)
                cell_axes.set_title(above, fontsize=7.5)
                continue
            _draw(cell_axes, pixels, cell, norms[id(cell)], look)
            words = cell.title if cell.maps else sizes(cell.values)
            cell_axes.set_title(above + words, fontsize=7.5)


def _head(axes: Axes, comparison: Comparison, row: _Row, first: bool, differ: bool) -> None:
    """Left of a row: the model and what it sees, or what it answers."""
    model = style.shortened(row.model, 24)
    label = f"{model}\n{_wrapped(comparison.transforms[row.model])}" if differ else model
    if not first:
        label = row.kind
    axes.set_ylabel(label, fontsize=8, fontweight="bold" if first else "normal")
    if first:
        above = [_answers(comparison, row, 1), _why(comparison, row)]
        # beside a narrow photo, words in the middle would lie over the label
        height, width = comparison.maps[row.model].seen.pixels.shape[1:3]
        side: Literal["left", "center"] = "left" if height > width else "center"
        axes.set_anchor("W")
        axes.set_title("\n".join(filter(None, above)), fontsize=8, loc=side)
    elif row.target is not None:
        words = [_why(comparison, row), _answers(comparison, row, 3) if row.target == 0 else ""]
        text = "\n\n".join(filter(None, words))
        axes.text(1.0, 0.5, text, ha="right", va="center", fontsize=8, linespacing=1.5)


def _answers(comparison: Comparison, row: _Row, most: int) -> str:
    """List what a model answers: classes and their probabilities."""
    maps = comparison.maps[row.model]
    shares = maps.logits[row.image].float().softmax(dim=0)
    values, indices = shares.topk(min(most, len(shares)))
    return "\n".join(
        f"{style.shortened(_class(maps, index), 18)} {_percent(value)}"
        for index, value in zip(indices.tolist(), values.tolist(), strict=True)
    )


def _why(comparison: Comparison, row: _Row) -> str:
    """Say which class a row explains, if it is not what the model answers or one of several."""
    if row.target is None:
        return ""
    source, maps = comparison.attributions[row.model], comparison.maps[row.model]
    index = int(source.targets[row.image, row.target])
    alone = source.targets.shape[1] == 1 and source.against is None
    if alone and index == int(maps.logits[row.image].argmax()):
        return ""
    share = _percent(source.probabilities[row.image, row.target].item())
    why = _wrapped(f"why {style.shortened(_class(maps, index), 24)} {share}")
    if source.against is None:
        return why
    return f"{why}\nand not {style.shortened(_class(maps, source.against), 14)}"


def _class(maps: FeatureMaps, index: int) -> str:
    return maps.classes[index] if index < len(maps.classes) else f"class {index}"


def _percent(share: float) -> str:
    words = f"{share:.0%}" if share >= 0.005 or not share else "<1%"
    return words.replace("%", f"{_NBSP}%")


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _LINE, break_long_words=False)


def _draw(axes: Axes, pixels: np.ndarray, cell: _Cell, norm: Normalize, look: Look) -> None:
    if not cell.maps:
        draw_map(axes, pixels, cell.values, norm, look)
        return
    style.bare(axes).imshow(
        mosaic(cell.values),
        cmap=style.colour_map(norm, look.theme),
        norm=norm,
        interpolation="nearest",
    )


def _missing(axes: Axes, comparison: Comparison, row: _Row, place: Place, look: Look) -> None:
    if place not in comparison.axis:
        axes.set_axis_off()
        return
    has = place in comparison.places.taps[row.model]
    title = style.shortened(comparison.places.title(place), _LETTERS)
    # a layer may be there without its normalisation
    others = {own[place].role for own in comparison.places.taps.values() if place in own}
    what = f"norm at {title}" if others == {"norm"} and not comparison.places.by_stride else title
    style.empty_cell(axes, look.theme, "–" if has else f"no {what}\nin this model")


def _footnote(comparison: Comparison, look: Look, show: str, page: int, per_page: int) -> str:
    words = {
        "panel": "one scale for each cell",
        "stage": "one scale for each column",
        "model": "one scale for each model",
        "all": "one scale for all cells",
    }
    kinds = " and kind of row" if show == "both" and look.scale != "panel" else ""
    # colours are tied within an image, never between images
    several = min(per_page, len(comparison.images)) > 1 and look.scale != "panel"
    image = " of an image" if several else ""
    parts = [
        f"Colours: {words[look.scale]}{kinds}{image}, up to the 99.5th percentile of its strongest "
        "map; 'max' is the largest raw value in a map."
    ]
    if show in {"both", "maps"}:
        parts.append("Feature maps: the channels with the most energy for this image.")
    if show == "energy":
        parts.append("Energy: root mean square over all channels.")
    if show != "maps" and show != "energy" and not comparison.same_classes:
        parts.append("Not all models explain the same class: each row's own is named there.")
    seen = set(comparison.transforms.values())
    parts.append(
        f"All models see {seen.pop()}."
        if len(seen) == 1
        else "The models see different inputs, named at their rows."
    )
    count = pages(comparison, per_page)
    if count > 1:
        parts.append(f"Page {page} of {count}.")
    return " ".join(parts).replace("$", r"\$")
