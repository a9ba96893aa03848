"""Receptive fields in theory, and in effect: where the gradient by the input lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.errors import InputError, whole
from vizkit.forward import ran, recorded
from vizkit.images import Images, as_images, prepare
from vizkit.interrupts import surely
from vizkit.memory import in_parts
from vizkit.models import Classifier, as_classifiers
from vizkit.results import ReceptiveFields, Seen, Tap
from vizkit.stages import find_stages
from vizkit.statistics.places import Window, columns_of, windows
from vizkit.streaming import stream

# the share of a Gaussian within two standard deviations, as in the paper
MASS = 0.9545
# a graph holds every activation of the batch
BATCH_SIZE = 8


def receptive_fields(
    model: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any],
    images: object,
    at: str | Sequence[str | Tap] = "stages",
    *,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
) -> ReceptiveFields:
    """Measure how much of the input the central place of each map sees, in theory and in effect.

    The effective field is the mean over images of ``sum_colours |d (sum_channels y) / dx|`` with
    y at the central place (h // 2, w // 2). Its size is the side of the square as large as the
    smallest set of pixels that holds 95.45 % of what lies in the theoretical field; what gates
    that pool over the whole map let in from elsewhere is reported as ``outside``.

    Luo et al., "Understanding the effective receptive field in deep convolutional neural
    networks", NeurIPS 2016, arXiv:1701.04128, count the pixels above 4.55 % of the largest
    instead: the same number where the field is Gaussian, but one that a single bright pixel can
    change. Max-pooling and ReLU let a different part of the field through for each photo, so
    that a few photos give too small a size.

    Parameters
    ----------
    model : model, list of models, or dict of str to model
        One or more networks; each photo is read once for all. They are left as they were.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Any number, better dozens: memory does not grow with it. Unreadable files are left out.
    at : "stages", "layers", or a list of names, paths or taps
        Where to read; see `find_stages`.
    batch_size : int
        Images per forward pass, and per backward pass of each tap.
    workers : int, optional
        Processes that read and resize ahead; 0 does it in this one.

    Returns
    -------
    ReceptiveFields
        A row per tap, and the maps.

    Raises
    ------
    InputError
        If a tap is unknown, a gradient is not finite, inputs have different sizes, or no image
        can be read.
    """
    batch_size = whole("batch_size", batch_size)
    everything = as_images(images)
    measures = [_Measure(each, find_stages(each, at)) for each in as_classifiers(model)]
    failed: dict[str, str] = {}
    first: int | None = None
    count, total = 0, len(everything)
    with tqdm(total=total, desc="fields", unit="image", disable=total < 20) as bar:
        owners = [measure.classifier for measure in measures]
        for batch in stream(owners, everything, size=batch_size, workers=workers):
            failed |= batch.failed
            if batch.positions:
                first = batch.positions[0] if first is None else first
                count += len(batch.positions)
                for measure, inputs in zip(measures, batch.inputs, strict=True):
                    measure.update(inputs)
            bar.update(len(batch))
    if first is None:
        raise InputError(f"none of the {total} images can be read: {failed}")
    return _result(measures, everything[first], count, failed)


def effective_size(gradient: np.ndarray) -> float:
    """Side of the square as large as the smallest set of pixels that holds 95.45 % of a map.

    Parameters
    ----------
    gradient : ndarray of shape (H, W)
        Not negative.

    Returns
    -------
    float
        In pixels; NaN for a map of zeros.
    """
    held = np.sort(gradient, axis=None)[::-1].cumsum()
    if not held.size or not held[-1]:
        return math.nan
    return math.sqrt(int(np.searchsorted(held, MASS * held[-1])) + 1)


class _Measure:
    """The sums of one network's gradients."""

    def __init__(self, classifier: Classifier, taps: Sequence[Tap]) -> None:
        self.classifier = classifier
        self.taps = list(dict.fromkeys(taps))
        self.places: dict[Tap, tuple[int, int]] = {}
        self.sums: dict[Tap, Tensor] = {}
        self.size: tuple[int, int] | None = None

    def update(self, inputs: Tensor) -> None:
        """Add the gradients of some inputs, (N, 3, H, W): one pass, and back from each tap."""
        size = inputs.shape[-2], inputs.shape[-1]
        if self.size not in {None, size}:
            raise InputError(f"inputs of one call must share one size, not {self.size} and {size}")
        self.size = size
        for strengths in in_parts(lambda part: self._strengths(inputs[part]), len(inputs)):
            # one image after the other, so that the sum does not depend on the batches
            for tap, strength in strengths.items():
                for each in strength:
                    self.sums[tap] = self.sums[tap] + each if tap in self.sums else each.clone()

    def _strengths(self, inputs: Tensor) -> dict[Tap, Tensor]:
        """Absolute gradients by the pixels, (N, H, W), on the CPU."""
        with surely(torch.inference_mode(mode=False)):
            pixels = inputs.clone().requires_grad_()
        found = {}
        with recorded(self.classifier.module, self.taps, pixels, detach=False) as (recorder, _):
            for tap in ran(self.taps, recorder):
                maps = recorder.outputs[tap]
                self.places[tap] = row, column = maps.shape[-2] // 2, maps.shape[-1] // 2
                # the images do not mix, so that one backward pass serves them all
                score = maps[:, :, row, column].sum()
                (gradient,) = torch.autograd.grad(score, pixels, retain_graph=True)
                found[tap] = self._strength(tap, gradient)
        return found

    def maps(self, count: int) -> dict[str, np.ndarray]:
        """Mean of each tap's gradients, by label."""
        return {tap.label: (self.sums[tap] / count).numpy() for tap in self.taps}

    def windows(self) -> dict[Tap, Window]:
        """Compute what each tap's places see in theory."""
        return windows(self.classifier.module, self.taps, self.size or (0, 0))

    def _strength(self, tap: Tap, gradient: Tensor) -> Tensor:
        if not gradient.isfinite().all():
            raise InputError(f"{self.classifier.name}: the gradient of {tap.label} is not finite")
        return gradient.abs().sum(dim=1).cpu().double()


def _result(
    measures: list[_Measure], first: Images, count: int, failed: dict[str, str]
) -> ReceptiveFields:
    rows: list[dict[str, Any]] = []
    maps: dict[str, dict[str, np.ndarray]] = {}
    boxes: dict[str, dict[str, tuple[int, int, int, int]]] = {}
    seen: dict[str, Seen] = {}
    for measure in measures:
        classifier, places = measure.classifier, measure.windows()
        name = classifier.name
        maps[name] = measure.maps(count)
        boxes[name] = {tap.label: places[tap].box(*measure.places[tap]) for tap in measure.taps}
        _, seen[name] = prepare(first, classifier.transform)
        for tap in measure.taps:
            inside = places[tap].clipped(*measure.places[tap])
            numbers = _numbers(maps[name][tap.label], places[tap].size, inside)
            rows.append({**columns_of(classifier, tap), **numbers})
    return ReceptiveFields(
        frame=pd.DataFrame(rows)[["model", "stride", "layer", "role", *_NUMBERS]],
        maps=maps,
        boxes=boxes,
        seen=seen,
        images=count,
        failed=pd.DataFrame(list(failed.items()), columns=["file", "reason"]),
    )


_NUMBERS = ("theoretical", "clipped", "effective", "share", "outside")


def _numbers(
    gradient: np.ndarray, size: tuple[int, int] | None, inside: tuple[int, int, int, int]
) -> dict[str, float]:
    """Compute the sizes of one tap's fields."""
    theoretical = math.nan if size is None else math.sqrt(size[0] * size[1])
    x0, y0, x1, y1 = inside
    clipped = math.sqrt((x1 - x0) * (y1 - y0))
    # gates are left aside in both: what they let in is faint, but everywhere
    effective = effective_size(gradient[y0:y1, x0:x1])
    rest, everything = gradient.copy(), gradient.sum()
    rest[y0:y1, x0:x1] = 0
    outside = rest.sum() / everything if everything else math.nan
    share = effective / theoretical
    return dict(zip(_NUMBERS, (theoretical, clipped, effective, share, outside), strict=True))
