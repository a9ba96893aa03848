"""Photos pass through networks, and a few numbers of each are kept; a pass can be stopped."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from vizkit.distributed import every, gather, place
from vizkit.errors import InputError
from vizkit.images import Images, Transform, printable
from vizkit.models import Classifier
from vizkit.outcomes import NUMBERS, checked, logits_of, outcomes, prediction_table
from vizkit.provenance import fingerprint, short_hash, transform_words, weights_hash
from vizkit.results import Evaluation
from vizkit.storing import check_processes, load_state, save_state, state_file
from vizkit.streaming import Batch, stream

# seconds of work that a stopped pass may lose; more where storing itself takes long
SAVE_EVERY = 5.0
_SHARE = 50
_QUIET = 20


@dataclass(eq=False)
class Pass:
    """Some networks, some photos, and what is known of them so far.

    Attributes
    ----------
    classifiers : list of Classifier
        The networks.
    images : Images
        All photos.
    folders : list of str
        The class of each photo, as its folder or table names it.
    own : list of Tensor of shape (images,), int64
        For each network, which output that is.
    among : list of Tensor of shape (S,), int64, or None
        For each network, the outputs that it may choose among; None for all.
    batch_size : int
        Photos in one forward pass.
    done : int
        Batches that this process has counted.
    failed : dict of str to str
        Positions of the photos that could not be read, and why.
    numbers : ndarray of shape (networks, numbers, images)
        As in `NUMBERS`; NaN where this process counted none.
    """

    classifiers: list[Classifier]
    images: Images
    folders: list[str]
    own: list[Tensor]
    among: list[Tensor | None]
    batch_size: int
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    state: Path | None = None
    saved: float = -math.inf
    took: float = 0.0

    def __post_init__(self) -> None:
        self.rank, self.world = place()
        total = -(-len(self.images) // self.batch_size)
        # every process takes each world-th batch
        self.batches = range(self.rank, total, self.world)
        shape = len(self.classifiers), len(NUMBERS), len(self.images)
        self.numbers = np.full(shape, math.nan)
        self.outputs = np.zeros(len(self.classifiers), dtype=np.int64)

    def keep_in(self, folder: Path, resume: bool) -> None:
        """Store what is known in a folder from now on; go on from what is there."""
        self.facts = self._facts()
        self.state = state_file(folder, self.rank, self.world)
        if resume:
            check_processes(folder, self.world)
        if resume and self.state.exists():
            tensors, progress = load_state(self.state, self.facts, self._tensors())
            self.numbers, self.outputs = (tensors[name].numpy() for name in ("numbers", "outputs"))
            self.done, self.failed = progress["done"], progress["failed"]

    def go(self, workers: int | None) -> None:
        """Count all photos that have not been counted yet."""
        total = len(self.images)
        quiet = total * len(self.classifiers) < _QUIET or self.rank > 0
        before = min(self.done * self.world * self.batch_size, total)
        left = self.batches[self.done :]
        with tqdm(
            total=total, initial=before, desc="evaluation", unit="image", disable=quiet
        ) as bar:
            for batch in stream(
                self.classifiers, self.images, size=self.batch_size, workers=workers, only=left
            ):
                self._count(batch)
                self.done += 1
                if time.monotonic() - self.saved >= max(SAVE_EVERY, _SHARE * self.took):
                    self._save()
                bar.update(min(self.batch_size * self.world, total - bar.n))
        self._save()

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
        start = batch.number * self.batch_size
        missing = set(range(start, min(start + self.batch_size, len(self.images))))
        for position in sorted(missing - set(batch.positions)):
            self.failed[str(position)] = batch.failed[_path(self.images, position)]
        if not batch.positions:
            return
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

    def _save(self) -> None:
        if self.state is None:
            return
        started = time.monotonic()
        counted = len(self._own_numbers()[0])
        progress = {"done": self.done, "counted": counted, "failed": self.failed}
        save_state(self.state, self._tensors(), progress, self.facts)
        self.saved = time.monotonic()
        self.took = self.saved - started

    def _tensors(self) -> dict[str, Tensor]:
        return {
            "numbers": torch.from_numpy(self.numbers),
            "outputs": torch.from_numpy(self.outputs),
        }

    def _facts(self) -> dict[str, Any]:
        """Name everything that decides the numbers."""
        some = [None if each is None else short_hash([*map(str, each)]) for each in self.among]
        return {
            "what": "evaluation",
            "models": [each.name for each in self.classifiers],
            "weights": [weights_hash(each.module)[:16] for each in self.classifiers],
            "transforms": [transform_words(each.transform) for each in self.classifiers],
            "classes": [short_hash(each.classes) for each in self.classifiers],
            "device": [str(each.device) for each in self.classifiers],
            "torch": str(torch.__version__),
            "batch_size": self.batch_size,
            "among": some,
            "processes": self.world,
            "labels": short_hash(self.folders),
            "images": f"{len(self.images)}: {fingerprint(self.images)}",
        }


def _path(images: Images, position: int) -> str:
    return printable(images.photos[position].path)


def _words(classifier: Classifier) -> str:
    known = isinstance(classifier.transform, Transform)
    return str(classifier.transform) if known else transform_words(classifier.transform)
