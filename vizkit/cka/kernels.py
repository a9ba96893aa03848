"""Kernels: how alike two images are to a tap, from the inner products of their maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Kernel = Callable[[np.ndarray, float], np.ndarray]


def linear(products: np.ndarray, bandwidth: float) -> np.ndarray:  # noqa: ARG001  (has none)
    """Take the inner products as they are.

    Parameters
    ----------
    products : ndarray of shape (N, N)
        Inner products of centred features.
    bandwidth : float
        Of no effect.

    Returns
    -------
    ndarray of shape (N, N)
        The same.
    """
    return products


def rbf(products: np.ndarray, bandwidth: float) -> np.ndarray:
    """Let likeness fall off with distance: ``exp(-d^2 / (2 s^2))``.

    Parameters
    ----------
    products : ndarray of shape (N, N)
        Inner products of centred features.
    bandwidth : float
        ``s`` as a fraction of the median distance ``d`` between two different images.

    Returns
    -------
    ndarray of shape (N, N)
        In [0, 1]; zeros if more than half of the distances are 0, which gives no scale.
    """
    norms = np.diag(products)
    squares = (norms[:, None] + norms[None, :] - 2 * products).clip(min=0)
    distances = np.sqrt(squares[np.triu_indices(len(squares), k=1)])
    median = float(np.median(distances))
    if median == 0:
        return np.zeros_like(products)
    kernel: np.ndarray = np.exp(-squares / (2 * (bandwidth * median) ** 2))
    return kernel


KERNELS: dict[str, Kernel] = {"linear": linear, "rbf": rbf}
