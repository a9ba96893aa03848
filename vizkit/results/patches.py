"""The parts of photos that excite single channels most."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from vizkit.results.tables import titled

_LISTED = 12


@dataclass(frozen=True, eq=False, repr=False)
class Patches:
    """The patches that excite channels most, for one or more networks.

    Attributes
    ----------
    frame : DataFrame
        One row per patch: model, layer, role, stride, channel, rank (from 1), value (the
        activation, raw), file, image (its number among those given, from 0), row and column
        (the place in the map), x0, y0, x1, y1 (the place's receptive field in the network's
        input, in pixels, half-open, clipped to the input), photo_x0, photo_y0, photo_x1,
        photo_y1 (the same in the upright original photo, in its pixels; beyond its border
        where the input was padded, NaN where the transform is not vizkit's own), field_x0,
        field_y0 (the corner of the whole field in the input, negative beyond its border).
    crops : tuple of ndarray of shape (y1 - y0, x1 - x0, 3), uint8
        What the network saw there, one for each row of ``frame``.
    fields : DataFrame
        One row per model and tap: model, layer, role, stride, height and width of the
        theoretical receptive field in input pixels (NaN if it is not known: then a patch is
        the whole input), input_height, input_width.
    images : int
        How many images were searched.
    failed : DataFrame
        Images that could not be read: file, reason.
    """

    frame: pd.DataFrame
    crops: tuple[np.ndarray, ...]
    fields: pd.DataFrame
    images: int
    failed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["file", "reason"]))

    def __repr__(self) -> str:
        lines = [f"Patches: {len(self.crops)}, the greatest in {self.images} image(s)"]
        keys = ["model", "layer", "role"]
        for (model, layer, role), rows in self.frame.groupby(keys, sort=False):
            channels = ", ".join(map(str, rows["channel"].unique()[:_LISTED]))
            more = ", …" if rows["channel"].nunique() > _LISTED else ""
            lines.append(f"  {model}, {layer}:{role}: channels {channels}{more}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return titled(repr(self).partition("\n")[0], self.frame)
