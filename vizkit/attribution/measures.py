"""Numbers from maps alone: where they point, and how much of them lies in a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Box = tuple[float, float, float, float]


def at_input_size(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bring maps to the size of the input.

    Parameters
    ----------
    maps : Tensor of shape (N, T, h, w)
        Of any stage.
    size : sequence of int
        Height and width of the input.

    Returns
    -------
    Tensor of shape (N, T, H, W)
        Bilinear, aligned as the network's own strides are.
    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def mask_of(boxes: Sequence[Box], size: tuple[int, int]) -> np.ndarray:
    """Mark the pixels whose centre lies in a box.

    Parameters
    ----------
    boxes : sequence of (x0, y0, x1, y1)
        In pixels of the input; half open.
    size : tuple of (int, int)
        Its height and width.

    Returns
    -------
    ndarray of shape (H, W), bool
        True inside.
    """
    ys, xs = (np.arange(side) + 0.5 for side in size)
    inside = np.zeros(size, dtype=bool)
    for x0, y0, x1, y1 in boxes:
        inside |= ((ys >= y0) & (ys < y1))[:, None] & ((xs >= x0) & (xs < x1))[None, :]
    return inside


def pointing(values: np.ndarray, inside: np.ndarray) -> float:
    """Tell whether a map's greatest value lies in a box (the pointing game).

    Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016, without the
    tolerance of 15 px.

    Parameters
    ----------
    values : ndarray of shape (H, W)
        The map.
    inside : ndarray of shape (H, W), bool
        The boxes.

    Returns
    -------
    float
        1 or 0; where several places share the greatest value, the part of them inside, so that
        a map that is the same everywhere scores as chance does.
    """
    return float(inside[values == values.max()].mean())


def energy(values: np.ndarray, inside: np.ndarray) -> float:
    """Measure how much of a map's positive part lies in a box (the energy-based pointing game).

    Wang et al., "Score-CAM", CVPR-W 2020; Quantus calls it relevance mass accuracy.

    Parameters
    ----------
    values : ndarray of shape (H, W)
        The map.
    inside : ndarray of shape (H, W), bool
        The boxes.

    Returns
    -------
    float
        In [0, 1]; a map without positive part scores as chance does.
    """
    positive = np.clip(values, 0, None).astype(np.float64)
    total = positive.sum()
    return float(positive[inside].sum() / total) if total > 0 else float(inside.mean())


def order(values: Tensor, seed: int = 0) -> Tensor:
    """Rank the places of a map, the greatest value first.

    Parameters
    ----------
    values : Tensor of shape (H, W)
        The map.
    seed : int
        Of the order of places with the same value, which is random, for reading order would
        favour the top of the picture.

    Returns
    -------
    Tensor of shape (H * W,), int64
        Indices into the flattened map.
    """
    flat = values.flatten().cpu()
    shuffled = torch.randperm(flat.numel(), generator=torch.Generator().manual_seed(seed))
    return shuffled[flat[shuffled].argsort(descending=True, stable=True)]


def centred(size: tuple[int, int]) -> Tensor:
    """Draw a bell over the centre, a quarter of each side wide: the guess that knows no photo.

    Parameters
    ----------
    size : tuple of (int, int)
        Height and width.

    Returns
    -------
    Tensor of shape (H, W)
        1 in the centre.
    """
    ys, xs = (
        torch.exp(-(((torch.arange(side) + 0.5) / side - 0.5) ** 2) / (2 * 0.25**2))
        for side in size
    )
    return ys[:, None] * xs[None, :]
