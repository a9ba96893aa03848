"""Colour maps as lookup tables, the same as in figures."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps

from vizkit.plots.overlays import HEAT
from vizkit.plots.style import THEMES

# the order in which the canvas expects them
PALETTES = (
    THEMES["light"].sequential,
    THEMES["light"].diverging,
    THEMES["dark"].diverging,
    HEAT,
)


def lookup_tables() -> bytes:
    """Return the colours of `PALETTES`, 256 each, as (4, 256, 3) bytes."""
    tables = [colormaps[name](np.arange(256), bytes=True)[:, :3] for name in PALETTES]
    return np.stack(tables).tobytes()
