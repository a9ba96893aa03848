"""Where networks part: their predictions and maps for the same images, counted."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from vizkit.errors import InputError, unknown, whole
from vizkit.results.chance import mcnemar, wilson
from vizkit.results.tables import titled

RANKINGS = ("divergence", "maps")
ECE_BINS = 15


@dataclass(frozen=True, eq=False, repr=False)
class Disagreement:
    """What two or more networks say of the same images, and how far they differ.

    Attributes
    ----------
    predictions : DataFrame
        One row per model and image: model, image, label (name of its class; None without), class
        (predicted), index, probability (of the predicted class among the model's own), right
        (bool; None without a label), own (probability of the label), brier (squared error of
        all probabilities, in [0, 2]), nll (negative logarithm of ``own``, in nats); the last
        three are NaN without a label.
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
    failed : DataFrame
        Images that could not be read: file, reason.
    transforms : dict of str to str
        What each network's photos go through, in words.
    """

    predictions: pd.DataFrame
    ranking: pd.DataFrame
    agreement: pd.DataFrame
    stages: pd.DataFrame
    stage: str | None = None
    method: str | None = None
    failed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["file", "reason"]))
    transforms: dict[str, str] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the networks, in the order given."""
        return tuple(self.predictions["model"].unique())

    @property
    def images(self) -> int:
        """How many images were counted."""
        return len(self.ranking)

    @property
    def labelled(self) -> bool:
        """Whether the images' own classes are known."""
        return bool(self.ranking["label"].notna().all())

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes of the images, in the order in which they occur."""
        return tuple(self.predictions["label"].dropna().unique())

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
        if by not in RANKINGS:
            raise unknown("ranking", by, RANKINGS)
        if self.ranking[by].isna().all():
            raise InputError(f"no ranking by {by}: {self._why_no_maps()}")
        table = self.ranking.assign(score=self.ranking[by]).sort_values("position")
        ordered = table.sort_values("score", ascending=False, kind="stable", na_position="last")
        return ordered.reset_index(drop=True)

    def scores(self, bins: int = ECE_BINS) -> pd.DataFrame:
        """Count how often each model is right, and whether it knows.

        Parameters
        ----------
        bins : int
            Of equal width, for the calibration error.

        Returns
        -------
        DataFrame
            One row per model: model, n, accuracy, low, high (95 % Wilson interval), confidence
            (mean probability of the predicted class), ece (expected calibration error: mean
            distance of accuracy and confidence over bins of confidence, each counted by its
            images; Guo et al., "On calibration of modern neural networks", ICML 2017), brier
            (mean squared error of the probabilities, in [0, 2]) and nll (mean, in nats).

        Raises
        ------
        InputError
            If the images' own classes are not known, or ``bins`` is no number of bins.
        """
        table = self.calibration(bins)
        gaps = table["n"] * (table["accuracy"] - table["confidence"]).abs()
        rows = []
        for model, own in self.predictions.groupby("model", sort=False):
            n, hits = len(own), int(own["right"].sum())
            low, high = wilson(hits, n)
            rows.append(
                {
                    "model": model,
                    "n": n,
                    "accuracy": hits / n,
                    "low": low,
                    "high": high,
                    "confidence": own["probability"].mean(),
                    "ece": gaps[table["model"] == model].sum() / n,
                    "brier": own["brier"].mean(),
                    "nll": own["nll"].mean(),
                }
            )
        return pd.DataFrame(rows)

    def calibration(self, bins: int = 10) -> pd.DataFrame:
        """Compare how sure each model is with how often it is right.

        Parameters
        ----------
        bins : int
            Intervals of confidence, of equal width from 0 to 1.

        Returns
        -------
        DataFrame
            One row per model and bin: model, low, high (of the bin, which holds its upper end),
            n, confidence (mean), accuracy, accuracy_low, accuracy_high (95 % Wilson interval);
            NaN in empty bins.

        Raises
        ------
        InputError
            If the images' own classes are not known, or ``bins`` is no number of bins.
        """
        whole("bins", bins)
        self._require_labels("calibration")
        edges = np.linspace(0, 1, bins + 1)
        rows = []
        for model, own in self.predictions.groupby("model", sort=False):
            sure, right = own["probability"].to_numpy(), own["right"].to_numpy(bool)
            # rounding may take the most sure a hair beyond 1
            numbers = np.searchsorted(edges, sure, side="left").clip(1, bins) - 1
            for number in range(bins):
                inside = numbers == number
                n, hits = int(inside.sum()), int(right[inside].sum())
                low, high = wilson(hits, n)
                rows.append(
                    {
                        "model": model,
                        "low": edges[number],
                        "high": edges[number + 1],
                        "n": n,
                        "confidence": sure[inside].mean() if n else math.nan,
                        "accuracy": hits / n if n else math.nan,
                        "accuracy_low": low,
                        "accuracy_high": high,
                    }
                )
        return pd.DataFrame(rows)

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

    def confusion(self, model: str | None = None) -> pd.DataFrame:
        """Count which class is taken for which.

        Parameters
        ----------
        model : str, optional
            One network; by default all.

        Returns
        -------
        DataFrame
            model, label, class (predicted), n, for all that occur.

        Raises
        ------
        InputError
            If the model is unknown, or the images' own classes are not known.
        """
        self._require_labels("confusion")
        rows = self.predictions if model is None else self._of(model)
        # a network may write the same class in another way
        said = rows["class"].where(~rows["right"].astype(bool), rows["label"])
        table = rows.assign(**{"class": said})
        counts = table.groupby(["model", "label", "class"], sort=False).size()
        return counts.rename("n").reset_index()

    def _of(self, model: str) -> pd.DataFrame:
        """Predictions of one network, image by image."""
        if model not in self.models:
            raise unknown("model", model, self.models)
        return self.predictions[self.predictions["model"] == model].reset_index(drop=True)

    def _require_labels(self, what: str) -> None:
        if not self.labelled:
            raise InputError(
                f"no {what} without the images' own classes: give a folder with one folder a "
                "class, such as photos/church/"
            )

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
