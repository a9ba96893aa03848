"""Stream images through networks and accumulate statistics at every tap."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vizkit.distributed import agree, gather
from vizkit.errors import InputError, NotFiniteWarning, flags, whole
from vizkit.files import printable
from vizkit.forward import BATCH_SIZE, consumed, ran, recorded
from vizkit.images import as_images
from vizkit.interrupts import surely
from vizkit.linear import LinearHeads
from vizkit.memory import in_parts
from vizkit.models import Classifier, as_classifiers
from vizkit.provenance import (
    write_manifest,
)
from vizkit.results import StageStatistics, Tap
from vizkit.resuming import Resumable
from vizkit.stages import find_stages
from vizkit.statistics.distributed import reduce
from vizkit.statistics.frames import bin_frame, channel_frame, tap_frame
from vizkit.statistics.planning import Plan, planned
from vizkit.statistics.registry import ACCUMULATORS, STATISTICS, Accumulator
from vizkit.statistics.sample import PLACES, Sample
from vizkit.statistics.storing import write_tables
from vizkit.storing import (
    forget_states,
    run_folder,
)
from vizkit.streaming import Batch


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
    flags(resume=resume)
    # sums made in the user's inference mode could not be added to
    with surely(torch.inference_mode(mode=False)):
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
    places = None if places is None else whole("places", places)
    batch_size = whole("batch_size", batch_size)
    classifiers = as_classifiers(models)
    photos = as_images(images)
    taps = [find_stages(each, at) for each in classifiers]
    plan = planned(classifiers, photos, statistics, taps)
    return Run(classifiers, photos, batch_size, plan, places)


@dataclass(eq=False)
class Run(Resumable):
    """Sums of all networks while images go by.

    Attributes
    ----------
    plan : Plan
        What is counted where.
    places : int or None
        Places of each map that costly statistics look at; None for all.
    """

    what = "statistics"

    plan: Plan
    places: int | None

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
        for classifier, table, inputs, targets in zip(
            self.classifiers, self.plan.tables, batch.inputs, self.plan.targets, strict=True
        ):
            count = partial(
                self._count_some, classifier.module, table, inputs, batch.positions, targets
            )
            in_parts(count, len(inputs))

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

    def _count_some(
        self,
        module: nn.Module,
        table: dict[Tap, list[Accumulator]],
        inputs: Tensor,
        positions: tuple[int, ...],
        targets: Tensor | None,
        part: slice,
    ) -> None:
        """Count some of a batch, or nothing: what failed for want of memory is done again."""
        counting = [accumulator for row in table.values() for accumulator in row]
        before = [{k: v.clone() for k, v in each.state().items()} for each in counting]
        try:
            # logits are not counted: their head may be run as it is fastest
            with surely(LinearHeads(gates=False)):
                self._count_one(module, table, inputs[part], positions[part], targets)
        except RuntimeError:
            for accumulator, sums in zip(counting, before, strict=True):
                accumulator.restore(sums)
            raise

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

    def _tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}/{key}": value
            for name, accumulator in self._named()
            for key, value in accumulator.state().items()
        }

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        for name, accumulator in self._named():
            own = accumulator.state()
            accumulator.restore({key: tensors[f"{name}/{key}"] for key in own})

    def _own_facts(self) -> dict[str, Any]:
        return {
            "taps": [[tap.label for tap in table] for table in self.plan.tables],
            "statistics": self.plan.wanted,
            "places": self.places,
            "loss": self.plan.loss,
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
