"""Inner products between the feature maps of images: all that similarity needs of a tap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# features centred and multiplied in one go: they stay in the cache of a processor
_COLUMNS = 4096
_COLUMNS_GPU = 1 << 18
# sums of squares below this lose digits in float32
_TINY = 1e-25
# deviations of so many roundings are those of a constant
_ROUNDINGS = 8.0


def gram_of(parts: Sequence[Tensor]) -> np.ndarray:
    """Compute the inner products between images of their centred, flattened feature maps.

    Features are centred before they are multiplied, so that nothing cancels afterwards, and a
    few at a time, so that no map is copied as a whole. Products are float32 (float64 where maps
    are), their sums float64. Maps whose squares do not fit float32 are taken in float64.

    Parameters
    ----------
    parts : sequence of Tensor of shape (N_i, C, h, w)
        Maps of one tap, of the first images, the next ones, and so on.

    Returns
    -------
    ndarray of shape (N, N), float64
        Exactly zero where the maps of all images are the same up to rounding; NaN or infinite
        where maps are.
    """
    # float64 sums must be possible
    flat = [_home(part).flatten(1) for part in parts]
    kind = torch.float64 if flat[0].dtype == torch.float64 else torch.float32
    products, base = _products(flat, kind)
    size = np.trace(products)
    if not _TINY < size < np.inf and kind == torch.float32:
        products, base = _products(flat, torch.float64)
        size = np.trace(products)
    if size <= (_ROUNDINGS * torch.finfo(kind).eps) ** 2 * base:
        return np.zeros_like(products)
    return products


def _products(flat: Sequence[Tensor], kind: torch.dtype) -> tuple[np.ndarray, float]:
    """Return the centred products, and the sum of squares of what was taken away."""
    count, device = sum(len(part) for part in flat), flat[0].device
    total = torch.zeros(count, count, dtype=torch.float64, device=device)
    base = torch.zeros((), dtype=torch.float64, device=device)
    step = _COLUMNS if device.type == "cpu" else _COLUMNS_GPU
    for start in range(0, flat[0].shape[1], step):
        columns = torch.cat([part[:, start : start + step].to(kind) for part in flat])
        centre = columns.mean(dim=0)
        columns -= centre
        total += columns @ columns.T
        base += centre.double().square().sum()
    return total.cpu().numpy(), count * float(base)


def _home(maps: Tensor) -> Tensor:
    return maps.cpu() if maps.device.type == "mps" else maps
