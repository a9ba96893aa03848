"""Boxes of objects in photos, and where they lie in what a network saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from vizkit.errors import InputError, path_of, shown
from vizkit.files import printable, read_rows
from vizkit.results import Seen

Box = tuple[float, float, float, float]
COLUMNS = ("file", "x0", "y0", "x1", "y1")


def read_boxes(path: str | Path) -> dict[str, list[Box]]:
    """Read boxes from a CSV file.

    Parameters
    ----------
    path : str or Path
        With columns file, x0, y0, x1, y1, in pixels of the photo, half open; others are ignored,
        and a photo may have several rows.

    Returns
    -------
    dict of str to list of (x0, y0, x1, y1)
        By file, as it is written there.

    Raises
    ------
    InputError
        If the file cannot be read or a column is missing.
    """
    table = read_rows(
        # text could be an address elsewhere
        path_of("boxes", path),
        f"cannot read boxes from {path}",
        # names stay as they are written: 007, NA
        converters={COLUMNS[0]: str},
        keep_default_na=False,
        na_values={name: [""] for name in COLUMNS[1:]},
    )
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(
            printable(f"{path} has no column {missing[0]!r}: it needs {', '.join(COLUMNS)}")
        )
    boxes: dict[str, list[Box]] = {}
    try:
        for file, *corners in table[list(COLUMNS)].itertuples(index=False):
            boxes.setdefault(str(file), []).append(_box(corners))
    except (TypeError, ValueError) as error:
        raise InputError(printable(f"{path}: {error}")) from error
    return boxes


def boxes_in_input(
    boxes: Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]], seen: Seen
) -> list[list[Box]]:
    """Find boxes of photos again in what a network saw of them.

    Parameters
    ----------
    boxes : mapping of image name to boxes, or a sequence of boxes for each image
        ``(x0, y0, x1, y1)`` in pixels of the photo (of the input, where that was a tensor).
    seen : Seen
        What the network saw.

    Returns
    -------
    list of list of (x0, y0, x1, y1)
        For each image, in pixels of the input, cut off at its border; what lies outside is
        left out.

    Raises
    ------
    InputError
        If there is not one entry for each image, or a box is none.
    """
    if isinstance(boxes, Mapping):
        own = [boxes_of(boxes, name) for name in seen.names]
    else:
        own = _for_each(boxes)
    if len(own) != len(seen):
        raise InputError(f"boxes for {len(own)} images, but there are {len(seen)}")
    height, width = seen.pixels.shape[1:3]
    return [
        [
            inside
            for box in _listed(some)
            if (inside := _moved(_checked(box), shown, width, height)) is not None
        ]
        for some, shown in zip(own, seen.boxes, strict=True)
    ]


def boxes_of(boxes: Mapping[str, Sequence[Any]], name: str) -> Sequence[Any]:
    """Find the boxes of an image by its name, whatever folders stand before it on either side.

    Parameters
    ----------
    boxes : mapping of str to boxes
        By file, such as ``"located/n01440764/one.JPEG"``.
    name : str
        File name or path of the image, such as ``"n01440764/one.JPEG"``.

    Returns
    -------
    sequence of (x0, y0, x1, y1)
        Empty if there are none.

    Raises
    ------
    InputError
        If the name fits several files.
    """
    if name in boxes:
        return boxes[name]
    parts = Path(name).parts
    fitting = []
    for key in boxes:
        other = Path(key).parts
        shared = min(len(parts), len(other))
        if shared and parts[-shared:] == other[-shared:]:
            fitting.append(key)
    if len(fitting) > 1:
        raise InputError(f"boxes of {name!r} are ambiguous: {', '.join(fitting[:4])}")
    return boxes[fitting[0]] if fitting else ()


def _for_each(boxes: Any) -> list[Any]:
    # in a set, which has no order, they could be any image's
    if not isinstance(boxes, Iterable) or isinstance(boxes, str | bytes | Set):
        raise InputError(f"boxes must be a list for each image, not {shown(boxes)}")
    return list(boxes)


def _listed(boxes: Any) -> list[Any]:
    try:
        return list(boxes)
    except TypeError:
        raise InputError(f"boxes of an image must be a list, not {shown(boxes)}") from None


def _checked(box: Any) -> Box:
    try:
        return _box(box)
    except (TypeError, OverflowError) as error:
        raise InputError(f"boxes are four numbers each, not {shown(box)}") from error
    except ValueError as error:
        raise InputError(f"boxes cannot be used: {error}") from error


def _box(corners: Any) -> Box:
    x0, y0, x1, y1 = (float(value) for value in corners)
    if not (x0 < x1 and y0 < y1) or not np.isfinite([x0, y0, x1, y1]).all():
        raise ValueError(f"no box: ({x0:g}, {y0:g}, {x1:g}, {y1:g}), expected x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def _moved(box: Box, shown: Box, width: int, height: int) -> Box | None:
    left, top, right, bottom = shown
    across, down = width / (right - left), height / (bottom - top)
    x0, x1 = (min(max((x - left) * across, 0), width) for x in (box[0], box[2]))
    y0, y1 = (min(max((y - top) * down, 0), height) for y in (box[1], box[3]))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
