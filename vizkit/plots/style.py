"""How pictures look: two themes, colour maps that survive greyscale, and the figure class."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

from vizkit.errors import InputError, choice, instance, pair, path_of, positive
from vizkit.files import replacing
from vizkit.interrupts import surely, undivided

SCALES = ("panel", "stage", "model", "all")
SATURATED = 99.5
DPI = 110
# a picture has fewer than 2^16 pixels a side
_MOST_INCHES = 65_500 // DPI
_LETTERS_PER_INCH = 16.5
# what each format would say of the time and the version, by which files would differ
STAMPS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}


@dataclass(frozen=True)
class Theme:
    """Colours of one theme.

    Attributes
    ----------
    name : str
        ``"light"`` or ``"dark"``.
    paper, ink, faint, empty : str
        Background, text, rules and separators, and the fill of missing cells.
    sequential, diverging : str
        Colour maps of values from zero up, and of signed values.
    series : tuple of str
        Line colours that stay apart for colour-blind readers (after Okabe and Ito).
    """

    name: str
    paper: str
    ink: str
    faint: str
    empty: str
    sequential: str
    diverging: str
    series: tuple[str, ...]


THEMES = {
    "light": Theme(
        "light", "#ffffff", "#1d2330", "#c9ced8", "#f0f2f5", "viridis", "RdBu_r",
        ("#0072b2", "#d55e00", "#009e73", "#9a5b9c", "#a67c00", "#3f3f3f", "#4aa3df"),
    ),
    "dark": Theme(
        "dark", "#14171f", "#e4e8f0", "#454c5c", "#20252f", "viridis", "berlin",
        ("#56b4e9", "#ff9e4a", "#3fd0a4", "#d99bd6", "#e8d04a", "#b9bec9", "#7f9cf5"),
    ),
}  # fmt: skip


class Picture(Figure):
    """A matplotlib figure that shows itself once, saves safely and knows its numbers.

    It is no part of pyplot's state, so nothing is shown twice and nothing stays open.
    """

    table: pd.DataFrame

    def _repr_png_(self) -> bytes:
        self._arrange()
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", metadata=STAMPS["png"])
        return buffer.getvalue()

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write the figure; the ending decides the format (png, pdf, svg).

        Parameters
        ----------
        path : str or Path
            Replaced in one step; its folder must exist.
        **options
            As for matplotlib's ``savefig``.

        Returns
        -------
        Path
            The file. The same figure gives the same bytes.

        Raises
        ------
        InputError
            If the format is unknown, or there is no such folder.
        WriteError
            If it cannot be written; an older file stays.
        """
        target, kind = figure_file(path)
        with replacing(target) as partial:
            self.write_into(partial, kind, **options)
        return target

    def write_into(self, path: Path, kind: str, **options: Any) -> None:
        """Write the figure into a file that is being written, with nothing that tells the time.

        Parameters
        ----------
        path : Path
            Of any name.
        kind : "png", "pdf" or "svg"
            Its format.
        **options
            As for matplotlib's ``savefig``.
        """
        self._arrange()
        with surely(mpl.rc_context({"svg.hashsalt": "vizkit", "svg.fonttype": "none"})):
            self.savefig(path, format=kind, **{"metadata": STAMPS[kind], **options})

    def to_frame(self) -> pd.DataFrame:
        """Return the numbers behind the picture."""
        return self.table

    def _arrange(self) -> None:
        """Place everything as on a screen, so that no format moves what the next one shows."""
        engine = self.get_layout_engine()
        if isinstance(engine, _Layout) and not engine.arranged:
            self.draw_without_rendering()


def figure_file(path: str | Path) -> tuple[Path, str]:
    """Check where a figure shall go, and tell the format from the ending.

    Parameters
    ----------
    path : str or Path
        What was given.

    Returns
    -------
    target : Path
        The same.
    kind : "png", "pdf" or "svg"
        Its format.

    Raises
    ------
    InputError
        If the format is unknown, or there is no such folder.
    """
    target = path_of("path", path)
    kind = target.suffix.lstrip(".").lower()
    choice("figure format", kind, STAMPS)
    if not target.parent.is_dir():
        raise InputError(f"no such folder: {target.parent}")
    return target, kind


def theme_of(theme: str) -> Theme:
    """Find a theme by name."""
    return THEMES[choice("theme", theme, THEMES)]


def check(theme: str, figsize: tuple[float, float] | None = None) -> None:
    """Refuse what no picture can be drawn with, before any work is done for it."""
    theme_of(theme)
    size_of(figsize)


def size_of(figsize: tuple[float, float] | None) -> tuple[float, float] | None:
    """Check the size that was asked for, in inches, if any."""
    return None if figsize is None else pair("figsize", figsize, positive)


