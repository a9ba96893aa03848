"""Class activation maps in NumPy float64, each with the size of what its sums are made of.

A sum that is computed in float32 is off by its roundings: as many as it has terms, each of the
size of the terms, however small the sum itself. Every oracle gives that size beside the map.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
# maps (N, 1, C, h, w) and gradients (N, T, C, h, w): map and size of the terms, (N, T, h, w)
Oracle = Callable[[Array, Array], tuple[Array, Array]]

PLACES, CHANNELS = (-2, -1), -3


def over_places(values: Array) -> Array:
    """Sum over places, kept as 1 x 1."""
    return values.sum(axis=PLACES, keepdims=True)


def grad_cam(maps: Array, gradients: Array) -> tuple[Array, Array]:
    """Selvaraju et al., equations 1 and 2."""
    area = maps.shape[-1] * maps.shape[-2]
    weights = over_places(gradients) / area
    size = over_places(np.abs(gradients)) / area * np.abs(maps)
    return np.maximum((weights * maps).sum(axis=CHANNELS), 0), size.sum(axis=CHANNELS)


def grad_cam_pp(maps: Array, gradients: Array) -> tuple[Array, Array]:
    """Chattopadhay et al., equations 10 and 19, with the second and third powers of gradients."""
    rising = np.maximum(gradients, 0)
    below = 2 * gradients**2 + gradients**3 * over_places(maps)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(gradients > 0, gradients**2 / below, 0)
        # what is divided by may be a small difference of large numbers
        loss = (2 * gradients**2 + np.abs(gradients) ** 3 * over_places(np.abs(maps))) / below
    spread = over_places(np.abs(np.where(gradients > 0, shares * rising * loss, 0)))
    weights = over_places(shares * rising)
    size = (spread * np.abs(maps)).sum(axis=CHANNELS)
    return np.maximum((weights * maps).sum(axis=CHANNELS), 0), size


def layer_cam(maps: Array, gradients: Array) -> tuple[Array, Array]:
    """Jiang et al., equations 4 to 6."""
    terms = np.maximum(gradients, 0) * maps
    return np.maximum(terms.sum(axis=CHANNELS), 0), np.abs(terms).sum(axis=CHANNELS)


def hires_cam(maps: Array, gradients: Array) -> tuple[Array, Array]:
    """Draelos and Carin: the product, place by place."""
    terms = gradients * maps
    return terms.sum(axis=CHANNELS), np.abs(terms).sum(axis=CHANNELS)


def xgrad_cam(maps: Array, gradients: Array) -> tuple[Array, Array]:
    """Fu et al., equation 8: gradients averaged in proportion to the activations."""
    totals, weighted = over_places(maps), over_places(gradients * maps)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(totals == 0, 0, weighted / totals)
        # the total may be a small difference of large numbers
        spread = over_places(np.abs(gradients * maps)) / np.abs(totals)
        spread = spread + np.abs(weights) * over_places(np.abs(maps)) / np.abs(totals)
        size = (np.where(totals == 0, 0, spread) * np.abs(maps)).sum(axis=CHANNELS)
    return np.maximum((weights * maps).sum(axis=CHANNELS), 0), size


BY_GRADIENTS: dict[str, Oracle] = {
    "grad_cam": grad_cam,
    "grad_cam_pp": grad_cam_pp,
    "layer_cam": layer_cam,
    "hires_cam": hires_cam,
    "xgrad_cam": xgrad_cam,
}


def slack(maps: Array, size: Array) -> Array:
    """How far float32 may be off: a rounding for each term of each sum, and a few for products."""
    channels, height, width = maps.shape[-3:]
    return 2.0**-24 * (channels + height * width + 16) * size + 1e-30
