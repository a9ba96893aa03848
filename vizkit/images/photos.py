"""Photos on their way in, read when they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from vizkit.errors import InputError
from vizkit.files import printable
from vizkit.images.decoding import named, read, to_rgb

_SAMPLES = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "motorcycle": "motorcycle_left.png",
    "rocket": "rocket.jpg",
}


@dataclass(frozen=True)
class Photo:
    """One image on its way in: read from its file when needed, and not kept.

    Attributes
    ----------
    name : str
        File name, or ``"image 1"``; bytes of a file name that are not UTF-8 are written out.
    path : Path or None
        Where it is read from.
    image : PIL.Image.Image or None
        The photo itself where it is already in memory.
    tensor : Tensor of shape (3, H, W) or None
        A network input that needs no transform.
    """

    name: str
    path: Path | None = None
    image: Image.Image | None = None
    tensor: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable(self.name))

    @property
    def rgb(self) -> Image.Image:
        """The photo, upright, 8-bit RGB.

        Raises
        ------
        InputError
            If the file cannot be read as an image.
        """
        if self.image is not None:
            # Pillow may read it only now
            with named(self.name):
                return to_rgb(self.image)
        if self.path is None:
            raise InputError(f"{self.name} is a tensor: it has no photo")
        return read(self.path)


@dataclass(frozen=True)
class Images:
    """A sequence of photos or tensors, made by `as_images`.

    Attributes
    ----------
    photos : tuple of Photo
        In the order given; folders are expanded, sorted by path.
    """

    photos: tuple[Photo, ...]

    def __len__(self) -> int:
        return len(self.photos)

    def __iter__(self) -> Iterator[Photo]:
        return iter(self.photos)

    def __getitem__(self, index: int | slice) -> Images:
        chosen = self.photos[index]
        return Images(chosen if isinstance(chosen, tuple) else (chosen,))

    def batches(self, size: int) -> Iterator[Images]:
        """Cut into consecutive parts of at most ``size`` images."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def __repr__(self) -> str:
        names = ", ".join(photo.name for photo in self.photos[:4])
        return f"Images({len(self)}: {names}{', …' if len(self) > 4 else ''})"


def readable(images: Images) -> tuple[Images, dict[str, str]]:
    """Read photos from their files, and tell those that can be read from those that cannot.

    Parameters
    ----------
    images : Images
        Files, or images that are in memory already.

    Returns
    -------
    images : Images
        The readable ones, in memory.
    failed : dict of str to str
        Path and reason of the others.
    """
    photos, failed = [], {}
    for photo in images:
        if photo.path is None:
            photos.append(photo)
            continue
        try:
            photos.append(Photo(photo.name, image=photo.rgb))
        except InputError as error:
            failed[printable(photo.path)] = str(error)
    return Images(tuple(photos)), failed


def samples() -> dict[str, Image.Image]:
    """Return the photos that come with the package's dependencies, without network.

    Returns
    -------
    dict of str to PIL.Image.Image
        astronaut, chelsea (a cat), coffee, motorcycle and rocket, from scikit-image.
    """
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return {name: read(folder / file) for name, file in _SAMPLES.items()}
