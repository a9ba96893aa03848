"""Inner products between the feature maps of images: all that similarity needs of a tap."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# features centred and multiplied in one go: they stay in the cache of a processor
_COLUMNS = 8192
_COLUMNS_GPU = 1 << 18
# sums of squares below this lose digits in float32
_TINY = 1e-25
# deviations of so many roundings are those of a constant
_ROUNDINGS = 8.0


def gram_of(maps: Tensor) -> np.ndarray:
    """Compute the inner products between images of their centred, flattened feature maps.

    Features are centred before they are multiplied, so that nothing cancels afterwards, and a
    few at a time, so that no map is copied as a whole. Products have the type of the maps, their
    sums are float64. Maps whose squares do not fit float32 are multiplied in float64.

    Parameters
    ----------
    maps : Tensor of shape (N, F), float32 or float64
        Flattened maps of one tap.

    Returns
    -------
    ndarray of shape (N, N), float64
        Exactly zero where the maps of all images are the same up to rounding; NaN or infinite
        where maps are.
    """
    products, base = _products(maps, maps.dtype)
    size = np.trace(products)
    if not _TINY < size < np.inf and maps.dtype == torch.float32:
        products, base = _products(maps, torch.float64)
        size = np.trace(products)
    if size <= (_ROUNDINGS * torch.finfo(maps.dtype).eps) ** 2 * base:
        return np.zeros_like(products)
    return products


def _products(maps: Tensor, kind: torch.dtype) -> tuple[np.ndarray, float]:
    """Return the centred products, and the sum of squares of what was taken away."""
    count, features = maps.shape
    total = torch.zeros(count, count, dtype=torch.float64, device=maps.device)
    base = torch.zeros((), dtype=torch.float64, device=maps.device)
    step = _COLUMNS if maps.device.type == "cpu" else _COLUMNS_GPU
    for start in range(0, features, step):
        columns = maps[:, start : start + step].to(kind)
        centre = columns.mean(dim=0)
        columns = columns - centre
        total += columns @ columns.T
        base += centre.double().square().sum()
    return total.cpu().numpy(), count * float(base)
