"""Where networks part: their predictions and maps for the same images, counted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vizkit.errors import InputError, choice
from vizkit.results.chance import mcnemar
from vizkit.results.judged import Judged
from vizkit.results.tables import titled

RANKINGS = ("divergence", "maps")


@dataclass(frozen=True, eq=False, repr=False)
class Disagreement(Judged):
    """What two or more networks say of the same images, and how far they differ.

    Attributes
    ----------
    predictions, failed, transforms
        As `vizkit.results.Judged`.
    ranking : DataFrame
        One row per image, the most disputed first: image, position (among the images given, from
        0), label, explained (the class that the maps explain), classes (different predictions),
        divergence (generalised Jensen-Shannon divergence of the models' probabilities of the
        classes that they share, by the logarithm of the number of models, in [0, 1]; Lin,
        "Divergence measures based on the Shannon entropy", IEEE Transactions on Information
        Theory 1991), maps (1 less the mean rank correlation of the maps of every pair of models
        at `stage`, in [0, 2]; NaN without), pairs (that this is the mean over: a map that is the
        same everywhere agrees with nothing) and score (what it is ranked by).
    agreement : DataFrame
        One row per pair of models and stage, averaged over images: model_a, model_b, stage,
        stride, spearman, ssim, iou, n (images with both maps), as `vizkit.agreement`.
    stages : DataFrame
        Where maps were compared: model, stage, stride.
    stage : str or None
        The last stage that all models have.
    method : str or None
        Who made the maps, in words; None where none were asked for.
    """

    ranking: pd.DataFrame
    agreement: pd.DataFrame
    stages: pd.DataFrame
    stage: str | None = None
    method: str | None = None

    def ranked(self, by: str = "divergence") -> pd.DataFrame:
        """Rank the images, the most disputed first.

        Parameters
        ----------
        by : "divergence" or "maps"
            How far predictions differ, or maps.

        Returns
        -------
        DataFrame
            As ``ranking``; images without a number come last, equal ones in the order given.

        Raises
        ------
        InputError
            If the name is unknown, or no image has maps that can be compared.
        """
        choice("ranking", by, RANKINGS)
        if self.ranking[by].isna().all():
            raise InputError(f"no ranking by {by}: {self._why_no_maps()}")
        table = self.ranking.assign(score=self.ranking[by]).sort_values("position")
        ordered = table.sort_values("score", ascending=False, kind="stable", na_position="last")
        return ordered.reset_index(drop=True)

    def flips(self, a: str, b: str) -> pd.DataFrame:
        """List the images that one of two models gets right and the other wrong.

        Parameters
        ----------
        a, b : str
            Names of models.

        Returns
        -------
        DataFrame
            image, label, a, b, right, wrong (which of them is which), class_a, probability_a,
            class_b, probability_b. First come those of which both models are sure: ordered by the
            lesser of the two probabilities.

        Raises
        ------
        InputError
            If a model is unknown, or the images' own classes are not known.
        """
        self._require_labels("flips")
        one, other = self._of(a), self._of(b)
        both = pd.DataFrame({
            "image": one["image"],
            "label": one["label"],
            "a": a,
            "b": b,
            "right": np.where(one["right"].astype(bool), a, b),
            "wrong": np.where(one["right"].astype(bool), b, a),
            "class_a": one["class"],
            "probability_a": one["probability"],
            "class_b": other["class"],
            "probability_b": other["probability"],
        })  # fmt: skip
        kept = both[(one["right"] != other["right"]).to_numpy()]
        lesser = kept[["probability_a", "probability_b"]].min(axis=1)
        order = lesser.sort_values(ascending=False, kind="stable").index
        return kept.loc[order].reset_index(drop=True)

    def flip_counts(self) -> pd.DataFrame:
        """Count flips between every two models, and whether chance could explain them.

        Returns
        -------
        DataFrame
            One row per pair: a, b, only_a, only_b (right alone), both, neither, p (two-sided
            exact test of McNemar, that a and b are right equally often; of each pair by itself,
            not adjusted for their number).

        Raises
        ------
        InputError
            If the images' own classes are not known.
        """
        self._require_labels("flips")
        right = {model: self._of(model)["right"].to_numpy(bool) for model in self.models}
        rows = []
        for a, b in itertools.combinations(self.models, 2):
            only_a, only_b = int((right[a] & ~right[b]).sum()), int((right[b] & ~right[a]).sum())
            rows.append(
                {
                    "a": a,
                    "b": b,
                    "only_a": only_a,
                    "only_b": only_b,
                    "both": int((right[a] & right[b]).sum()),
                    "neither": int((~right[a] & ~right[b]).sum()),
                    "p": mcnemar(only_a, only_b),
                }
            )
        return pd.DataFrame(rows)

    def _why_no_maps(self) -> str:
        if self.method is None:
            return "no maps were asked for"
        if self.stage is None:
            return "the models have no stage in common"
        return "no two maps can be compared, for they are the same everywhere"

    def __repr__(self) -> str:
        several = int((self.ranking["classes"] > 1).sum())
        words = f"they predict different classes for {several} of {self.images} images"
        if self.labelled:
            scores = self.scores()
            words += f"; right: {_spread(scores['accuracy'])}"
        if self.method is not None and self.stage is not None:
            words += f"; {self.method} compared up to {self.stage}"
        if len(self.failed):
            words += f"; {len(self.failed)} unreadable"
        return f"Disagreement of {', '.join(self.models)}: {words}"

    def _repr_html_(self) -> str:
        return titled(repr(self), self.ranking.head(20).round(3))


def _spread(shares: pd.Series) -> str:
    low, high = f"{shares.min():.0%}", f"{shares.max():.0%}"
    return low if low == high else f"{low.rstrip('%')} to {high}"
