"""The Hilbert-Schmidt independence criterion, unbiased, and what is made of it.

HSIC_1 of Song et al., "Feature selection via dependence maximization" (JMLR 2012), as an inner
product of U-centred kernels (Szekely and Rizzo, 2014), averaged over batches as in Nguyen, Raghu
and Kornblith, "Do wide and deep networks learn the same things?" (arXiv:2010.15327).
"""

from __future__ import annotations

import numpy as np

# the estimator divides by n - 3
LEAST_BATCHES = 10
LEAST = 4
_INTERVAL = (2.5, 97.5)


def hsic(kernels: np.ndarray) -> np.ndarray:
    """Estimate without bias how far kernels over the same images depend on each other.

    Parameters
    ----------
    kernels : ndarray of shape (T, N, N), float64
        Symmetric; of at least four images. Their diagonals are of no effect.

    Returns
    -------
    ndarray of shape (T, T)
        HSIC of every pair. Being unbiased, it can be negative off the diagonal.
    """
    taps, n, _ = kernels.shape
    flat = _u_centred(kernels).reshape(taps, n * n)
    found: np.ndarray = flat @ flat.T / (n * (n - 3))
    return found


def cka(sums: np.ndarray) -> np.ndarray:
    """Normalise HSIC: centred kernel alignment.

    Parameters
    ----------
    sums : ndarray of shape (T, T)
        HSIC of every pair, averaged or summed over batches.

    Returns
    -------
    ndarray of shape (T, T)
        1 on the diagonal; NaN in rows and columns of kernels that do not vary.
    """
    sizes = _sizes(np.diag(sums))
    found: np.ndarray = sums / (sizes[:, None] * sizes[None, :])
    return found


def interval(
    parts: np.ndarray, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap CKA over batches: the 95 % percentile interval.

    Parameters
    ----------
    parts : ndarray of shape (B, T, T)
        HSIC of every pair in every batch.
    count : int
        Resamples: each draws B batches with replacement, the same for all pairs.
    generator : numpy.random.Generator
        Draws them.

    Returns
    -------
    low, high : ndarray of shape (T, T)
        NaN for fewer than ten batches, whose resamples are too few kinds for an interval, or no
        resamples.
    """
    batches, taps, _ = parts.shape
    low, high = np.full((2, taps, taps), np.nan)
    if batches < LEAST_BATCHES or count < 1:
        return low, high
    draws = generator.multinomial(batches, np.full(batches, 1 / batches), size=count)
    sizes = _sizes(draws @ np.diagonal(parts, axis1=1, axis2=2))
    # row by row: all resamples of all pairs at once would be large
    for row in range(taps):
        values = draws @ parts[:, row] / (sizes[:, row, None] * sizes)
        low[row], high[row] = np.percentile(values, _INTERVAL, axis=0)
    return low, high


def _u_centred(kernels: np.ndarray) -> np.ndarray:
    """Centre kernels so that the mean over pairs of different images is what is taken away."""
    n = kernels.shape[-1]
    apart = ~np.eye(n, dtype=bool)
    values = np.where(apart, kernels, 0.0)
    rows = values.sum(axis=-1, keepdims=True) / (n - 2)
    every = rows.sum(axis=-2, keepdims=True) / (n - 1)
    found: np.ndarray = np.where(apart, values - rows - rows.swapaxes(-1, -2) + every, 0.0)
    return found


def _sizes(own: np.ndarray) -> np.ndarray:
    """Square roots of a kernel's HSIC with itself; NaN where there is none."""
    found: np.ndarray = np.sqrt(np.where(own > 0, own, np.nan))
    return found
