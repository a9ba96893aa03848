"""What is kept of each image while networks are compared: numbers of predictions and of maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vizkit.attribution import agreement
from vizkit.comparing.classes import SharedClasses, shared_classes
from vizkit.errors import InputError
from vizkit.images import Images
from vizkit.models import Classifier
from vizkit.outcomes import checked, outcomes, prediction_table
from vizkit.results import Attributions

_MEASURES = ("spearman", "ssim", "iou")


def divergence(probabilities: Tensor) -> Tensor:
    """Measure how far several distributions differ, in [0, 1].

    The generalised Jensen-Shannon divergence with equal weights, entropy of the mean less mean of
    the entropies, by its largest value, the logarithm of the number of distributions. Lin,
    "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory
    1991.

    Parameters
    ----------
    probabilities : Tensor of shape (M, N, S)
        Of M networks for N images; they sum to 1 over the S classes.

    Returns
    -------
    Tensor of shape (N,)
        0 where all are equal, 1 where no two have a class in common.
    """
    of_mean = torch.special.entr(probabilities.mean(dim=0)).sum(dim=-1)
    mean_of = torch.special.entr(probabilities).sum(dim=-1).mean(dim=0)
    # rounding may take it a hair beyond its ends
    share: Tensor = (of_mean - mean_of) / math.log(len(probabilities))
    return share.clamp(0, 1)


@dataclass(eq=False)
class PredictionTally:
    """What each network says of each image.

    Attributes
    ----------
    classifiers : sequence of Classifier
        The networks.
    images : Images
        All images.
    own : list of Tensor of shape (images,) or None
        For each network, which output is the own class of each image, if that is known.
    """

    classifiers: Sequence[Classifier]
    images: Images
    own: list[Tensor] | None
    positions: list[int] = field(default_factory=list)
    _shared: SharedClasses | None = None
    # for each batch (networks, numbers, images)
    _numbers: list[np.ndarray] = field(default_factory=list)
    _divergence: list[np.ndarray] = field(default_factory=list)
    _explained: list[str] = field(default_factory=list)

    def add(self, positions: Sequence[int], logits: Sequence[Tensor]) -> list[Tensor]:
        """Count some images, and choose which class of each is explained.

        Parameters
        ----------
        positions : sequence of int
            Where they stand among all.
        logits : sequence of Tensor of shape (N, K)
            One per network.

        Returns
        -------
        list of Tensor of shape (N, 1), int64
            For each network, which output it is: the images' own classes, or, where they are not
            known, the most probable on average of those that all networks know.

        Raises
        ------
        InputError
            If logits are not finite, or the networks share fewer than two classes.
        """
        own = None if self.own is None else [each[list(positions)] for each in self.own]
        known: Sequence[Tensor | None] = own or [None] * len(self.classifiers)
        outputs = [*map(checked, self.classifiers, logits, known)]
        self._shared = self._shared or _shared_by(self.classifiers, outputs)
        self.positions += positions
        self._numbers.append(np.stack([*map(outcomes, outputs, known)]))
        shares = self._shared.probabilities(outputs)
        self._divergence.append(divergence(shares).numpy())
        best = shares.mean(dim=0).argmax(dim=1)
        if own is None:
            self._explained += [self._shared.names[n] for n in best.tolist()]
            return [index[best][:, None] for index in self._shared.indices]
        self._explained += [self.classifiers[0].class_name(n) for n in own[0].tolist()]
        return [each[:, None] for each in own]

    def predictions(self) -> pd.DataFrame:
        """Make the table with one row per model and image; see `Disagreement`."""
        names = [self.images.photos[position].name for position in self.positions]
        labels = None if self.own is None else self._explained
        return prediction_table(self.classifiers, names, labels, self._joined())

    def ranking(self) -> pd.DataFrame:
        """Make the table with one row per image, in the order given, without maps."""
        names = [self.images.photos[position].name for position in self.positions]
        return pd.DataFrame(
            {
                "image": names,
                "position": self.positions,
                "label": pd.Series(
                    [None] * len(names) if self.own is None else self._explained, dtype=object
                ),
                "explained": self._explained,
                "classes": self._different(),
                "divergence": np.concatenate(self._divergence),
            }
        )

    def _joined(self) -> np.ndarray:
        """Numbers of all images: (networks, numbers, images)."""
        return np.concatenate(self._numbers, axis=2)

    def _different(self) -> list[int]:
        """Count the classes that are predicted for each image, by name."""
        said = [
            # a class that is right is the same, whatever a network calls it
            ["" if rank == 1 else each.class_name(int(n)) for n, rank in rows.T]
            for each, rows in zip(self.classifiers, self._joined()[:, :2], strict=True)
        ]
        return [len(set(names)) for names in zip(*said, strict=True)]


@dataclass(eq=False)
class MapTally:
    """How far the maps of each two networks agree.

    Attributes
    ----------
    by_stride : bool
        Whether stages are joined on stride; else on their name, where the stride is the same.
    strides : dict of str to dict of str to int
        Of each network, each stage's stride.
    """

    by_stride: bool
    strides: dict[str, dict[str, int]] = field(default_factory=dict)
    # (model, model, stage): sums of the measures, and of how many images
    _sums: dict[tuple[str, str, str], np.ndarray] = field(default_factory=dict)
    _distances: list[float] = field(default_factory=list)
    _pairs: list[int] = field(default_factory=list)

    def add(self, found: Sequence[Attributions]) -> None:
        """Count the maps of some images.

        Parameters
        ----------
        found : sequence of Attributions
            One per network, by one method, of one class of each image.
        """
        joined = [_by_stride(each) for each in found] if self.by_stride else found
        for each in joined:
            self.strides.setdefault(each.model, _strides_of(each))
        for n in range(len(joined[0].seen)):
            table = agreement([each.select(n) for each in joined], same_stage=True)
            self._count(table)

    @property
    def last(self) -> str | None:
        """The last stage that all networks have; None if there is none."""
        if not self.strides:
            return None
        first, *others = self.strides.values()
        common = [
            stage
            for stage, stride in first.items()
            if all(own.get(stage) == stride for own in others)
        ]
        # of several at one stride, the last
        return max(reversed(common), key=lambda stage: first[stage], default=None)

    def to_ranking(self) -> dict[str, Any]:
        """Give the columns of the ranking that are about maps."""
        return {"maps": self._distances or math.nan, "pairs": self._pairs or 0}

    def agreement(self) -> pd.DataFrame:
        """Make the table with one row per pair and stage; see `Disagreement`."""
        rows = []
        for (a, b, stage), (*sums, n) in self._sums.items():
            means = [total / n if n else math.nan for total in sums]
            rows.append((a, b, stage, self.strides[a][stage], *means, int(n)))
        names = ["model_a", "model_b", "stage", "stride", *_MEASURES, "n"]
        return pd.DataFrame(rows, columns=names)

    def stages(self) -> pd.DataFrame:
        """List where maps were compared; see `Disagreement`."""
        rows = [
            (model, stage, stride)
            for model, own in self.strides.items()
            for stage, stride in own.items()
        ]
        return pd.DataFrame(rows, columns=["model", "stage", "stride"])

    def _count(self, table: pd.DataFrame) -> None:
        """Add one image's agreement."""
        columns = ["model_a", "model_b", "stage_a", *_MEASURES, "n"]
        last, ranks = self.last, []
        for a, b, stage, *measures, n in table[columns].itertuples(index=False, name=None):
            if self.strides[a][stage] != self.strides[b][stage]:
                continue
            sums = self._sums.setdefault((a, b, stage), np.zeros(len(_MEASURES) + 1))
            if n:
                sums += [*measures, n]
                ranks += [measures[0]] if stage == last else []
        self._distances.append(1 - float(np.mean(ranks)) if ranks else math.nan)
        self._pairs.append(len(ranks))


def _shared_by(classifiers: Sequence[Classifier], outputs: Sequence[Tensor]) -> SharedClasses:
    shared = shared_classes(classifiers, [each.shape[1] for each in outputs])
    if len(shared.names) < 2:
        found = f"only {shared.names[0]!r}" if shared.names else "none"
        raise InputError(
            f"networks can disagree about classes that all of them know, here {found}: give them "
            "the same names of classes in load or wrap"
        )
    return shared


def _by_stride(found: Attributions) -> Attributions:
    """Name the maps of stages after their stride; of several at one stride, the last counts."""
    keys = {key: f"stride{tap.stride}" for tap in found.taps for key in (tap.label, tap.name)}
    taps = {keys[tap.name]: replace(tap, name=keys[tap.name]) for tap in found.taps}
    values = {
        method: {keys.get(key, key): each for key, each in own.items()}
        for method, own in found.values.items()
    }
    return replace(found, values=values, taps=tuple(taps.values()))


def _strides_of(found: Attributions) -> dict[str, int]:
    """Strides of the stages that have a map; what is as fine as the input has stride 1."""
    known = {key: tap.stride for tap in found.taps for key in (tap.name, tap.label)}
    return {key: known.get(key, 1) for own in found.values.values() for key in own}
