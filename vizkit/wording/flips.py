"""Whether one model is right more often than another by more than chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vizkit.results.chance import mcnemar

CHANCE = 0.05


@dataclass(frozen=True)
class Flips:
    """On which photos two models differ in being right.

    Attributes
    ----------
    photos : int
        How many photos both were judged on.
    first, second : int
        On how many photos only one of them is right.
    """

    photos: int
    first: int
    second: int

    @property
    def chance(self) -> float:
        """Two-sided p of the exact McNemar test: 1 where they never differ."""
        return mcnemar(self.first, self.second)

    def exceeds_chance(self, tests: int = 1) -> bool:
        """Whether it is more than chance at 5 %, where this is one of several tests."""
        return self.chance * tests < CHANCE

    def words(self, tests: int = 1) -> str:
        """Say whether it is more than chance."""
        verdict = "more than" if self.exceeds_chance(tests) else "within"
        high, low = sorted((self.first, self.second), reverse=True)
        return f"{verdict} chance: {high} against {low} photos"


def flips(predictions: pd.DataFrame, a: str, b: str) -> Flips:
    """Count the photos on which one of two models is right and the other is not.

    Parameters
    ----------
    predictions : DataFrame
        model, image, right; photos without a known class do not count.
    a, b : str
        The models.

    Returns
    -------
    Flips
        The first is ``a``.
    """
    one, other = beside(predictions, "right", a, b)
    first, second = one.astype(bool), other.astype(bool)
    return Flips(len(one), int((first & ~second).sum()), int((second & ~first).sum()))


def beside(predictions: pd.DataFrame, column: str, a: str, b: str) -> tuple[np.ndarray, np.ndarray]:
    """Put what two models say about the same photos beside each other.

    Parameters
    ----------
    predictions : DataFrame
        model, image and the column.
    column : str
        What they say; photos where either says nothing are left out.
    a, b : str
        The models.

    Returns
    -------
    (ndarray of shape (N,), ndarray of shape (N,))
        Of each model.
    """
    sides = []
    for model in (a, b):
        own = predictions[predictions["model"] == model]
        # photos in several folders may have one name
        number = own.groupby("image", sort=False).cumcount()
        keys = pd.MultiIndex.from_arrays([own["image"], number])
        sides.append(pd.Series(own[column].to_numpy(dtype=object), index=keys).dropna())
    one, other = sides[0].align(sides[1], join="inner")
    return one.to_numpy(dtype=object), other.to_numpy(dtype=object)
