"""What networks say of images whose classes are known: how often they are right, and how sure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from vizkit.errors import InputError, choice, whole
from vizkit.results.chance import wilson

ECE_BINS = 15
_MOST_BINS = 10_000


@dataclass(frozen=True, eq=False, repr=False)
class Judged:
    """Predictions of one or more networks for the same images.

    Attributes
    ----------
    predictions : DataFrame
        One row per model and image: model, image, label (name of its class; None without), class
        (predicted), index, probability (of the predicted class among the model's own), right
        (bool; None without a label), rank (of the label among the model's classes, from 1), own
        (probability of the label), brier (squared error of all probabilities, in [0, 2]), nll
        (negative logarithm of ``own``, in nats); the last four are NaN without a label.
    failed : DataFrame
        Images that could not be read: file, reason.
    transforms : dict of str to str
        What each network's photos go through, in words.
    """

    predictions: pd.DataFrame
    failed: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["file", "reason"]), kw_only=True
    )
    transforms: dict[str, str] = field(default_factory=dict, kw_only=True)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the networks, in the order given."""
        return tuple(self.predictions["model"].unique())

    @property
    def images(self) -> int:
        """How many images were counted."""
        return len(self.predictions) // max(1, len(self.models))

    @property
    def labelled(self) -> bool:
        """Whether the images' own classes are known."""
        return bool(self.predictions["label"].notna().all())

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes of the images, in the order in which they occur."""
        return tuple(self.predictions["label"].dropna().unique())

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
        bins = whole("bins", bins, most=_MOST_BINS)
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
        choice("model", model, self.models)
        return self.predictions[self.predictions["model"] == model].reset_index(drop=True)

    def _require_labels(self, what: str) -> None:
        if not self.labelled:
            raise InputError(
                f"no {what} without the images' own classes: give a folder with one folder a "
                "class, such as photos/church/"
            )