def table_of(name: str, table: pd.DataFrame, source: str, columns: Sequence[str]) -> None:
    """Raise if something is not the table that a function gives, or has no rows."""
    instance(name, table, pd.DataFrame)
    if table.empty:
        raise InputError(f"no {name} to draw")
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(f"{name} must be a table from {source}: it has no column {missing[0]}")


@undivided
def drawing(theme: Theme) -> Iterator[None]:
    """Draw inside with a theme's colours, whatever the user's own matplotlib settings."""
    colours: dict[Any, Any] = {
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.faint,
        "axes.facecolor": theme.paper,
        "axes.titlecolor": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "figure.facecolor": theme.paper,
        "grid.color": theme.faint,
        "legend.frameon": False,
    }
    sizes: dict[Any, Any] = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.linewidth": 0.6,
        "grid.alpha": 0.6,
        "axes.unicode_minus": True,
    }
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**colours, **sizes})
        yield


class _Layout(ConstrainedLayoutEngine):
    """Constrained layout to a millionth of the figure: its solver's last digits vary by run.

    A figure that has not changed since is not arranged again: pictures would move a little each
    time.
    """

    arranged: tuple[object, ...] = ()

    def execute(self, fig: Any) -> Any:
        """Place the axes."""
        now = (*fig.get_size_inches(), *(len(each.get_children()) for each in (fig, *fig.axes)))
        if now == self.arranged:
            return None
        self.arranged = now
        done = super().execute(fig)
        for axes in fig.axes:
            place = axes.get_position(original=True)
            # the public method would take the axes out of the layout
            axes._set_position(Bbox(place.get_points().round(6)))  # noqa: SLF001
        return done


def picture(theme: Theme, figsize: tuple[float, float] | None, own: tuple[float, float]) -> Picture:
    """Start an empty figure, in inches, outside pyplot: as large as asked for, or as it needs."""
    size = size_of(figsize) or own
    if max(size) > _MOST_INCHES:
        raise InputError(
            f"the figure would be {size[0]:.4g} x {size[1]:.4g} inches, and {_MOST_INCHES} can be "
            "drawn: show less at a time"
        )
    layout = _Layout(h_pad=0.06, w_pad=0.05, hspace=0.04)
    return Picture(figsize=size, dpi=DPI, layout=layout, facecolor=theme.paper)


def blocks(figure: Picture, ratios: Sequence[float]) -> list[SubFigure]:
    """Cut a figure into blocks, one below the other, of these relative heights."""
    panels: Any = figure.subfigures(len(ratios), 1, height_ratios=list(ratios), squeeze=False)
    return list(panels[:, 0])


def check_scale(scale: str) -> None:
    """Raise if a scale is not one of `SCALES`."""
    choice("scale", scale, SCALES)


def norm_of(values: Sequence[np.ndarray]) -> Normalize:
    """Tie colours to values: from zero up, or symmetric about zero where any is negative.

    The top is the 99.5th percentile of the absolute values, so that one outlier does not
    darken the rest; colour bars show by an arrow that brighter values saturate.
    """
    flat = np.concatenate([np.asarray(v, dtype=np.float64).ravel() for v in values])
    if not np.isfinite(flat).all():
        raise InputError("cannot draw NaN or infinity: the values are not finite")
    top = float(np.percentile(np.abs(flat), SATURATED)) or float(np.abs(flat).max()) or 1.0
    return Normalize(-top if flat.min() < 0 else 0.0, top, clip=False)


def colour_map(norm: Normalize, theme: Theme) -> Colormap:
    """Choose the map that fits a norm: diverging if it has negative values; gaps are paper."""
    name = theme.diverging if (norm.vmin or 0) < 0 else theme.sequential
    return colormaps[name].with_extremes(bad=theme.paper)


def bare(axes: Axes) -> Axes:
    """Take ticks and frame away, for photos and maps."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def empty_cell(axes: Axes, theme: Theme, text: str) -> None:
    """Draw a cell that has nothing to show, and say so."""
    bare(axes).set_facecolor(theme.empty)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_box_aspect(1)
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, alpha=0.7, wrap=True)


def shortened(name: str, most: int = 22) -> str:
    """Cut a long name in the middle, so that it fits a title. Dollar signs stay text."""
    half = (most - 1) // 2
    short = name if len(name) <= most else f"{name[:half]}…{name[-half:]}"
    return short.replace("$", r"\$")


def note_height(text: str, width: float) -> float:
    """Inches that a footnote needs below a figure of some width, in inches."""
    return 0.1 + 0.15 * (1 + _wrapped(text, width).count("\n"))


def footnote(figure: Figure | SubFigure, text: str) -> None:
    """Print what a reader must know to read the colours, below the figure."""
    lines = _wrapped(text, figure.figure.get_figwidth())
    figure.supxlabel(lines, fontsize=8, x=0.01, ha="left", alpha=0.8)


def _wrapped(text: str, width: float) -> str:
    return textwrap.fill(text, max(30, round(_LETTERS_PER_INCH * width)))
