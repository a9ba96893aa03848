"""One map over the pixels that a network saw: as colours, as lines, or alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke

from vizkit.errors import choice, share
from vizkit.plots import style
from vizkit.plots.style import Theme

HEAT = "inferno"
BACKGROUNDS = ("input", "photo")
STYLES = ("overlay", "contours", "map")
LEVELS = (0.25, 0.5, 0.75)
_FINE = 96

# left, right, bottom, top
Extent = tuple[float, float, float, float]


@dataclass(frozen=True)
class Look:
    """How maps are drawn; see `vizkit.plots.plot_attributions`.

    Attributes
    ----------
    theme : Theme
        Colours of the figure.
    draw, on, scale : str
        What is drawn, over what, and what shares one colour scale.
    overlay : float
        Opacity of the largest values, in [0, 1].
    """

    theme: Theme
    draw: str = "overlay"
    overlay: float = 0.8
    on: str = "input"
    scale: str = "panel"

    def __post_init__(self) -> None:
        style.check_scale(self.scale)
        share("overlay", self.overlay)
        choice("background", self.on, BACKGROUNDS)
        choice("drawing", self.draw, STYLES)


def draw_map(
    axes: Axes,
    pixels: np.ndarray,
    values: np.ndarray,
    norm: Normalize,
    look: Look,
    extent: Extent | None = None,
) -> None:
    """Draw a map into a cell.

    Parameters
    ----------
    axes : Axes
        The cell.
    pixels : ndarray of shape (H, W, 3), uint8
        What it lies over.
    values : ndarray of shape (h, w)
        Raw.
    norm : Normalize
        Its colour scale.
    look : Look
        How it is drawn.
    extent : tuple of float, optional
        Where in the pixels it lies; by default, over all.
    """
    height, width = pixels.shape[:2]
    style.bare(axes)
    if not values.any():
        axes.imshow(_grey(pixels), cmap="gray", vmin=0, vmax=255)
        axes.text(
            0.5, 0.5, "zero\neverywhere", transform=axes.transAxes, ha="center", va="center",
            fontsize=9, color="white", bbox={"facecolor": "#000000b0", "edgecolor": "none"},
        )  # fmt: skip
        return
    place = extent or (-0.5, width - 0.5, height - 0.5, -0.5)
    {"overlay": _overlay, "contours": _contours, "map": _raw}[look.draw](
        axes, pixels, place, values, norm, look
    )
    if look.draw != "map":
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def colours(norm: Normalize, theme: Theme) -> tuple[Normalize, Any]:
    """Scale and colour map: diverging about zero where values may be negative."""
    return norm, colormaps[theme.diverging if (norm.vmin or 0) < 0 else HEAT]


def common_norm(maps: list[np.ndarray], *, signed: bool) -> Normalize:
    """Tie colours of several maps to one scale, about zero if any of their kind is negative."""
    # the largest of the maps' own tops: a fine map has more cells than a coarse one
    tops = [style.norm_of([values]).vmax for values in maps if values.any()]
    top = max((each for each in tops if each), default=1.0)
    return Normalize(-top if signed else 0.0, top)


def sizes(values: np.ndarray) -> str:
    """Say how large a map is, and how large its values are."""
    height, width = values.shape
    if values.min() < 0:
        low, high = (
            f"{v:.2g}".replace("-", "\N{MINUS SIGN}") for v in (values.min(), values.max())
        )
        return f"{width} x {height}, {low} to {high}"
    return f"{width} x {height}, max {values.max():.2g}"


def _overlay(
    axes: Axes,
    pixels: np.ndarray,
    extent: Extent,
    values: np.ndarray,
    norm: Normalize,
    look: Look,
) -> None:
    axes.imshow(_grey(pixels), cmap="gray", vmin=0, vmax=255)
    strength = np.clip(np.abs(values) / (norm.vmax or 1.0), 0, 1)
    scale, colour_map = colours(norm, look.theme)
    # clear where nothing speaks for the class, so that the photo stays readable
    axes.imshow(
        values,
        cmap=colour_map,
        norm=scale,
        alpha=look.overlay * np.sqrt(strength),
        extent=extent,
        interpolation="bilinear",
    )


def _contours(
    axes: Axes,
    pixels: np.ndarray,
    extent: Extent,
    values: np.ndarray,
    norm: Normalize,
    look: Look,
) -> None:
    axes.imshow(pixels)
    left, right, bottom, top = extent
    fine = _finer(_finer(values).T).T
    xs = np.linspace(left, right, fine.shape[1])
    ys = np.linspace(top, bottom, fine.shape[0])
    scale, colour_map = colours(norm, look.theme)
    signs = (-1, 1) if (norm.vmin or 0) < 0 else (1,)
    levels = sorted(sign * level * (norm.vmax or 1.0) for sign in signs for level in LEVELS)
    lines = axes.contour(xs, ys, fine, levels, cmap=colour_map, norm=scale, linewidths=1.2)
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
    _extent: Extent,
    values: np.ndarray,
    norm: Normalize,
    look: Look,
) -> None:
    scale, colour_map = colours(norm, look.theme)
    axes.imshow(values, cmap=colour_map, norm=scale, interpolation="nearest")


def _grey(pixels: np.ndarray) -> np.ndarray:
    grey: np.ndarray = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return grey
