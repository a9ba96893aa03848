"""How much of the input a network's places see in theory and in effect."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from vizkit.results.named import Named
from vizkit.results.tables import titled
from vizkit.results.taps import Seen


@dataclass(frozen=True, eq=False, repr=False)
class ReceptiveFields:
    """Theoretical and effective receptive fields of the central places of maps.

    Attributes
    ----------
    frame : DataFrame
        One row per model and tap: model, stride, layer, role, theoretical (side of the field,
        or of the square of equal area if it is not square; NaN if not known), clipped (the same
        of the part in the input), effective (side of the square as large as the smallest set
        of pixels in the field that holds 95.45 % of the gradient there; NaN if there is none),
        all in input pixels, share (effective by theoretical), outside (share of the gradient
        outside the theoretical field: what gates that pool over the whole map let in).
    maps : dict of str to dict of str to ndarray of shape (H, W), float64
        By model and tap label: mean absolute gradient by each pixel of the input.
    boxes : dict of str to dict of str to (int, int, int, int)
        By model and tap label: x0, y0, x1, y1 of the theoretical field, half-open, in input
        pixels, also beyond the input's border.
    seen : dict of str to Seen
        The first photo, as each model saw it.
    images : int
        How many images the maps are means of.
    failed : DataFrame
        Images that could not be read: file, reason.
    """

    frame: pd.DataFrame
    maps: dict[str, dict[str, np.ndarray]]
    boxes: dict[str, dict[str, tuple[int, int, int, int]]]
    seen: dict[str, Seen]
    images: int
    failed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["file", "reason"]))

    def __post_init__(self) -> None:
        for part in ("maps", "boxes"):
            by_tap = {model: Named("tap", own) for model, own in getattr(self, part).items()}
            object.__setattr__(self, part, Named("model", by_tap))
        object.__setattr__(self, "seen", Named("model", self.seen))

    def __repr__(self) -> str:
        rows = self.frame.to_string(index=False, float_format=lambda value: f"{value:.3g}")
        return f"ReceptiveFields over {self.images} image(s)\n{rows}"

    def _repr_html_(self) -> str:
        return titled(f"ReceptiveFields over {self.images} image(s)", self.frame)
