"""Feature maps: one mosaic of channels per stage, beside the input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import SubFigure

from vizkit.errors import InputError, index_of, listed, results_of, shown, whole
from vizkit.plots import style
from vizkit.plots.style import Picture, Theme
from vizkit.results import FeatureMaps, Tap

GAP = 0.06


def plot_feature_maps(
    maps: FeatureMaps | Sequence[FeatureMaps],
    *,
    channels: int | Sequence[int] = 16,
    scale: str = "stage",
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw the feature maps of every tap as a mosaic of channels.

    Parameters
    ----------
    maps : FeatureMaps or list of FeatureMaps
        Of one or more networks; every image becomes a block.
    channels : int or sequence of int
        How many channels to show of each tap (those with the most energy on the image, in
        channel order), or which.
    scale : "panel", "stage", "model" or "all"
        What shares one colour scale: each channel alone, the channels of one stage, all stages
        of one network, or everything in the figure.
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
        If the scale or theme is unknown or a channel does not exist.
    """
    style.check_scale(scale)
    channels = channels_of(channels)
    look = style.theme_of(theme)
    everything = results_of("maps", maps, FeatureMaps)
    blocks = [(each, n) for each in everything for n in range(len(each.seen))]
    columns = math.ceil((max(len(each) for each in everything) + 1) / 2)
    with style.drawing(look):
        size = (2.75 * columns + 0.4, 6.6 * len(blocks) + 0.3)
        figure = style.picture(look, figsize, size)
        panels = style.blocks(figure, [1.0] * len(blocks))
        chosen = {
            (id(each), n, tap): _chosen(tap, values[n].float().cpu().numpy(), channels)
            for each in everything
            for tap, values in each.items()
            for n in range(len(each.seen))
        }
        for panel, (each, n) in zip(panels, blocks, strict=True):
            norms = _norms(each, n, chosen, scale)
            _block(panel, each, n, chosen, norms, columns, look)
        style.footnote(figure, _scale_words(scale))
        figure.table = everything[0].to_frame()
    return figure


_Chosen = dict[tuple[int, int, Tap], tuple[list[int], np.ndarray]]


def mosaic(values: np.ndarray) -> np.ndarray:
    """Lay channels out as one image, separated by NaN.

    Parameters
    ----------
    values : ndarray of shape (C, h, w)
        The channels.

    Returns
    -------
    ndarray
        A grid as square as possible, row by row.
    """
    count, height, width = values.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    gap = max(1, round(GAP * max(height, width)))
    # small maps are enlarged so that the gap stays thin
    zoom = max(1, math.ceil(gap / (GAP * max(height, width)) - 0.5))
    tiles = values.repeat(zoom, axis=1).repeat(zoom, axis=2)
    height, width = tiles.shape[1:]
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = tile
    return canvas


def _block(
    panel: SubFigure,
    maps: FeatureMaps,
    n: int,
    chosen: _Chosen,
    norms: dict[Tap, Normalize | None],
    columns: int,
    look: Theme,
) -> None:
    grid = panel.subplots(2, columns).ravel()
    name = style.shortened(maps.seen.names[n], 40)
    panel.suptitle(f"{maps.model}  ·  {name}", fontsize=11, fontweight="bold", x=0.01, ha="left")
    style.bare(grid[0]).imshow(maps.seen.pixels[n])
    grid[0].set_title(f"input, {maps.seen.transform}", fontsize=8.5)
    for axes, tap in zip(grid[1:], maps, strict=False):
        indices, values = chosen[id(maps), n, tap]
        norm = norms[tap]
        shown = values if norm else _stretched(values)
        used = norm or Normalize(0, 1)
        signed = bool(values.min() < 0)
        drawn = style.bare(axes).imshow(
            mosaic(shown),
            cmap=style.colour_map(used, look),
            norm=used,
            interpolation="nearest",
        )
        height, width = maps[tap].shape[-2:]
        role = f" {tap.role}" if tap.name.startswith("conv") else ""
        axes.set_title(
            f"{tap.name}{role}: {width} x {height}\n{len(indices)} of {tap.channels} channels",
            fontsize=8.5,
        )
        if norm:
            over = bool(np.abs(values).max() > (used.vmax or 0) * (1 + 1e-9))
            extend = ("both" if signed else "max") if over else "neither"
            bar = panel.colorbar(
                drawn, ax=axes, location="bottom", fraction=0.05, pad=0.02, extend=extend
            )
            bar.ax.tick_params(labelsize=7, length=2, pad=1)
            bar.ax.locator_params(nbins=4)
            bar.outline.set_visible(False)
    for axes in grid[1 + len(maps) :]:
        axes.set_axis_off()


def _chosen(
    tap: Tap, values: np.ndarray, channels: int | Sequence[int]
) -> tuple[list[int], np.ndarray]:
    if isinstance(channels, int):
        energy = np.square(values, dtype=np.float64).sum(axis=(1, 2))
        indices = sorted(np.argsort(-energy, kind="stable")[:channels].tolist())
    else:
        wrong = [each for each in channels if index_of(each) not in range(tap.channels)]
        if wrong:
            last = tap.channels - 1
            raise InputError(f"{tap.label} has channels 0 to {last}, not {shown(wrong[0])}")
        indices = [int(each) for each in channels]
    return indices, values[indices]


def channels_of(channels: int | Sequence[int]) -> int | list[int]:
    """Check how many channels to draw, or which.

    Raises
    ------
    InputError
        If it is neither a number nor a list of numbers.
    """
    several = listed(channels)
    if several is None:
        return whole("channels", channels)
    if not several:
        raise InputError("no channels: the list is empty")
    return several


def _norms(maps: FeatureMaps, n: int, chosen: _Chosen, scale: str) -> dict[Tap, Normalize | None]:
    if scale == "panel":
        return dict.fromkeys(maps)
    if scale == "stage":
        return {tap: style.norm_of([chosen[id(maps), n, tap][1]]) for tap in maps}
    within = [
        values
        for (owner, image, _), (_, values) in chosen.items()
        if scale == "all" or (owner == id(maps) and image == n)
    ]
    return dict.fromkeys(maps, style.norm_of(within))


def _stretched(values: np.ndarray) -> np.ndarray:
    low = values.min(axis=(1, 2), keepdims=True)
    high = values.max(axis=(1, 2), keepdims=True)
    stretched: np.ndarray = (values - low) / np.maximum(high - low, 1e-12)
    return stretched


def _scale_words(scale: str) -> str:
    words = {
        "panel": "each channel from its own smallest (dark) to its own largest value (bright)",
        "stage": "one scale for the channels of a stage",
        "model": "one scale for all stages of a block",
        "all": "one scale for the whole figure",
    }
    more = "" if scale == "panel" else "; an arrow marks values beyond the 99.5th percentile"
    return f"Colours: {words[scale]}{more}. Channels: those with the most energy here, in order."
