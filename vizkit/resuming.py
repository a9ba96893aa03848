"""A pass of photos through networks, shared among processes, that can be stopped and goes on."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vizkit.distributed import place
from vizkit.files import printable
from vizkit.images import Images
from vizkit.models import Classifier
from vizkit.provenance import fingerprint, short_hash, transform_words, weights_hash
from vizkit.storing import check_processes, load_state, save_state, state_file
from vizkit.streaming import Batch, stream

# seconds of work that a stopped pass may lose; more where storing itself takes long
SAVE_EVERY = 5.0
SHARE = 50
_QUIET = 20


@dataclass(eq=False)
class Resumable(ABC):
    """Some networks, some photos, and how far they have come.

    What is known so far is held in tensors of a fixed size, so that it can be stored.

    Attributes
    ----------
    classifiers : list of Classifier
        The networks.
    images : Images
        All photos.
    batch_size : int
        Photos in one forward pass.
    done : int
        Batches that this process has counted.
    counted : int
        Photos that this process has counted.
    failed : dict of str to str
        Positions of the photos that could not be read, and why.
    """

    # what the progress bar says
    what: ClassVar[str]

    classifiers: list[Classifier]
    images: Images
    batch_size: int
    done: int = field(default=0, init=False)
    counted: int = field(default=0, init=False)
    failed: dict[str, str] = field(default_factory=dict, init=False)
    state: Path | None = field(default=None, init=False)
    saved: float = field(default=-math.inf, init=False)
    took: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.rank, self.world = place()
        total = -(-len(self.images) // self.batch_size)
        # every process takes each world-th batch
        self.batches = range(self.rank, total, self.world)

    @abstractmethod
    def _count(self, batch: Batch) -> None:
        """Count the photos of a batch that could be read; there are some."""

    @abstractmethod
    def _tensors(self) -> dict[str, Tensor]:
        """Give what is known so far."""

    @abstractmethod
    def _restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what was known."""

    @abstractmethod
    def _own_facts(self) -> dict[str, Any]:
        """Name what decides the numbers beside networks and photos."""

    def keep_in(self, folder: Path, resume: bool) -> None:
        """Store what is known in a folder from now on; go on from what is there."""
        self.facts = self._facts()
        self.state = state_file(folder, self.rank, self.world)
        if resume:
            check_processes(folder, self.world)
        if resume and self.state.exists():
            tensors, progress = load_state(self.state, self.facts, self._tensors())
            self._restore(tensors)
            self.done, self.counted = progress["done"], progress["counted"]
            self.failed = progress["failed"]

    def go(self, workers: int | None) -> None:
        """Count all photos that have not been counted yet."""
        total = len(self.images)
        quiet = total * len(self.classifiers) < _QUIET or self.rank > 0
        before = min(self.done * self.world * self.batch_size, total)
        left = self.batches[self.done :]
        with tqdm(total=total, initial=before, desc=self.what, unit="image", disable=quiet) as bar:
            for batch in stream(
                self.classifiers, self.images, size=self.batch_size, workers=workers, only=left
            ):
                self.failed |= self._failed_of(batch)
                if batch.positions:
                    self._count(batch)
                self.done += 1
                self.counted += len(batch.positions)
                if time.monotonic() - self.saved >= max(SAVE_EVERY, SHARE * self.took):
                    self._save()
                bar.update(min(len(batch) * self.world, total - bar.n))
        self._save()

    def _failed_of(self, batch: Batch) -> dict[str, str]:
        """Reasons by position: the same wherever the folder lies."""
        start = batch.number * self.batch_size
        own = range(start, min(start + self.batch_size, len(self.images)))
        missing = sorted(set(own) - set(batch.positions))
        return {str(n): batch.failed[printable(self.images.photos[n].path)] for n in missing}

    def _save(self) -> None:
        if self.state is None:
            return
        started = time.monotonic()
        progress = {"done": self.done, "counted": self.counted, "failed": self.failed}
        save_state(self.state, self._tensors(), progress, self.facts)
        self.saved = time.monotonic()
        self.took = self.saved - started

    def _facts(self) -> dict[str, Any]:
        """Name everything that decides the numbers."""
        return {
            "models": [each.name for each in self.classifiers],
            "weights": [weights_hash(each.module)[:16] for each in self.classifiers],
            "transforms": [transform_words(each.transform) for each in self.classifiers],
            "classes": [short_hash(each.classes) for each in self.classifiers],
            **self._own_facts(),
            "device": [str(each.device) for each in self.classifiers],
            "torch": str(torch.__version__),
            "batch_size": self.batch_size,
            "processes": self.world,
            "images": f"{len(self.images)}: {fingerprint(self.images)}",
        }
