"""Feature maps of one network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from torch import Tensor

from vizkit.errors import numbered
from vizkit.results.tables import titled
from vizkit.results.taps import Seen, Tap, TapMapping


@dataclass(frozen=True, eq=False, repr=False)
class FeatureMaps(TapMapping):
    """The feature maps of one network for some images.

    A mapping ``Tap -> Tensor of shape (N, C, h, w)`` in forward order, also indexed by tap
    name, label or module path.

    Attributes
    ----------
    model : str
        Name of the network.
    logits : Tensor of shape (N, K)
        The network's output.
    inputs : Tensor of shape (N, 3, H, W)
        What went into the network.
    seen : Seen
        The same as pixels.
    classes : tuple of str
        Names of the K outputs; empty if unknown.
    """

    model: str
    _values: dict[Tap, Tensor]
    logits: Tensor
    inputs: Tensor
    seen: Seen
    classes: tuple[str, ...] = ()

    def select(self, n: int) -> FeatureMaps:
        """Return the same of image ``n`` alone; a negative number counts from the end."""
        first = numbered("image", n, len(self.seen))
        keep = slice(first, first + 1)
        return replace(
            self,
            _values={tap: maps[keep] for tap, maps in self.items()},
            logits=self.logits[keep],
            inputs=self.inputs[keep],
            seen=self.seen.select(first),
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per tap: model, name, module, role, stride, channels, height, width, min, max."""
        rows = [
            {
                **_tap_columns(self.model, tap),
                "height": maps.shape[-2],
                "width": maps.shape[-1],
                "min": maps.min().item(),
                "max": maps.max().item(),
            }
            for tap, maps in self.items()
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        lines = [f"FeatureMaps of {self.model}, {len(self.seen)} image(s)"]
        lines += [f"  {tap.label:24} {tuple(maps.shape)}" for tap, maps in self.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return titled(f"FeatureMaps of {self.model}", self.to_frame())


def _tap_columns(model: str, tap: Tap) -> dict[str, Any]:
    return {
        "model": model,
        "name": tap.layer,
        "module": tap.module,
        "role": tap.role,
        "stride": tap.stride,
        "channels": tap.channels,
    }
