"""Stream images through networks and accumulate statistics at every tap."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from vizkit.distributed import agree, gather, place
from vizkit.errors import InputError, NotFiniteWarning, whole
from vizkit.forward import BATCH_SIZE, consumed, ran, recorded
from vizkit.images import Images, as_images, printable
from vizkit.models import Classifier, as_classifiers
from vizkit.provenance import (
    fingerprint,
    short_hash,
    transform_words,
    weights_hash,
    write_manifest,
)
from vizkit.results import StageStatistics, Tap
from vizkit.stages import find_stages
from vizkit.statistics.distributed import reduce
from vizkit.statistics.frames import bin_frame, channel_frame, tap_frame
from vizkit.statistics.planning import Plan, planned
from vizkit.statistics.registry import ACCUMULATORS, STATISTICS, Accumulator
from vizkit.statistics.sample import PLACES, Sample
from vizkit.statistics.storing import write_tables
from vizkit.storing import (
    check_processes,
    forget_states,
    load_state,
    run_folder,
    save_state,
    state_file,
)
from vizkit.streaming import Batch, stream

# seconds of work that a stopped run may lose; more where storing itself takes long
SAVE_EVERY = 5.0
_SHARE = 50
_QUIET = 20


def describe(
    models: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any],
    images: object,
    statistics: str | Sequence[str] | None = None,
    at: str | Sequence[str | Tap] = "stages",
    *,
    places: int | None = PLACES,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
) -> StageStatistics:
    """Describe the feature maps of one or more networks over images.

    Every photo is read once for all networks. Memory does not grow with the number of images.
    In processes started by ``torchrun`` and joined in a group, each takes its share of the batches
    and all return the statistics of the whole.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Names, modules or classifiers.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Any number. Unreadable files are left out and listed. Photos in a folder of class folders
        bring their classes along.
    statistics : str or list of str, optional
        Names in `STATISTICS`, or ``"all"``; by default those that are nearly free.
    at : "stages", "layers", "gates", or a list of names, paths or taps
        Where to read; see `find_stages`.
    places : int or None
        Places of each map that shape, histogram and covariance look at, drawn at random, the same
        for all channels and networks, other ones for each image; None for all. The other
        statistics always count every place.
    batch_size : int
        Images in one forward pass. Results do not depend on it beyond rounding.
    workers : int, optional
        Processes that read photos ahead; by default a few for large folders.
    out : str or Path, optional
        A folder for the tables (CSV and Parquet) and ``manifest.json``. While it runs, the sums so
        far are stored there every few seconds.
    resume : bool
        Go on from the sums in ``out``, if there are any: the results are the same to the last bit
        as those of a run that was not stopped.

    Returns
    -------
    StageStatistics
        Per tap (``frame``) and per channel (``channels``).

    Raises
    ------
    InputError
        If a statistic or tap is unknown, a statistic asked for by name exists nowhere here, no
        image can be read, or the sums in ``out`` are of another run.
    """
    # sums made in the user's inference mode could not be added to
    with torch.inference_mode(mode=False):
        run = prepared(models, images, statistics, at, places=places, batch_size=batch_size)
        folder = run_folder(out, resume)
        if folder is not None:
            run.keep_in(folder, resume)
        run.go(workers)
        found = run.result()
        if folder is not None:
            run.finish(folder, found)
    return found


def prepared(
    models: Any,
    images: object,
    statistics: str | Sequence[str] | None = None,
    at: str | Sequence[str | Tap] = "stages",
    *,
    places: int | None = PLACES,
    batch_size: int = BATCH_SIZE,
) -> Run:
    """Get everything ready to count, without looking at an image.

    Parameters
    ----------
    models, images, statistics, at, places, batch_size
        As for `describe`.

    Returns
    -------
    Run
        With empty sums.

    Raises
    ------
    InputError
        As `describe` does.
    """
    if places is not None:
        whole("places", places)
    whole("batch_size", batch_size)
    classifiers = as_classifiers(models)
    photos = as_images(images)
    taps = [find_stages(each, at) for each in classifiers]
    plan = planned(classifiers, photos, statistics, taps)
    return Run(classifiers, photos, plan, places and int(places), int(batch_size))


@dataclass
class Run:
    """Sums of all networks while images go by.

    Attributes
    ----------
    done : int
        Batches counted by this process.
    counted : int
        Images counted by this process.
    failed : dict of str to str
        Positions of the files that could not be read, and why.
    """

    classifiers: list[Classifier]
    images: Images
    plan: Plan
    places: int | None
    batch_size: int
    done: int = 0
    counted: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    state: Path | None = None
    saved: float = -math.inf
    took: float = 0.0

    def __post_init__(self) -> None:
        self.rank, self.world = place()
        total = -(-len(self.images) // self.batch_size)
        # every process takes each world-th batch
        self.batches = range(self.rank, total, self.world)

    def keep_in(self, folder: Path, resume: bool) -> None:
        """Store the sums in a folder from now on; go on from those that are there."""
        self.facts = self._facts()
        self.state = state_file(folder, self.rank, self.world)
        if resume:
            check_processes(folder, self.world)
        if resume and self.state.exists():
            tensors, progress = load_state(self.state, self.facts, self._sums())
            for name, accumulator in self._named():
                own = accumulator.state()
                accumulator.restore({key: tensors[f"{name}/{key}"] for key in own})
            self.done, self.counted = progress["done"], progress["counted"]
            self.failed = progress["failed"]

    def go(self, workers: int | None) -> None:
        """Count all images that have not been counted yet."""
        left = self.batches[self.done :]
        quiet = len(self.images) * len(self.classifiers) < _QUIET or self.rank > 0
        before = min(self.done * self.world * self.batch_size, len(self.images))
        with tqdm(
            total=len(self.images), initial=before, desc="statistics", unit="image", disable=quiet
        ) as bar:
            for batch in stream(
                self.classifiers, self.images, size=self.batch_size, workers=workers, only=left
            ):
                self._count(batch)
                self.done += 1
                if time.monotonic() - self.saved >= max(SAVE_EVERY, _SHARE * self.took):
                    self._save()
                bar.update(min(len(batch) * self.world, len(self.images) - bar.n))
        self._save()

    def add(self, maps: Sequence[Mapping[Tap, Tensor]], positions: tuple[int, ...]) -> None:
        """Count maps that were made elsewhere.

        Parameters
        ----------
        maps : sequence of mapping of Tap to Tensor of shape (N, C, h, w)
            One per network; without a graph.
        positions : tuple of int
            Where each image stands among all.
        """
        for table, own in zip(self.plan.tables, maps, strict=True):
            for tap in table:
                self._add(table, tap, own[tap], positions)
        self.counted += len(positions)

    def result(self) -> StageStatistics:
        """Join the sums of all processes and compute the statistics."""
        reduce([accumulator for _, accumulator in self._named()])
        failed = gather(self.failed)
        total = gather({str(self.rank): str(self.counted)})
        counted = sum(int(each) for each in total.values()) if self.world > 1 else self.counted
        if not counted:
            reasons = list(failed.values())[:3]
            raise InputError(f"none of the {len(self.images)} images can be read: {reasons}")
        lost = {
            printable(self.images.photos[n].path): failed[str(n)] for n in sorted(map(int, failed))
        }
        self._warn()
        wanted = self.plan.wanted
        words = f"{self.places} random places of each map" if self.places else ""
        return StageStatistics(
            frame=tap_frame(self.classifiers, self.plan.tables, wanted),
            channels=channel_frame(self.classifiers, self.plan.tables, wanted),
            images=counted,
            failed=pd.DataFrame(list(lost.items()), columns=["file", "reason"]),
            units={name: STATISTICS[name].replace("the loss", self.plan.loss) for name in wanted},
            distributions=bin_frame(self.classifiers, self.plan.tables),
            left_out=self.plan.left_out,
            sampling={name: words for name in wanted if ACCUMULATORS[name].sampled and words},
        )

    def finish(self, folder: Path, found: StageStatistics) -> None:
        """Write the tables, and take the stored sums away."""
        if self.rank == 0:
            files = write_tables(found, folder)
            options = {key: value for key, value in self.facts.items() if key != "images"}
            options |= {
                "counted": found.images,
                "sampling": found.sampling,
                "units": found.units,
            }
            write_manifest(folder, "vizkit stats", options, self.classifiers, self.images, files)
        agree()
        if self.rank == 0:
            # also those of a run that others shared, which this one began anew
            forget_states(folder)

    def _count(self, batch: Batch) -> None:
        self.failed |= self._failed_of(batch)
        if not batch.positions:
            return
        for classifier, table, inputs, targets in zip(
            self.classifiers, self.plan.tables, batch.inputs, self.plan.targets, strict=True
        ):
            self._count_one(classifier.module, table, inputs, batch.positions, targets)
        self.counted += len(batch.positions)

    def _failed_of(self, batch: Batch) -> dict[str, str]:
        """Reasons by position: the same wherever the folder lies."""
        start = batch.number * self.batch_size
        own = range(start, min(start + self.batch_size, len(self.images)))
        missing = [n for n in own if n not in set(batch.positions)]
        files = dict.fromkeys(self.images.photos[n].path for n in missing)
        reasons = dict(zip(files, batch.failed.values(), strict=True))
        return {str(n): reasons[self.images.photos[n].path] for n in missing}

    def _warn(self) -> None:
        """Say where activations were no numbers: what is computed from them is none either."""
        odd = {
            name.split("/")[1]
            for name, accumulator in self._named()
            for value in accumulator.state().values()
            if not accumulator.backward and not torch.isfinite(value).all()
        }
        if odd:
            where = ", ".join(sorted(odd))
            warnings.warn(f"activations that are not finite at {where}", NotFiniteWarning, 3)

    def _count_one(
        self,
        module: nn.Module,
        table: dict[Tap, list[Accumulator]],
        inputs: Tensor,
        positions: tuple[int, ...],
        targets: Tensor | None,
    ) -> None:
        def count(tap: Tap, maps: Tensor, gradients: Tensor | None = None) -> None:
            self._add(table, tap, maps, positions, gradients)

        if not any(each.backward for row in table.values() for each in row):
            # counted as soon as they are made, maps need not be kept
            consumed(module, list(table), inputs, count)
            return
        own = None if targets is None else targets[torch.tensor(positions)]
        with recorded(module, list(table), inputs, detach=False, cut=True) as (record, logits):
            gradients = _gradients(record.outputs, logits, own)
            with torch.no_grad():
                for tap in ran(list(table), record):
                    count(tap, record.outputs[tap].detach(), gradients[tap])

    def _add(
        self,
        table: dict[Tap, list[Accumulator]],
        tap: Tap,
        maps: Tensor,
        positions: tuple[int, ...],
        gradients: Tensor | None = None,
    ) -> None:
        labels = None if self.plan.labels is None else self.plan.labels[torch.tensor(positions)]
        home = table[tap][0].site.device if table[tap] else maps.device
        sample = Sample(maps, positions, labels, gradients, self.places, home)
        for accumulator in table[tap]:
            accumulator.update(sample)

    def _named(self) -> Iterator[tuple[str, Accumulator]]:
        for n, table in enumerate(self.plan.tables):
            for tap, accumulators in table.items():
                for accumulator in accumulators:
                    yield f"{n}/{tap.label}/{tap.module}/{type(accumulator).__name__}", accumulator

    def _save(self) -> None:
        if self.state is None:
            return
        started = time.monotonic()
        progress = {"done": self.done, "counted": self.counted, "failed": self.failed}
        save_state(self.state, self._sums(), progress, self.facts)
        self.saved = time.monotonic()
        self.took = self.saved - started

    def _sums(self) -> dict[str, Tensor]:
        return {
            f"{name}/{key}": value
            for name, accumulator in self._named()
            for key, value in accumulator.state().items()
        }

    def _facts(self) -> dict[str, Any]:
        """Name everything that decides the sums."""
        return {
            "models": [each.name for each in self.classifiers],
            "weights": [weights_hash(each.module)[:16] for each in self.classifiers],
            "transforms": [transform_words(each.transform) for each in self.classifiers],
            "classes": [short_hash(each.classes) for each in self.classifiers],
            "taps": [[tap.label for tap in table] for table in self.plan.tables],
            "statistics": self.plan.wanted,
            "places": self.places,
            "device": [str(each.device) for each in self.classifiers],
            "torch": str(torch.__version__),
            "batch_size": self.batch_size,
            "loss": self.plan.loss,
            "processes": self.world,
            "images": f"{len(self.images)}: {fingerprint(self.images)}",
        }


def _gradients(
    outputs: dict[Tap, Tensor], logits: Tensor, targets: Tensor | None
) -> dict[Tap, Tensor]:
    wanted = logits.argmax(dim=1) if targets is None else targets.to(logits.device)
    loss = cross_entropy(logits.float(), wanted, reduction="sum")
    maps = list(outputs.values())
    # nothing depends on the maps, or the network runs without gradients: there is no number
    connected = loss.requires_grad and all(each.requires_grad for each in maps)
    found = torch.autograd.grad(loss, maps, allow_unused=True) if connected else [None] * len(maps)
    return {
        tap: torch.full_like(maps, torch.nan) if gradient is None else gradient
        for (tap, maps), gradient in zip(outputs.items(), found, strict=True)
    }
