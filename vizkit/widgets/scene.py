"""What the canvas draws, as data: numbers and names for JSON, and maps as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from torch import Tensor

from vizkit.attribution import METHODS
from vizkit.receptive import Field
from vizkit.results import Attributions, Axis, FeatureMaps, Tap
from vizkit.statistics.places import Window
from vizkit.widgets.packing import Buffer, packed, tied

INPUT = "input"
# bytes of the maps of all models; of more, the strongest channels are kept
ROOM = 64 << 20
_FEWEST = 16
_LISTED = 3

Windows = Mapping[str, Mapping[Tap, Window]]


class Sight(Protocol):
    """What several networks make of one image: a `Comparison`, or what is like it."""

    @property
    def places(self) -> Axis:
        """Where each network is read."""

    @property
    def maps(self) -> Mapping[str, FeatureMaps]:
        """By model."""

    @property
    def attributions(self) -> Mapping[str, Attributions]:
        """By model."""

    @property
    def predictions(self) -> pd.DataFrame:
        """Columns model, image, rank, class, probability."""

    @property
    def same_classes(self) -> bool:
        """Whether all explain the same class."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Something to draw.

    Attributes
    ----------
    meta : dict of str to Any
        Names and numbers, fit for JSON.
    data : bytes
        Pictures and maps; `meta` tells where each begins.
    """

    meta: dict[str, Any]
    data: bytes


def map_scene(
    sight: Sight, windows: Windows | None = None, image: int = 0, room: int = ROOM
) -> Scene:
    """Describe the feature maps of several networks for one image.

    Parameters
    ----------
    sight : Comparison, or what is like it
        From `vizkit.compare`.
    windows : mapping of str to mapping of Tap to Window, optional
        Receptive fields by model, from `vizkit.statistics.places.windows`.
    image : int
        Which of its images, from 0.
    room : int
        Bytes that maps may take.

    Returns
    -------
    Scene
        Photos, predictions, and for each model and place the maps, or None where it has none.
    """
    buffer = Buffer()
    places = sight.places
    share = room / max(1, sum(_elements(maps) for maps in sight.maps.values()))
    rows, energies, models = [], [], []
    photos = Photos(buffer)
    for model, maps in sight.maps.items():
        taps = [places.taps[model].get(place) for place in places.places]
        own = (windows or {}).get(model, {})
        cells = [
            None if tap is None else _cell(buffer, maps, tap, own.get(tap), image, share)
            for tap in taps
        ]
        rows.append(cells)
        energies.append(
            [None if tap is None else _energy(buffer, maps[tap][image]) for tap in taps]
        )
        models.append(
            {
                "name": model,
                "input": maps.seen.transform,
                "photo": photos.add(maps.seen.pixels[image]),
                "predictions": _predictions(sight.predictions, model, image),
                "cells": cells,
                "energy": energies[-1],
            }
        )
    meta = {
        "image": next(iter(sight.maps.values())).seen.names[image],
        "places": [places.title(place) for place in places.places],
        "models": models,
        "photos": photos.listed,
        "scales": {"maps": tied(rows), "energy": tied(energies)},
        "bytes": buffer.size,
    }
    return Scene(meta, buffer.joined())


def heat_scene(sight: Sight, method: str, image: int = 0, target: int = 0) -> Scene:
    """Describe the attributions of several networks for one image and class.

    Parameters
    ----------
    sight : Comparison, or what is like it
        From `vizkit.compare`.
    method : str
        Which of its methods.
    image, target : int
        Which of its images and classes, from 0.

    Returns
    -------
    Scene
        For each model a map at every place, or one of its input.
    """
    buffer = Buffer()
    staged = METHODS[method].level == "stage"
    rows = [
        [
            None if each is None else packed(buffer, each[image, target][None])
            for each in _heat(sight, model, method, staged=staged)
        ]
        for model in sight.maps
    ]
    found = list(sight.attributions.values())
    meta = {
        "method": METHODS[method].label,
        "level": METHODS[method].level,
        "by_class": METHODS[method].by_class,
        "same": sight.same_classes,
        "targets": [
            {
                "class": each.target_name(image, target),
                "probability": float(each.probabilities[image, target]),
                "error": _error(each, method, image, target),
            }
            for each in found
        ],
        "cells": rows,
        "scale": tied(rows),
        "signed": any(cell["signed"] for row in rows for cell in row if cell),
        "bytes": buffer.size,
    }
    return Scene(meta, buffer.joined())


class Photos:
    """What the networks saw; one picture for those that see the same.

    Parameters
    ----------
    buffer : Buffer
        Where the pictures go.

    Attributes
    ----------
    listed : list of dict of str to int
        height, width and offset of each picture.
    """

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.known: dict[bytes, int] = {}
        self.listed: list[dict[str, int]] = []

    def add(self, pixels: np.ndarray) -> int:
        """Add a picture, (H, W, 3), and tell its number."""
        key = pixels.tobytes()
        if key not in self.known:
            self.known[key] = len(self.listed)
            height, width = pixels.shape[:2]
            offset = self.buffer.add(pixels)
            self.listed.append({"height": height, "width": width, "offset": offset})
        return self.known[key]


def _elements(maps: FeatureMaps) -> int:
    return sum(each[0].numel() for each in maps.values())


def _cell(
    buffer: Buffer,
    maps: FeatureMaps,
    tap: Tap,
    window: Window | None,
    image: int,
    share: float,
) -> dict[str, Any]:
    values = maps[tap][image]
    most = len(values) if share >= 1 else max(_FEWEST, int(share * len(values)))
    return {
        "tap": tap.name,
        "module": tap.module,
        "role": tap.role,
        "stride": tap.stride,
        **packed(buffer, values, most),
        "field": _field(window),
    }


def _energy(buffer: Buffer, values: Tensor) -> dict[str, Any]:
    """Root mean square of all channels at each place."""
    return packed(buffer, values.float().square().mean(dim=0, keepdim=True).sqrt())


def _field(window: Window | None) -> dict[str, list[int]] | None:
    if window is None or window.vertical is None or window.horizontal is None:
        return None
    return {"x": _along(window.horizontal), "y": _along(window.vertical)}


def _along(field: Field) -> list[int]:
    return [int(field.start), int(field.step), int(field.size)]


def _predictions(table: pd.DataFrame, model: str, image: int) -> list[dict[str, Any]]:
    rows = table[(table["model"] == model).to_numpy()]
    # by number, because two images may have one name
    own = rows[(rows["rank"].eq(1).cumsum() == image + 1).to_numpy()][:_LISTED]
    return [
        {"class": str(name), "probability": float(share)}
        for name, share in zip(own["class"], own["probability"], strict=True)
    ]


def _error(found: Attributions, method: str, image: int, target: int) -> float | None:
    """By how much a map that should sum to a difference in score does not, in logits."""
    errors = found.errors.get(method)
    return None if errors is None else float(errors[image, target])


def _heat(sight: Sight, model: str, method: str, *, staged: bool) -> list[Tensor | None]:
    """One map (N, T, h, w) for each place, or the input's alone."""
    found = sight.attributions[model].values.get(method, {})
    if not staged:
        return [found.get(INPUT)]
    taps = [sight.places.taps[model].get(place) for place in sight.places.places]
    # labels, where several roles of one layer are read
    return [None if tap is None else found.get(tap.label, found.get(tap.name)) for tap in taps]
