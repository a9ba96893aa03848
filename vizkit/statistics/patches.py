"""The parts of photos that excite single channels most, searched in one pass.

A photo is gone when its batch is done, and read again at the end if a patch of it is among the
best.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.errors import InputError, index_of, listed, shown, whole
from vizkit.forward import BATCH_SIZE, ran, recorded
from vizkit.images import Images, Photo, Transform, as_images, prepare
from vizkit.memory import in_parts
from vizkit.models import Classifier, as_classifiers
from vizkit.results import Patches, Tap
from vizkit.stages import find_stages
from vizkit.statistics.best import Best
from vizkit.statistics.places import Window, columns_of, windows
from vizkit.streaming import stream

CHANNELS = 8
_BOX = ("x0", "y0", "x1", "y1")
_PHOTO = tuple(f"photo_{side}" for side in _BOX)
_CORNER = ("field_x0", "field_y0")


def top_patches(
    model: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any],
    folder: object,
    at: str | Sequence[str | Tap],
    channels: int | Sequence[int] | None = None,
    k: int = 9,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
) -> Patches:
    """Find the parts of photos that excite channels most: what a channel looks for.

    Of each photo only the place of a channel's greatest activation counts (the first of equal
    ones), and of photos with equal ones the first. The patch is that place's theoretical
    receptive field: all that the activation depends on, gates that pool over the whole map
    left aside. After Zeiler and Fergus, "Visualizing and understanding convolutional networks",
    ECCV 2014, arXiv:1311.2901.

    Parameters
    ----------
    model : model, list of models, or dict of str to model
        One or more networks; each photo is read once for all. They are left as they were.
    folder : path, folder, PIL image, array, tensor, Images, or a list of these
        Any number: memory does not grow with it. Unreadable files are left out and listed.
    at : name, path, Tap, or a list of these
        Where to read (``"stride8"``, ``"conv3_2"``, ``"conv3_2:act"``); see `find_stages`.
    channels : int or sequence of int, optional
        Which channels, the same of every network. By default the 8 whose greatest activation in
        a photo is largest on average; with several networks the same 8 for all that have the
        layer, each network counted in units of its own channels' mean.
    k : int
        Patches for each channel; fewer if there are fewer photos.
    batch_size : int
        Images per forward pass.
    workers : int, optional
        Processes that read and resize ahead; 0 does it in this one.

    Returns
    -------
    Patches
        A row and a crop for each patch, best first.

    Raises
    ------
    InputError
        If a tap or channel does not exist, an activation is not finite, inputs have different
        sizes, or no image can be read.
    """
    images = as_images(folder)
    # of each photo there is one patch
    k = min(whole("k", k), len(images))
    searches = [
        _Search(classifier, _bests(classifier, at, channels, k))
        for classifier in as_classifiers(model)
    ]
    counted, failed = _run(searches, images, batch_size, workers)
    if not counted:
        raise InputError(f"none of the {len(images)} images can be read: {failed}")
    if channels is None:
        _choose(searches)
    frame = pd.concat([search.table(images) for search in searches], ignore_index=True)
    return Patches(
        frame=frame,
        # the winning photos are read a second time: what the first pass read is gone
        crops=_crops(frame, {search.classifier.name: search for search in searches}, images),
        fields=pd.DataFrame([row for search in searches for row in search.fields()]),
        images=counted,
        failed=pd.DataFrame(list(failed.items()), columns=["file", "reason"]),
    )


class _Search:
    """The search in one network."""

    def __init__(self, classifier: Classifier, bests: list[Best]) -> None:
        self.classifier = classifier
        self.bests = bests
        self.size: tuple[int, int] | None = None

    def update(self, inputs: Tensor, images: Sequence[int]) -> None:
        """Run some inputs, (N, 3, H, W), and look at the maps."""
        size = inputs.shape[-2], inputs.shape[-1]
        if self.size not in {None, size}:
            raise InputError(f"inputs of one call must share one size, not {self.size} and {size}")
        self.size = size
        in_parts(lambda part: self._look(inputs[part], images[part]), len(inputs))

    def _look(self, inputs: Tensor, images: Sequence[int]) -> None:
        taps = [best.tap for best in self.bests]
        with recorded(self.classifier.module, taps, inputs) as (recorder, _):
            ran(taps, recorder)
            for best in self.bests:
                best.update(recorder.outputs[best.tap], images)

    @cached_property
    def windows(self) -> dict[Tap, Window]:
        """What the places of each tap see; known when the inputs are."""
        taps = [best.tap for best in self.bests]
        return windows(self.classifier.module, taps, self.size or (0, 0))

    def table(self, images: Images) -> pd.DataFrame:
        """One row per patch, best first; where it lies in the photo is not known yet."""
        seen = self.windows
        return pd.concat(
            [
                _rows(best, seen[best.tap], images).assign(**columns_of(self.classifier, best.tap))
                for best in self.bests
            ]
        )[_COLUMNS]

    def fields(self) -> list[dict[str, Any]]:
        """One row per tap: the size of its receptive field."""
        rows = []
        for tap, window in self.windows.items():
            height, width = window.size or (np.nan, np.nan)
            inputs = {"input_height": window.input[0], "input_width": window.input[1]}
            named = columns_of(self.classifier, tap)
            rows.append({**named, "height": height, "width": width, **inputs})
        return rows


_COLUMNS = [
    "model", "layer", "role", "stride", "channel", "rank", "value", "file", "image", "row",
    "column", *_BOX, *_PHOTO, *_CORNER,
]  # fmt: skip


def _bests(
    classifier: Classifier,
    at: str | Sequence[str | Tap],
    channels: int | Sequence[int] | None,
    k: int,
) -> list[Best]:
    """Begin a search at every tap, if the channels are there."""
    wanted = None if channels is None else listed(channels)
    if channels is not None and wanted is None:
        wanted = [channels]
    taps = dict.fromkeys(find_stages(classifier, at))
    if not taps or (wanted is not None and not len(wanted)):
        raise InputError("no taps to read" if not taps else "no channels: the list is empty")
    return [Best(tap, _checked(classifier, tap, wanted), k) for tap in taps]


def _checked(classifier: Classifier, tap: Tap, channels: Sequence[int] | None) -> list[int] | None:
    if channels is None:
        return None
    wrong = [each for each in channels if index_of(each) not in range(tap.channels)]
    if wrong:
        raise InputError(
            f"{tap.label} of {classifier.name} has channels 0 to {tap.channels - 1}, "
            f"not {shown(wrong[0])}"
        )
    return list(dict.fromkeys(int(each) for each in channels))


def _run(
    searches: list[_Search], images: Images, batch_size: int, workers: int | None
) -> tuple[int, dict[str, str]]:
    """Pass all images through all networks; count those that could be read, list the others."""
    failed: dict[str, str] = {}
    counted = 0
    classifiers = [search.classifier for search in searches]
    with tqdm(total=len(images), desc="patches", unit="image", disable=len(images) < 20) as bar:
        for batch in stream(classifiers, images, size=batch_size, workers=workers):
            failed |= batch.failed
            counted += len(batch.positions)
            if batch.positions:
                for search, inputs in zip(searches, batch.inputs, strict=True):
                    search.update(inputs, batch.positions)
            bar.update(len(batch))
    return counted, failed


def _choose(searches: list[_Search]) -> None:
    """Keep the channels with the largest mean peak, the same of all networks with the layer."""
    groups: dict[tuple[str, int], list[Best]] = {}
    for search in searches:
        count: Counter[str] = Counter()
        for best in search.bests:
            name = best.tap.name
            groups.setdefault((name, count[name]), []).append(best)
            count[name] += 1
    for bests in groups.values():
        shared = min(len(best.channels) for best in bests)
        units = [
            best.total.abs().mean().clamp_min(torch.finfo(torch.float64).tiny) for best in bests
        ]
        score = sum(best.total[:shared] / unit for best, unit in zip(bests, units, strict=True))
        order = torch.as_tensor(score).sort(descending=True, stable=True).indices
        for best in bests:
            best.keep(order[:CHANNELS].tolist())


def _rows(best: Best, window: Window, images: Images) -> pd.DataFrame:
    found = best.images >= 0
    position, rank = found.nonzero(as_tuple=True)
    numbers, rows, columns = (
        each[found].tolist() for each in (best.images, best.rows, best.columns)
    )
    places = list(zip(rows, columns, strict=True))
    table = pd.DataFrame(
        {
            "channel": [best.channels[i] for i in position.tolist()],
            "rank": rank.numpy() + 1,
            "value": best.values[found].numpy(),
            "file": [images.photos[number].name for number in numbers],
            "image": numbers,
            "row": rows,
            "column": columns,
        }
    )
    table[[*_BOX]] = [window.clipped(*place) for place in places]
    table[[*_PHOTO]] = np.nan
    table[[*_CORNER]] = [window.box(*place)[:2] for place in places]
    return table


def _crops(
    frame: pd.DataFrame, searches: dict[str, _Search], images: Images
) -> tuple[np.ndarray, ...]:
    """Cut the patches from what the networks saw, and write their places in the photos."""
    crops: list[np.ndarray] = [np.empty(0)] * len(frame)
    photos = frame.groupby("image")
    for number, rows in tqdm(photos, desc="crops", unit="image", disable=len(photos) < 20):
        photo = images.photos[int(str(number))]
        if photo.tensor is None:
            photo = Photo(photo.name, image=photo.rgb)
        for name, own in rows.groupby("model"):
            transform = searches[str(name)].classifier.transform
            _, seen = prepare(Images((photo,)), transform)
            for row, (x0, y0, x1, y1) in zip(own.index, own[[*_BOX]].to_numpy(), strict=True):
                # a copy, or the whole photo would stay in memory
                crops[row] = seen.pixels[0, y0:y1, x0:x1].copy()
            if photo.tensor is not None or isinstance(transform, Transform):
                frame.loc[own.index, [*_PHOTO]] = _in_photo(own, seen.boxes[0], seen.pixels.shape)
    return tuple(crops)


def _in_photo(
    rows: pd.DataFrame, box: tuple[float, float, float, float], shape: tuple[int, ...]
) -> np.ndarray:
    """Map boxes in the input to the original photo, (R, 4)."""
    corner = np.array([box[0], box[1]] * 2)
    scale = np.array([(box[2] - box[0]) / shape[2], (box[3] - box[1]) / shape[1]] * 2)
    found: np.ndarray = corner + rows[[*_BOX]].to_numpy() * scale
    return found
