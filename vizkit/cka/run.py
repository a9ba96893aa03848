"""Stream images through several networks and compare every tap with every other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.cka.gram import gram_of
from vizkit.cka.hsic import LEAST, cka, hsic, interval
from vizkit.cka.kernels import KERNELS
from vizkit.cka.shelf import Shelf
from vizkit.errors import InputError, choice, positive, whole
from vizkit.forward import BATCH_SIZE, ran, recorded
from vizkit.images import Images, as_images
from vizkit.interrupts import surely
from vizkit.linear import LinearHeads
from vizkit.memory import in_parts
from vizkit.models import Classifier, as_classifiers
from vizkit.provenance import transform_words
from vizkit.results import Similarity, Tap
from vizkit.stages import find_stages
from vizkit.streaming import Batch, stream

_QUIET = 20
# all of them are drawn at once
_MOST_RESAMPLES = 100_000


def similarity(
    models: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any],
    images: object,
    at: str | Sequence[str | Tap] = "stages",
    *,
    kernel: str = "linear",
    bandwidth: float = 1.0,
    batch_size: int = 64,
    bootstrap: int = 200,
    random_state: int = 0,
    workers: int | None = None,
) -> Similarity:
    """Measure how similar the feature maps of every two taps of one or more networks are.

    Centred kernel alignment (CKA; Kornblith et al., arXiv:1905.00414): 1 where two taps find the
    same images alike, whatever the rotation, reflection and scale of their features. Features
    are whole maps, flattened (C * h * w), so that places count. HSIC is the unbiased estimate,
    averaged over minibatches (Nguyen, Raghu and Kornblith, arXiv:2010.15327), so that the
    number of images in a batch does not push similarity up. Values of unrelated taps therefore
    lie around 0, on both sides, and those of nearly equal ones may exceed 1 slightly; neither
    is clipped.

    All networks see every image once. Images are shuffled first: in a sorted folder, a batch
    would be of one class, and say nothing about the others. Kept are 8 T^2 bytes per
    batch for T taps in all, and the maps of one batch of the largest network: for 64 photos and
    the stages of VGG at 224 pixels 1.6 GB.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Names, modules or classifiers.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Any number from four up. Unreadable files are left out and listed.
    at : "stages", "layers", or a list of names, paths or taps
        Where to read; see `find_stages`.
    kernel : "linear" or "rbf"
        Inner products, or likeness that falls off with distance.
    bandwidth : float
        Of ``"rbf"``, as a fraction of the median distance between two images of a batch.
    batch_size : int
        The most images that are compared with each other at a time, at least 4; fewer, where
        batches become more even. A batch with fewer than four readable images is left out.
    bootstrap : int
        Resamples of the batches for the interval, at most 100,000; 0 for none.
    random_state : int
        Seed of the order of the images, and of the resamples.
    workers : int, optional
        Processes that read photos ahead; see `vizkit.streaming.stream`.

    Returns
    -------
    Similarity
        Matrix of all pairs with a 95 % percentile bootstrap interval over batches, which is NaN
        if there are fewer than ten. Taps whose maps are the same for all images are NaN.

    Raises
    ------
    InputError
        If there are fewer than four readable images, a tap or kernel is unknown, or maps are not
        finite.
    """
    choice("kernel", kernel, KERNELS)
    positive("bandwidth", bandwidth)
    whole("batch_size", batch_size, least=LEAST)
    whole("bootstrap", bootstrap, least=0, most=_MOST_RESAMPLES)
    whole("random_state", random_state, least=0)
    classifiers = as_classifiers(models)
    taps = [list(dict.fromkeys(find_stages(each, at))) for each in classifiers]
    generator = np.random.default_rng(random_state)
    photos = _shuffled(as_images(images), generator)
    sums = _Sums(classifiers, taps, kernel, bandwidth)
    sums.add_all(photos, batch_size, workers)
    parts = sums.checked(len(photos))
    low, high = interval(parts, bootstrap, generator)
    return Similarity(
        matrix=cka(parts.sum(axis=0)),
        labels=_labels(classifiers, taps),
        low=low,
        high=high,
        images=sums.counted,
        batches=len(parts),
        kernel=kernel,
        bandwidth=bandwidth if kernel == "rbf" else None,
        left_out=sums.left_out,
        failed=pd.DataFrame(list(sums.failed.items()), columns=["file", "reason"]),
        transforms={each.name: transform_words(each.transform) for each in classifiers},
    )


@dataclass(eq=False)
class _Sums:
    """HSIC of all pairs of taps, batch after batch."""

    classifiers: Sequence[Classifier]
    taps: Sequence[Sequence[Tap]]
    kernel: str
    bandwidth: float
    shelf: Shelf = field(default_factory=Shelf)
    parts: list[np.ndarray] = field(default_factory=list)
    counted: int = 0
    left_out: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def add_all(self, images: Images, most: int, workers: int | None) -> None:
        """Read all images once."""
        total = len(images)
        size = _even(total, most)
        with tqdm(total=total, desc="similarity", unit="image", disable=total < _QUIET) as bar:
            for batch in stream(self.classifiers, images, size=size, workers=workers):
                self._add(batch)
                bar.update(len(batch))

    def checked(self, total: int) -> np.ndarray:
        """HSIC (B, T, T) of each batch, if there is any."""
        if self.parts:
            return np.stack(self.parts)
        found = total - len(self.failed)
        raise InputError(
            f"similarity takes at least {LEAST} readable images in a batch, here are {found} in all"
        )

    def _add(self, batch: Batch) -> None:
        self.failed |= batch.failed
        count = len(batch.positions)
        if count < LEAST:
            self.left_out += count
            return
        kernels = [
            KERNELS[self.kernel](products, self.bandwidth)
            for classifier, own, inputs in zip(
                self.classifiers, self.taps, batch.inputs, strict=True
            )
            for products in _grams(classifier, own, inputs, self.shelf)
        ]
        # a batch counts by its images
        self.parts.append(count * hsic(np.stack(kernels)))
        self.counted += count


def _grams(
    classifier: Classifier, taps: Sequence[Tap], inputs: Tensor, shelf: Shelf
) -> Iterator[np.ndarray]:
    """Run a network on a batch, and give the inner products of its images at each tap."""
    count, first = len(inputs), 0
    maps: dict[Tap, Tensor] = {}
    # few images at a time: intermediate maps stay small, and it is faster
    for few in torch.split(inputs, BATCH_SIZE):
        put = partial(_put, classifier, taps, few, shelf, first, count)
        for kept in in_parts(put, len(few)):
            maps |= kept
        first += len(few)
    for tap in taps:
        products = gram_of(maps[tap])
        if not np.isfinite(products).all():
            raise InputError(f"{classifier.name} gives NaN or infinity at {tap.label}")
        yield products


def _put(
    classifier: Classifier,
    taps: Sequence[Tap],
    inputs: Tensor,
    shelf: Shelf,
    first: int,
    count: int,
    part: slice,
) -> dict[Tap, Tensor]:
    """Run a network on some images, and put their maps at their places on the shelf."""
    # logits are not compared: their head may be run as it is fastest
    heads = surely(LinearHeads(gates=False))
    with heads, recorded(classifier.module, taps, inputs[part]) as (recorder, _):
        kept = {
            tap: shelf.put(taps.index(tap), first + part.start, recorder.outputs[tap], count)
            for tap in ran(taps, recorder)
        }
        recorder.clear()
    return kept


def _shuffled(images: Images, generator: np.random.Generator) -> Images:
    return Images(tuple(images.photos[n] for n in generator.permutation(len(images))))


def _even(total: int, most: int) -> int:
    """Choose the size of batches so that the last is about as large as the others."""
    batches = max(1, -(-total // most))
    return max(LEAST, -(-total // batches))


def _labels(classifiers: Sequence[Classifier], taps: Sequence[Sequence[Tap]]) -> pd.DataFrame:
    # where a layer is read at several roles, its name alone does not tell them apart
    several = any(len({tap.name for tap in own}) < len(own) for own in taps)
    rows = [
        {
            "model": classifier.name,
            "tap": tap.label if several else tap.name,
            "stride": tap.stride,
            "layer": tap.layer,
            "role": tap.role,
        }
        for classifier, own in zip(classifiers, taps, strict=True)
        for tap in own
    ]
    return pd.DataFrame(rows)
