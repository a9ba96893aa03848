"""How well a linear classifier reads the class from each stage's feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from tqdm.auto import tqdm

from vizkit.errors import InputError, whole
from vizkit.forward import BATCH_SIZE, ran, recorded
from vizkit.images import Images
from vizkit.memory import in_parts
from vizkit.models import Classifier, as_classifiers
from vizkit.results import LinearProbe, Tap
from vizkit.results.chance import wilson
from vizkit.stages import find_stages
from vizkit.statistics.ridge import fit
from vizkit.statistics.splits import labelled
from vizkit.streaming import Batch, stream

# a thumbnail of the photo stands for no network at all
SIDE = 8
PIXELS = Tap("pixels", "", "input", 0, 3 * SIDE * SIDE)


def linear_probe(
    models: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any],
    folder: str | Path,
    at: str | Sequence[str | Tap] = "stages",
    *,
    folds: int = 5,
    test: str | Path | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    random_state: int = 0,
) -> LinearProbe:
    """Measure how well a linear classifier reads the class from each stage's feature maps.

    Alain and Bengio, "Understanding intermediate layers using linear classifier probes"
    (arXiv:1610.01644): here on maps averaged over places, by ridge regression on one-hot
    targets in closed form. Photos are read once for all networks; of each photo and tap only
    the C means are kept, in float32: 4 C bytes.

    Features are standardised and the penalty is chosen (by leave-one-out) within the photos
    that a classifier learns from: those that it is tested on play no part.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Names, modules or classifiers.
    folder : str or Path
        One folder of photos a class; any classes, not only those of the networks.
    at : "stages", "layers", or a list of names, paths or taps
        Where to read; see `find_stages`.
    folds : int
        Parts of a stratified cross-validation, in which each photo is tested once.
    test : str or Path, optional
        Another folder of the same classes: learn from all of ``folder``, test on this one.
    batch_size : int
        Photos per forward pass.
    workers : int, optional
        Processes that read photos ahead; see `vizkit.streaming.stream`.
    random_state : int
        Seed of the parts of the cross-validation, which are the same at every tap.

    Returns
    -------
    LinearProbe
        Accuracy with its 95 % Wilson interval by model and tap. The interval counts photos as
        independent: of cross-validation, whose parts share most of what they learn from, it is
        approximate. The first row is the same classifier on the pixels of an 8 x 8 thumbnail
        of what the first network sees.

    Raises
    ------
    InputError
        If there are fewer than two class folders, a class has fewer photos than there are
        folds, the test folder has other classes or the same files, or maps are not finite.
    """
    folds = whole("folds", folds, least=2)
    random_state = whole("random_state", random_state, least=0)
    photos = labelled(folder, test)
    photos.check(folds)
    classifiers = as_classifiers(models)
    taps = [find_stages(classifier, at) for classifier in classifiers]
    pooled = _pooled(classifiers, taps, photos.images, batch_size, workers)
    # once more: some may not have been readable
    photos = photos.only(pooled.positions)
    photos.check(folds)
    parts = photos.parts(folds, random_state)
    rows = [
        {**_where(name, tap), **_accuracy(features, photos.numbers, parts)}
        for name, tap, features in pooled.table()
    ]
    return LinearProbe(
        frame=pd.DataFrame(rows),
        classes=photos.classes,
        folds=0 if photos.is_test.any() else folds,
        trained=round(sum(len(learnt) for learnt, _ in parts) / len(parts)),
        failed=pd.DataFrame(list(pooled.failed.items()), columns=["file", "reason"]),
    )


@dataclass(eq=False)
class _Pooled:
    """Feature maps averaged over places, batch after batch."""

    positions: list[int] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    features: dict[tuple[str, Tap], list[Tensor]] = field(default_factory=dict)

    def add(self, model: str, tap: Tap, features: Tensor) -> None:
        """Keep one batch (N, C) of one tap."""
        if not features.isfinite().all():
            raise InputError(f"{model} gives NaN or infinity at {tap.label}")
        self.features.setdefault((model, tap), []).append(features.float().cpu())

    def table(self) -> list[tuple[str, Tap, np.ndarray]]:
        """All photos (N, C) of each tap."""
        return [
            (model, tap, np.concatenate([part.numpy() for part in parts]))
            for (model, tap), parts in self.features.items()
        ]


def _pooled(
    classifiers: Sequence[Classifier],
    taps: Sequence[Sequence[Tap]],
    images: Images,
    size: int,
    workers: int | None,
) -> _Pooled:
    pooled = _Pooled()
    total = len(images)
    with tqdm(total=total, desc="probe", unit="image", disable=total < 20) as bar:
        for batch in stream(classifiers, images, size=size, workers=workers):
            pooled.failed |= batch.failed
            if batch.positions:
                pooled.positions += batch.positions
                _add(pooled, classifiers, taps, batch)
            bar.update(len(batch))
    return pooled


def _add(
    pooled: _Pooled,
    classifiers: Sequence[Classifier],
    taps: Sequence[Sequence[Tap]],
    batch: Batch,
) -> None:
    # the normalisation of the input makes no difference to standardised features
    thumbnails = adaptive_avg_pool2d(batch.inputs[0].float(), SIDE)
    pooled.add("pixels", PIXELS, thumbnails.flatten(1))
    for classifier, own, inputs in zip(classifiers, taps, batch.inputs, strict=True):
        for means in in_parts(partial(_means, classifier, own, inputs), len(inputs)):
            for tap, mean in means.items():
                pooled.add(classifier.name, tap, mean)


def _means(
    classifier: Classifier, taps: Sequence[Tap], inputs: Tensor, part: slice
) -> dict[Tap, Tensor]:
    with recorded(classifier.module, taps, inputs[part]) as (recorder, _):
        return {
            tap: recorder.outputs[tap].float().mean(dim=(-2, -1)) for tap in ran(taps, recorder)
        }


def _accuracy(
    features: np.ndarray, numbers: np.ndarray, parts: Sequence[tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """Learn from some photos and test on the others, for each part."""
    exact = features.astype(np.float64)
    tested = np.concatenate([test for _, test in parts])
    hits, penalties = 0, []
    for learnt, test in parts:
        ridge = fit(exact[learnt], numbers[learnt], int(numbers.max()) + 1)
        hits += int((ridge.scores(exact[test]).argmax(axis=1) == numbers[test]).sum())
        penalties.append(ridge.penalty)
    low, high = wilson(hits, len(tested))
    return {
        "features": features.shape[1],
        "accuracy": hits / len(tested),
        "low": low,
        "high": high,
        "n": len(tested),
        "chance": np.bincount(numbers[tested]).max() / len(tested),
        "penalty": float(np.median(penalties)),
    }


def _where(model: str, tap: Tap) -> dict[str, Any]:
    return {"model": model, "stride": tap.stride, "layer": tap.layer, "role": tap.role}
