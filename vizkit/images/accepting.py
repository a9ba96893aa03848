"""Every kind of image that vizkit accepts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vizkit.errors import InputError
from vizkit.files import distinct, printable
from vizkit.images.decoding import eight_bit
from vizkit.images.folders import EXTENSIONS, photos_in
from vizkit.images.photos import Images, Photo


def as_images(images: Any) -> Images:
    """Accept every kind of image that vizkit accepts.

    Parameters
    ----------
    images : str, Path, PIL image, ndarray, Tensor, Images, or a list or dict of these
        A file or folder, or a dict of these by name; an (H, W, 3) or (H, W) array, uint8 (or
        uint16, scaled); a (3, H, W) or (N, 3, H, W) float tensor that is already normalised.

    Returns
    -------
    Images
        Files are not opened yet.

    Raises
    ------
    InputError
        If a path does not exist, a folder has no images, or a value is of another kind.
    """
    if isinstance(images, Images) and len({photo.name for photo in images}) == len(images):
        return images
    photos = tuple(_photos(images, ""))
    if not photos:
        raise InputError("no images: the list is empty")
    return Images(_distinct(photos))


def _distinct(photos: Sequence[Photo]) -> tuple[Photo, ...]:
    """Give files of one name their whole paths, and number what still has the same name."""
    names = [photo.name or f"image {i}" for i, photo in enumerate(photos, 1)]
    counts = Counter(names)
    for i, photo in enumerate(photos):
        if counts[names[i]] > 1 and photo.path is not None and names[i] == photo.path.name:
            names[i] = printable(photo.path)
    return tuple(
        photo if name == photo.name else replace(photo, name=name)
        for photo, name in zip(photos, distinct(names), strict=True)
    )


def _photos(value: Any, name: str) -> Iterator[Photo]:
    for kinds, expand in _READERS:
        if isinstance(value, kinds):
            yield from expand(value, name)
            return
    raise InputError(
        f"cannot read an image from {type(value).__name__}: give a path, a folder, a PIL "
        "image, an HxWx3 uint8 array, a CHW or NCHW float tensor, or a list of these"
    )


def _from_pil(value: Image.Image, name: str) -> Iterator[Photo]:
    if 0 in value.size:
        raise InputError(f"an image of {value.width} x {value.height} px has no pixels")
    file = getattr(value, "filename", "")
    yield Photo(name or Path(os.fsdecode(file)).name, image=value)


def _from_dict(value: dict[Any, Any], _name: str) -> Iterator[Photo]:
    for key, item in value.items():
        yield from _photos(item, str(key))


def _from_sequence(value: Sequence[Any], _name: str) -> Iterator[Photo]:
    for item in value:
        yield from _photos(item, "")


def _from_path(value: str | os.PathLike[str], name: str) -> Iterator[Photo]:
    text = os.fsdecode(value)
    if not text:
        raise InputError("no such image: the path is empty")
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(printable(f"no such image: {text} ({error})")) from error
    try:
        # a link that leads nowhere is one photo that cannot be read, as it is in a folder
        is_folder, exists = path.is_dir(), path.exists() or path.is_symlink()
    except OSError as error:
        # such as a name too long for any file
        raise InputError(printable(f"no such image: {path} ({error.strerror})")) from error
    if is_folder:
        files = photos_in(path)
        if not files:
            looked = ", ".join(sorted(EXTENSIONS))
            raise InputError(printable(f"no images in {path} (looked for {looked})"))
        for file in files:
            yield Photo(file.relative_to(path).as_posix(), path=file)
    elif exists:
        yield Photo(name or path.name, path=path)
    else:
        raise InputError(printable(f"no such image: {path}"))


def _from_tensor(value: Tensor, name: str) -> Iterator[Photo]:
    if value.ndim not in {3, 4} or value.shape[-3] != 3 or not value.is_floating_point():
        raise InputError(
            f"a tensor image must be float and (3, H, W) or (N, 3, H, W), "
            f"not {value.dtype} {tuple(value.shape)}"
        )
    if value.is_meta or value.layout != torch.strided:
        raise InputError("the tensor holds no values: it is sparse or on the meta device")
    if 0 in value.shape[-2:]:
        raise InputError(f"the tensor has no pixels: {tuple(value.shape)}")
    if not torch.isfinite(value).all():
        raise InputError("the tensor holds NaN or infinity")
    batch = value if value.ndim == 4 else value[None]
    for i, item in enumerate(batch, 1):
        yield Photo(f"{name} {i}".strip() if name and len(batch) > 1 else name, tensor=item)


def _from_array(value: np.ndarray, name: str) -> Iterator[Photo]:
    grey = value.ndim == 2
    colour = value.ndim == 3 and value.shape[2] in {1, 3, 4}
    if not (grey or colour) or value.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        raise InputError(
            f"an array image must be uint8 and (H, W, 3), not {value.dtype} {value.shape}"
        )
    if 0 in value.shape:
        raise InputError(f"an array image of shape {value.shape} has no pixels")
    flat = value[..., 0] if colour and value.shape[2] == 1 else value
    yield Photo(name, image=Image.fromarray(eight_bit(flat)))


_READERS: tuple[tuple[Any, Callable[[Any, str], Iterator[Photo]]], ...] = (
    ((str, os.PathLike), _from_path),
    (Image.Image, _from_pil),
    (Tensor, _from_tensor),
    (np.ndarray, _from_array),
    (Photo, lambda value, _name: iter((value,))),
    (Images, lambda value, _name: iter(value)),
    (dict, _from_dict),
    (Sequence, _from_sequence),
)
