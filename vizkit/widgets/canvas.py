"""The canvas widget: traits that hold all it needs; drawing is done in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import anywidget
import traitlets

from vizkit.plots.style import SCALES
from vizkit.widgets.palettes import lookup_tables

VIEWS = ("maps", "attributions", "comparison")
CELLS = ("attribution", "energy", "channel")
_HERE = Path(__file__).parent


def script(names: Sequence[str]) -> str:
    """Return a widget's JavaScript, one module with no imports.

    Parameters
    ----------
    names : sequence of str
        Its files, in order; what all of them use to paint stands before them.

    Returns
    -------
    str
        Ends with its one export.
    """
    return "\n".join((_HERE / each).read_text(encoding="utf-8") for each in ("paint.js", *names))


def styles() -> str:
    """Return the CSS of all widgets."""
    return (_HERE / "canvas.css").read_text(encoding="utf-8")


class Canvas(anywidget.AnyWidget):
    """What the pictures of all explorers have.

    Attributes
    ----------
    scene, scene_data : dict, bytes
        Names and numbers of feature maps, and the maps; see `vizkit.widgets.scene`.
    palettes : bytes
        Colours; see `vizkit.widgets.palettes`.
    message, busy : str
        What went wrong, and what is going on.
    """

    _files: ClassVar[tuple[str, ...]]

    # dynamic defaults, because saved states leave out what is a trait's constant default
    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)

    scene = traitlets.Dict().tag(sync=True)
    scene_data = traitlets.Bytes().tag(sync=True)
    palettes = traitlets.Bytes().tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)
    busy = traitlets.Unicode().tag(sync=True)

    @traitlets.default("_esm")
    def _own_script(self) -> str:
        return script(self._files)

    @traitlets.default("_css")
    def _own_styles(self) -> str:
        return styles()

    @traitlets.default("palettes")
    def _own_palettes(self) -> bytes:
        return lookup_tables()


class StageCanvas(Canvas):
    """Stages of several networks, linked: see `canvas.js` for what it does with its traits.

    Attributes
    ----------
    heat, heat_data : dict, bytes
        Names and numbers of attributions, and the maps.
    patches, patches_data : dict, bytes
        What excites each channel most; see `vizkit.widgets.patches`. Empty until it is searched.
    place : int
        Which stage is chosen, from 0.
    row : int
        Which network's cell is chosen where all stages are compared, from 0.
    rank : int
        Which channel, by energy, from 0.
    tiles : int
        How many channels are shown at once.
    view : "maps", "attributions" or "comparison"
        What is shown: one stage, or all of them beside each other.
    cells : "attribution", "energy" or "channel"
        What the cells of a comparison show.
    scale : "panel", "stage", "model" or "all"
        What shares one colour scale.
    overlay : float
        Strength of attributions over the photo, in [0, 1].
    pixel : list of float
        Horizontal and vertical position in the input that is marked, in [0, 1); or empty.
    """

    _files = (
        "scene.js",
        "pictures.js",
        "toolbar.js",
        "strip.js",
        "patches.js",
        "panel.js",
        "comparison.js",
        "canvas.js",
    )

    patches = traitlets.Dict().tag(sync=True)
    patches_data = traitlets.Bytes().tag(sync=True)
    heat = traitlets.Dict().tag(sync=True)
    heat_data = traitlets.Bytes().tag(sync=True)
    place = traitlets.Int(0, min=0).tag(sync=True)
    row = traitlets.Int(0, min=0).tag(sync=True)
    rank = traitlets.Int(0, min=0).tag(sync=True)
    tiles = traitlets.Int(16, min=1).tag(sync=True)
    view = traitlets.Enum(VIEWS, "maps").tag(sync=True)
    cells = traitlets.Enum(CELLS, "attribution").tag(sync=True)
    scale = traitlets.Enum(SCALES, "panel").tag(sync=True)
    overlay = traitlets.Float(0.8, min=0, max=1).tag(sync=True)
    pixel = traitlets.List(traitlets.Float()).tag(sync=True)
