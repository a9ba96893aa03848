"""What excites each channel most among an explorer's photos, for all channels at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vizkit.errors import InputError
from vizkit.forward import ran, recorded
from vizkit.images import Images
from vizkit.models import Classifier
from vizkit.results import Axis, Tap
from vizkit.statistics.best import Best
from vizkit.streaming import Batch, stream
from vizkit.widgets.looking import Step
from vizkit.widgets.packing import Buffer
from vizkit.widgets.scene import Photos, Scene

# patches of a channel
K = 9
# photos that are searched: all of them are kept as pixels, and may be sent to the browser
MOST = 200
_BATCH = 8


def search(classifiers: Sequence[Classifier], places: Axis, photos: Images, step: Step) -> Scene:
    """Find the places in photos where each channel of each place is greatest.

    They are those of `vizkit.top_patches`, of which only the pictures are not cut here: whoever
    shows a channel cuts its own.

    Parameters
    ----------
    classifiers : sequence of Classifier
        The networks.
    places : Axis
        Where each is read.
    photos : Images
        What to search; of more than 200, the first.
    step : callable
        Told what is done.

    Returns
    -------
    Scene
        k; photos: names; searched, listed and failed: how many; models: for each, its pictures
        (by photo, None where it is not among the best) and for each place where its table
        begins, or None. A table is four arrays (C, k) of four bytes: photo (-1: there is none),
        row and column as int32, value as float32.

    Raises
    ------
    InputError
        If no photo can be read, or an activation is not finite.
    """
    found = _Search(classifiers, places)
    searched = Images(photos.photos[:MOST])
    failed = 0
    for batch in stream(classifiers, searched, size=_BATCH, workers=0):
        done = batch.number * _BATCH
        step(f"searching photo {done + 1} of {len(searched)}", done / len(searched))
        found.update(batch, searched)
        failed += len(batch.failed)
    if failed == len(searched):
        raise InputError(f"none of the {failed} photos can be read")
    return found.scene(searched, {"listed": len(photos), "failed": failed})


@dataclass(eq=False)
class _Search:
    classifiers: Sequence[Classifier]
    places: Axis
    views: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bests = {
            each.name: {tap: Best(tap, None, K) for tap in self._taps(each).values()}
            for each in self.classifiers
        }

    def _taps(self, classifier: Classifier) -> Mapping[int | str, Tap]:
        return self.places.taps[classifier.name]

    def update(self, batch: Batch, photos: Images) -> None:
        """Run the networks on some photos, and keep what they saw."""
        if not batch.positions:
            return
        known: dict[int, np.ndarray] = {}
        for which, (each, inputs) in enumerate(zip(self.classifiers, batch.inputs, strict=True)):
            # networks of one transform share their input
            if id(inputs) not in known:
                known[id(inputs)] = batch.seen(which, each, photos).pixels
            for position, pixels in zip(batch.positions, known[id(inputs)], strict=True):
                self.views[each.name, position] = pixels
            self._run(each, inputs, batch.positions)

    def _run(self, classifier: Classifier, inputs: Any, positions: Sequence[int]) -> None:
        bests = self.bests[classifier.name]
        if not bests:
            return
        with recorded(classifier.module, list(bests), inputs) as (recorder, _):
            for tap in ran(list(bests), recorder):
                bests[tap].update(recorder.outputs[tap], positions)

    def scene(self, photos: Images, counts: dict[str, int]) -> Scene:
        """Describe what was found."""
        buffer = Buffer()
        pictures = Photos(buffer)
        models = [self._model(each, len(photos), buffer, pictures) for each in self.classifiers]
        meta = {
            "k": K,
            "photos": [photo.name for photo in photos],
            "searched": len(photos),
            **counts,
            "models": models,
            "pictures": pictures.listed,
            "bytes": buffer.size,
        }
        return Scene(meta, buffer.joined())

    def _model(
        self, classifier: Classifier, count: int, buffer: Buffer, pictures: Photos
    ) -> dict[str, Any]:
        bests = self.bests[classifier.name]
        taps = [self._taps(classifier).get(place) for place in self.places.places]
        cells = [None if tap is None else buffer.add(_table(bests[tap])) for tap in taps]
        shown = {n for best in bests.values() for n in best.images.flatten().tolist()}
        views = [
            pictures.add(self.views[classifier.name, n]) if n in shown else None
            for n in range(count)
        ]
        return {"pictures": views, "cells": cells}


def _table(best: Best) -> np.ndarray:
    whole = (best.images, best.rows, best.columns)
    numbers = [each.numpy().astype("<i4") for each in whole]
    values = best.values.numpy().astype("<f4")
    # one array, whose last part is to be read as another kind of number
    return np.stack([*numbers, values.view("<i4")])
