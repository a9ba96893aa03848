"""Maps as bytes: eight bits a value, each map with its own range, all in one buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vizkit.errors import InputError
from vizkit.plots.style import SATURATED

LEVELS = 255
# per map: channel, low, high, mean, share of zeros
COLUMNS = 5
_ALIGNED = 4


@dataclass(eq=False)
class Buffer:
    """Bytes that grow; each part begins where numbers of four bytes may."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, values: np.ndarray) -> int:
        """Append an array, and tell where it begins."""
        start = self.size
        raw = values.tobytes()
        padding = -len(raw) % _ALIGNED
        self.parts += [raw, b"\0" * padding]
        self.size += len(raw) + padding
        return start

    def joined(self) -> bytes:
        """All of it."""
        return b"".join(self.parts)


def packed(buffer: Buffer, maps: Tensor, most: int | None = None) -> dict[str, Any]:
    """Put the maps of one place into a buffer, those with the most energy first.

    A value is one of 256 steps between the smallest and the largest of its own map, so that it is
    off by at most ``(high - low) / 510``.

    Parameters
    ----------
    buffer : Buffer
        Where they go.
    maps : Tensor of shape (C, h, w)
        Raw values.
    most : int, optional
        How many of them to keep.

    Returns
    -------
    dict of str to Any
        channels (C), kept, height, width; codes and table, where in the buffer each begins: the
        maps (kept, h, w), uint8, and a table (kept, 5), float32, of channel, low, high, mean and
        share of zeros; top, up to which colours run, and signed, whether any value is negative.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    values = maps.detach().float().cpu()
    channels, height, width = values.shape
    energy = values.square().sum(dim=(1, 2), dtype=torch.float64)
    order = torch.argsort(energy, descending=True, stable=True)[:most]
    kept = values if channels == 1 else values[order]
    low, high = kept.amin(dim=(1, 2)), kept.amax(dim=(1, 2))
    if not (low.isfinite().all() and high.isfinite().all()):
        raise InputError("cannot show NaN or infinity: the values are not finite")
    zeros = 1 - kept.sign().abs().mean(dim=(1, 2))
    table = torch.stack([order.float(), low, high, kept.mean(dim=(1, 2)), zeros], dim=1)
    return {
        "channels": channels,
        "kept": len(kept),
        "height": height,
        "width": width,
        "table": buffer.add(table.numpy().astype("<f4")),
        "codes": buffer.add(_codes(kept, low, high).numpy()),
        "top": top_of(values),
        "signed": bool(values.min() < 0),
    }


def top_of(values: Tensor) -> float:
    """Find the value at which colours saturate, as in figures: the 99.5th percentile of sizes."""
    sizes = values.abs().flatten()
    position = SATURATED / 100 * (len(sizes) - 1)
    above = sizes.topk(len(sizes) - int(position)).values
    upper = above[-2] if len(above) > 1 else above[-1]
    top = torch.lerp(above[-1].double(), upper.double(), position % 1).item()
    return top or sizes.max().item() or 1.0


def tied(rows: Sequence[Sequence[dict[str, Any] | None]]) -> dict[str, Any]:
    """Tie the colours of several cells to each other.

    Parameters
    ----------
    rows : sequence of sequence of dict or None
        What `packed` returned, a row per model and a column per place; None where there is none.

    Returns
    -------
    dict of str to Any
        Lowest and highest value of the colours: ``"stage"`` and ``"model"``, one for each column
        and row, and ``"all"``.
    """
    columns = list(zip(*rows, strict=True))
    return {
        "stage": [_range(cells) for cells in columns],
        "model": [_range(cells) for cells in rows],
        "all": _range([cell for cells in rows for cell in cells]),
    }


def _range(cells: Sequence[dict[str, Any] | None]) -> list[float]:
    found = [cell for cell in cells if cell is not None]
    top = max((cell["top"] for cell in found), default=1.0)
    return [-top if any(cell["signed"] for cell in found) else 0.0, top]


def _codes(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    span = high - low
    # maps of one value have no range to cut into steps
    steps = torch.where(span > 0, LEVELS / span, 0.0)
    scaled = (values - low[:, None, None]).mul_(steps[:, None, None])
    return scaled.round_().clamp_(0, LEVELS).to(torch.uint8)
