"""The photos that an explorer offers, by name."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from vizkit.errors import InputError
from vizkit.files import printable
from vizkit.images import Images, Photo, as_images, read, samples
from vizkit.interrupts import surely

# a menu of more is of no use, and slow
MOST = 1000


class Album:
    """Photos by name, in the order in which they came.

    Parameters
    ----------
    images : anything that vizkit takes for images, optional
        By default the bundled photos.

    Attributes
    ----------
    note : str
        What to know about the photos that were added last.
    """

    def __init__(self, images: Any = None) -> None:
        self._photos: dict[str, Images] = {}
        self.note = ""
        self.add(samples() if images is None else images)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self._photos)

    @property
    def images(self) -> Images:
        """All of them, as one sequence."""
        return Images(tuple(photo for each in self._photos.values() for photo in each.photos))

    def __getitem__(self, name: str) -> Images:
        return self._photos[name]

    def add(self, images: Any) -> str:
        """Add photos, and return the name of the first.

        Raises
        ------
        InputError
            If there is no such file, or nothing that can be an image.
        """
        photos = as_images(images).photos
        more = len(photos) > MOST
        self.note = f"The first {MOST} of {len(photos)} photos are listed." if more else ""
        names = [self._put(photo) for photo in photos[:MOST]]
        return names[0]

    def add_upload(self, name: str, content: bytes) -> str:
        """Add a photo from the bytes of its file, and return its name.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        shown = printable(Path(name).name)
        with surely(tempfile.TemporaryDirectory()) as folder:
            path = Path(folder) / "photo"
            path.write_bytes(content)
            try:
                image = read(path)
            except InputError as error:
                raise InputError(str(error).replace(str(path), shown)) from error
        return self._put(Photo(shown, image=image))

    def _put(self, photo: Photo) -> str:
        """Keep one; what has the name of another is numbered, and what is there already is not."""
        name, number = photo.name, 1
        while name in self._photos and not _same(self._photos[name].photos[0], photo):
            number += 1
            name = f"{photo.name} ({number})"
        self._photos.setdefault(name, Images((photo,)))
        return name


def _same(one: Photo, other: Photo) -> bool:
    if one.path is not None or other.path is not None:
        return one.path == other.path
    return one.image is other.image and one.tensor is other.tensor
