"""Ridge regression in closed form, its penalty chosen by leave-one-out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# from hardly any to all but the class frequencies, per photo: features have variance 1
PENALTIES = np.logspace(4, -4, 17)
# spread below this share of the values is rounding of float32, not signal
_NOISE = 1e-6

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Ridge:
    """A linear classifier that was fitted by least squares with an L2 penalty.

    Attributes
    ----------
    centre, scale : ndarray of shape (F,)
        Subtracted from each feature and divided by; the scale of constant features is infinite.
    weights : ndarray of shape (F, K)
        For standardised features.
    offset : ndarray of shape (K,)
        Mean of the targets.
    penalty : float
        Of the squared weights, per photo.
    """

    centre: Array
    scale: Array
    weights: Array
    offset: Array
    penalty: float

    def scores(self, features: Array) -> Array:
        """Score each class: (N, F) to (N, K), about 1 for the class and 0 for the others."""
        scores: Array = (features - self.centre) / self.scale @ self.weights + self.offset
        return scores


def fit(features: Array, labels: Array, count: int) -> Ridge:
    """Fit a ridge classifier, its penalty chosen by leave-one-out on the same photos.

    Parameters
    ----------
    features : ndarray of shape (N, F)
        Any scale: they are standardised first; constant ones are given no weight.
    labels : ndarray of shape (N,), int
        Class of each, from 0.
    count : int
        Number of classes K.

    Returns
    -------
    Ridge
        That of the `PENALTIES` whose squared error on photos left out is the smallest.
    """
    centre, scale = _standard(features)
    targets = np.eye(count)[labels]
    spectrum = _Spectrum.of((features - centre) / scale, targets)
    errors = [(spectrum.residuals(penalty) ** 2).sum() for penalty in PENALTIES]
    penalty = float(PENALTIES[int(np.argmin(errors))])
    return Ridge(centre, scale, spectrum.weights(penalty), targets.mean(axis=0), penalty)


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """Standardised features X by their eigenvalues s: every penalty costs one product.

    With the penalty p, the fitted values are ``basis @ diag(gain / (s + p)) @ basis.T @ Y`` and
    the weights ``back @ diag(1 / (s + p)) @ basis.T @ Y``.
    """

    basis: Array
    gain: Array
    back: Array
    values: Array
    targets: Array

    @classmethod
    def of(cls, x: Array, targets: Array) -> _Spectrum:
        """Decompose whichever product of X with itself is the smaller."""
        n, features = x.shape
        centred = targets - targets.mean(axis=0)
        if n <= features:
            values, vectors = np.linalg.eigh(x @ x.T)
            values = values.clip(min=0)
            return cls(vectors, values, x.T @ vectors, values, centred)
        values, vectors = np.linalg.eigh(x.T @ x)
        return cls(x @ vectors, np.ones(features), vectors, values.clip(min=0), centred)

    def weights(self, penalty: float) -> Array:
        """Solve for the weights (F, K)."""
        shrunk = self.values + penalty * len(self.targets)
        weights: Array = self.back @ ((self.basis.T @ self.targets) / shrunk[:, None])
        return weights

    def residuals(self, penalty: float) -> Array:
        """Errors (N, K) of fits without the photo that they are tested on.

        Exact, from one fit: the error of a photo left out is its error over one minus its
        leverage (Allen 1974). The mean of the targets is refitted, too: hence 1 / N.
        """
        n = len(self.targets)
        share = self.gain / (self.values + penalty * n)
        fitted = self.basis @ (share[:, None] * (self.basis.T @ self.targets))
        leverage = self.basis**2 @ share + 1 / n
        residuals: Array = (self.targets - fitted) / (1 - leverage)[:, None]
        return residuals


def _standard(features: Array) -> tuple[Array, Array]:
    centre = features.mean(axis=0)
    spread = features.std(axis=0)
    constant = spread <= _NOISE * np.abs(features).max(axis=0, initial=0)
    return centre, np.where(constant, np.inf, spread)
