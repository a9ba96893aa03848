"""Photos pass through networks, and a few numbers of each are kept; a pass can be stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vizkit.distributed import every, gather
from vizkit.errors import InputError
from vizkit.files import printable
from vizkit.images import Images, Transform
from vizkit.models import Classifier
from vizkit.outcomes import NUMBERS, checked, logits_of, outcomes, prediction_table
from vizkit.provenance import short_hash, transform_words
from vizkit.results import Evaluation
from vizkit.resuming import Resumable
from vizkit.streaming import Batch


@dataclass(eq=False)
class Pass(Resumable):
    """Some networks, some photos, and what is known of them so far.

    Attributes
    ----------
    folders : list of str
        The class of each photo, as its folder or table names it.
    own : list of Tensor of shape (images,), int64
        For each network, which output that is.
    among : list of Tensor of shape (S,), int64, or None
        For each network, the outputs that it may choose among; None for all.
    numbers : ndarray of shape (networks, numbers, images)
        As in `NUMBERS`; NaN where this process counted none.
    """

    what = "evaluation"

    folders: list[str]
    own: list[Tensor]
    among: list[Tensor | None]

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = len(self.classifiers), len(NUMBERS), len(self.images)
        self.numbers = np.full(shape, math.nan)
        self.outputs = np.zeros(len(self.classifiers), dtype=np.int64)

    def result(self, published: pd.DataFrame | None = None) -> Evaluation:
        """Join what all processes know.

        Parameters
        ----------
        published : DataFrame, optional
            Figures to put beside.

        Returns
        -------
        Evaluation
            The same in all processes, and the same as of one alone.

        Raises
        ------
        InputError
            If no photo can be read.
        """
        for places, part in every(self._own_numbers()):
            self.numbers[:, :, places] = part
        failed = gather(self.failed)
        outputs = np.max(every(self.outputs), axis=0)
        kept = np.flatnonzero(~np.isnan(self.numbers[0, 0]))
        if not len(kept):
            reasons = "; ".join(list(failed.values())[:3])
            raise InputError(f"none of the {len(self.images)} photos can be read: {reasons}")
        table = prediction_table(
            self.classifiers,
            [self.images.photos[n].name for n in kept],
            [self.classifiers[0].class_name(int(n)) for n in self.own[0][kept]],
            self.numbers[:, :, kept],
        )
        folders = [self.folders[n] for n in kept] * len(self.classifiers)
        table.insert(table.columns.tolist().index("label"), "folder", folders)
        names = [each.name for each in self.classifiers]
        lost = [(_path(self.images, n), failed[str(n)]) for n in sorted(map(int, failed))]
        return Evaluation(
            table,
            failed=pd.DataFrame(lost, columns=["file", "reason"]),
            transforms={each.name: _words(each) for each in self.classifiers},
            outputs=dict(zip(names, outputs.tolist(), strict=True)),
            published=published,
        )

    def _count(self, batch: Batch) -> None:
        positions = list(batch.positions)
        # all networks first: nothing waits for a GPU before it has all its work
        for n, logits in enumerate(logits_of(self.classifiers, batch.inputs)):
            own, among = self.own[n][positions], self.among[n]
            values = checked(self.classifiers[n], logits, own)
            self.numbers[n][:, positions] = outcomes(values, own, among)
            self.outputs[n] = values.shape[1] if among is None else len(among)

    def _own_numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Where this process counted photos, and what."""
        places = np.flatnonzero(~np.isnan(self.numbers[0, 0]))
        return places, self.numbers[:, :, places]

    def _tensors(self) -> dict[str, Tensor]:
        return {
            "numbers": torch.from_numpy(self.numbers),
            "outputs": torch.from_numpy(self.outputs),
        }

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        self.numbers, self.outputs = (tensors[name].numpy() for name in ("numbers", "outputs"))

    def _own_facts(self) -> dict[str, Any]:
        some = [None if each is None else short_hash([*map(str, each)]) for each in self.among]
        return {"what": self.what, "among": some, "labels": short_hash(self.folders)}


def _path(images: Images, position: int) -> str:
    return printable(images.photos[position].path)


def _words(classifier: Classifier) -> str:
    known = isinstance(classifier.transform, Transform)
    return str(classifier.transform) if known else transform_words(classifier.transform)
