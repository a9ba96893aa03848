"""From any kind of image to what a network sees, and back to the original photo.

Files are read with Pillow only (a damaged PNG can crash other decoders). Photos come out
upright (EXIF) and as 8-bit RGB, whatever they went in as.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vizkit.errors import InputError, unknown
from vizkit.results import Seen

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2"}
)
BACKGROUND = (255, 255, 255)
# the second is an exception only where the user turns warnings into errors
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# pixels of a photo scaled for a network: 300 MB; a photo of 1 x 10000 would become 2 GB
_MOST_SCALED = 100_000_000
# how to turn a photo upright, by the orientation in its EXIF data
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# where Pillow looks for the orientation of a photo
_ORIENTED = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_SAMPLES = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "motorcycle": "motorcycle_left.png",
    "rocket": "rocket.jpg",
}


@dataclass(frozen=True)
class Transform:
    """A network's own preprocessing: resize the shorter side, crop the centre, normalise.

    Attributes
    ----------
    size : tuple of (int, int)
        Height and width of the input, in pixels.
    resize : tuple of (int, int)
        Height and width, in pixels, within which the photo is scaled before the crop; the
        photo keeps its aspect ratio and covers both (``squash`` false).
    mean, std : tuple of float
        Subtracted from and divided into each channel of values in [0, 1].
    interpolation : str
        ``"nearest"``, ``"bilinear"``, ``"bicubic"`` or ``"lanczos"``.
    squash : bool
        Resize both sides independently instead, without a crop.
    """

    size: tuple[int, int] = (224, 224)
    resize: tuple[int, int] = (256, 256)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        if self.interpolation not in _RESAMPLING:
            raise unknown("interpolation", self.interpolation, _RESAMPLING)

    def __call__(self, photo: Image.Image) -> Tensor:
        """Turn a photo into a network input.

        Parameters
        ----------
        photo : PIL.Image.Image
            Any mode.

        Returns
        -------
        Tensor of shape (3, H, W), float32
            Normalised.
        """
        return self.normalize(torch.from_numpy(self.view(photo)))

    def __str__(self) -> str:
        height, width = self.size
        shape = f"{height} px" if height == width else f"{width} x {height} px"
        if self.squash:
            return f"{shape}, {self.interpolation}, squashed"
        crop = self.size[0] / self.resize[0]
        return f"{shape}, {self.interpolation}, crop {crop:.3g}"

    def view(self, photo: Image.Image) -> np.ndarray:
        """Return the pixels that the network sees.

        Parameters
        ----------
        photo : PIL.Image.Image
            Any mode.

        Returns
        -------
        ndarray of shape (H, W, 3), uint8
            The resized and cropped photo before normalisation.

        Raises
        ------
        InputError
            If the photo is too long and narrow; see `check`.
        """
        photo = to_rgb(photo)
        self.check(photo.size)
        height, width = self._scaled(photo.size)
        resized = photo.resize((width, height), _RESAMPLING[self.interpolation])
        left, top = self._corner(height, width)
        # Pillow pads with black where the crop reaches beyond the photo, as torchvision does
        crop = resized.crop((left, top, left + self.size[1], top + self.size[0]))
        return np.array(crop)

    def check(self, photo_size: tuple[int, int]) -> None:
        """Refuse a photo so long and narrow that scaling it would fill the memory.

        Parameters
        ----------
        photo_size : tuple of (int, int)
            Width and height of the photo, in pixels.

        Raises
        ------
        InputError
            If it would have more than 100 million pixels before the crop.
        """
        # scaling the crop's part only would do, but Pillow's pixels then differ in the last bit
        height, width = self._scaled(photo_size)
        if height * width > _MOST_SCALED:
            raise InputError(
                f"a photo of {photo_size[0]} x {photo_size[1]} px is too long and narrow: scaled "
                f"for the network it would have {width} x {height} px"
            )

    def box(self, photo_size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return the part of a photo that the network sees.

        Parameters
        ----------
        photo_size : tuple of (int, int)
            Width and height of the photo, in pixels.

        Returns
        -------
        tuple of (float, float, float, float)
            ``(x0, y0, x1, y1)`` in the photo's pixels.
        """
        width, height = photo_size
        scaled_height, scaled_width = self._scaled(photo_size)
        left, top = self._corner(scaled_height, scaled_width)
        x, y = width / scaled_width, height / scaled_height
        return left * x, top * y, (left + self.size[1]) * x, (top + self.size[0]) * y

    def normalize(self, pixels: Tensor) -> Tensor:
        """Turn pixels of shape (..., H, W, 3) in 0...255 into inputs of shape (..., 3, H, W)."""
        scaled = pixels.to(torch.float32).movedim(-1, -3) / 255
        mean, std = (
            torch.tensor(v, device=scaled.device).view(-1, 1, 1) for v in (self.mean, self.std)
        )
        return (scaled - mean) / std

    def denormalize(self, inputs: Tensor) -> np.ndarray:
        """Turn inputs of shape (..., 3, H, W) back into uint8 pixels of shape (..., H, W, 3)."""
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        scaled = inputs.detach().cpu().float() * std + mean
        return (scaled * 255).round().clamp(0, 255).to(torch.uint8).movedim(-3, -1).numpy()

    def _scaled(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        width, height = photo_size
        if self.squash:
            return self.size
        target_height, target_width = self.resize
        # the same whole pixels as torchvision's Resize: the longer side is cut off, not rounded
        if height / target_height <= width / target_width:
            return target_height, max(1, int(target_height * width / height))
        return max(1, int(target_width * height / width)), target_width

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        # round, not floor: the same pixel as torchvision's CenterCrop
        return round((width - self.size[1]) / 2.0), round((height - self.size[0]) / 2.0)


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
    used: set[str] = set()
    found = []
    for photo, given in zip(photos, names, strict=True):
        alike = counts[given] > 1 and photo.path is not None and given == photo.path.name
        plain = name = printable(photo.path) if alike else given
        count = 1
        while name in used:
            count += 1
            name = f"{plain} ({count})"
        used.add(name)
        found.append(photo if name == photo.name else replace(photo, name=name))
    return tuple(found)


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


def photos_in(folder: Path) -> list[Path]:
    """List the photos in a folder and in the folders below it, also behind links.

    What is hidden (names that begin with a dot, as ``.ipynb_checkpoints``) and ``__MACOSX`` are
    no photos of the user's and left out. A link with a photo's name that leads nowhere is listed:
    it shall be reported as unreadable, not missed.

    Parameters
    ----------
    folder : Path
        Where to look.

    Returns
    -------
    list of Path
        Sorted; each begins with ``folder``.

    Raises
    ------
    InputError
        If a folder cannot be opened.
    """
    found: list[Path] = []
    left: list[tuple[Path, frozenset[tuple[int, int]]]] = [(folder, frozenset())]
    while left:
        place, above = left.pop()
        here, photos, below = _listed(place)
        # a link back to a folder that it lies in leads round for ever; two links to one do not
        if here not in above:
            found += photos
            left += [(each, above | {here}) for each in below]
    return sorted(found)


def printable(name: object) -> str:
    """Write a path so that it can be printed and stored, even if it is not UTF-8."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def read(path: Path) -> Image.Image:
    """Read one image file, upright, as 8-bit RGB.

    Parameters
    ----------
    path : Path
        A file that Pillow can read.

    Returns
    -------
    PIL.Image.Image
        Mode RGB; the first frame of an animation.

    Raises
    ------
    InputError
        If the file is missing, no image, damaged, cut off or implausibly large.
    """
    try:
        with Image.open(path) as image:
            return to_rgb(image)
    except (UnidentifiedImageError, *_TOO_LARGE) as error:
        raise InputError(printable(f"{path}: not an image that can be read ({error})")) from error
    except MemoryError as error:
        raise InputError(printable(f"{path}: unreadable in the memory that is left")) from error
    # damaged files make Pillow's readers fail in any way: struct.error, KeyError, TypeError, …
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise InputError(printable(f"{path}: damaged or unreadable ({reason})")) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn a photo upright and into 8-bit RGB.

    Parameters
    ----------
    image : PIL.Image.Image
        Greyscale, palette, CMYK, 16-bit, floating point or with transparency.

    Returns
    -------
    PIL.Image.Image
        Mode RGB. 16-bit values are scaled by 1/257, transparency is laid over white.
    """
    # some readers know the orientation only when they have loaded the pixels, or apply it then
    image.load()
    turn = _TURNS.get(image.getexif().get(0x0112, 1))
    if image.mode == "RGB" and turn is None:
        return image
    # not ImageOps.exif_transpose: it writes all tags anew, and fails if any has a wrong type
    upright = image if turn is None else _turned(image, turn)
    if upright.mode in {"I", "F"} or upright.mode.startswith("I;"):
        return Image.fromarray(_eight_bit(np.asarray(upright))).convert("RGB")
    if upright.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        below = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        return Image.alpha_composite(below, layer).convert("RGB")
    return upright.convert("RGB")


def _turned(image: Image.Image, turn: Image.Transpose) -> Image.Image:
    """Turn a photo, and take away what says that it must be turned."""
    upright = image.transpose(turn)
    for name in _ORIENTED:
        upright.info.pop(name, None)
    return upright


def prepare(
    images: Images, transform: Callable[[Image.Image], Tensor], device: torch.device | str = "cpu"
) -> tuple[Tensor, Seen]:
    """Turn images into one network's input.

    Parameters
    ----------
    images : Images
        Photos pass through the transform; tensors are taken as they are.
    transform : callable
        A `Transform`, or any function from a PIL image to a (3, H, W) tensor.
    device : torch.device or str
        Where the input shall be.

    Returns
    -------
    inputs : Tensor of shape (N, 3, H, W)
        Normalised, float32 (tensors keep their dtype).
    seen : Seen
        The same as pixels.

    Raises
    ------
    InputError
        If the inputs have different sizes.
    """
    tensors, pixels, boxes, originals = [], [], [], []
    for photo in images:
        tensor, view, box, original = _prepare_one(photo, transform)
        tensors.append(tensor)
        pixels.append(view)
        boxes.append(box)
        originals.append(original)
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise InputError(f"inputs of one call must share one shape, not {sorted(shapes)}")
    words = str(transform) if isinstance(transform, Transform) else "the model's own transform"
    if images.photos[0].tensor is not None:
        words = f"tensor, {tensors[0].shape[-1]} x {tensors[0].shape[-2]} px"
    seen = Seen(
        tuple(photo.name for photo in images),
        np.stack(pixels),
        tuple(boxes),
        tuple(originals),
        words,
    )
    return torch.stack(tensors).to(device), seen


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


def _prepare_one(
    photo: Photo, transform: Callable[[Image.Image], Tensor]
) -> tuple[Tensor, np.ndarray, tuple[float, float, float, float], np.ndarray | None]:
    if photo.tensor is not None:
        height, width = photo.tensor.shape[-2:]
        normal = transform if isinstance(transform, Transform) else Transform()
        return photo.tensor, normal.denormalize(photo.tensor), (0.0, 0.0, width, height), None
    rgb = photo.rgb
    if isinstance(transform, Transform):
        view = transform.view(rgb)
        tensor = transform.normalize(torch.from_numpy(view))
        return tensor, view, transform.box(rgb.size), np.asarray(rgb)
    tensor = transform(rgb)
    if not isinstance(tensor, Tensor) or tensor.ndim != 3 or tensor.shape[0] != 3:
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InputError(f"the transform must give a (3, H, W) tensor, not {shape}")
    # an unknown transform: stretch its output to what can be shown, and claim the whole photo
    low, high = tensor.min(), tensor.max()
    shown = ((tensor - low) / (high - low).clamp_min(1e-12) * 255).round().to(torch.uint8)
    box = (0.0, 0.0, float(rgb.width), float(rgb.height))
    return tensor, shown.movedim(0, -1).numpy(), box, np.asarray(rgb)


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
    yield Photo(name or Path(getattr(value, "filename", "")).name, image=value)


def _from_dict(value: dict[Any, Any], _name: str) -> Iterator[Photo]:
    for key, item in value.items():
        yield from _photos(item, str(key))


def _from_sequence(value: Sequence[Any], _name: str) -> Iterator[Photo]:
    for item in value:
        yield from _photos(item, "")


def _from_path(value: str | os.PathLike[str], name: str) -> Iterator[Photo]:
    path = Path(value).expanduser()
    if path.is_dir():
        files = photos_in(path)
        if not files:
            looked = ", ".join(sorted(EXTENSIONS))
            raise InputError(printable(f"no images in {path} (looked for {looked})"))
        for file in files:
            yield Photo(file.relative_to(path).as_posix(), path=file)
    elif path.exists():
        yield Photo(name or path.name, path=path)
    else:
        raise InputError(printable(f"no such image: {path}"))


def _listed(folder: Path) -> tuple[tuple[int, int], list[Path], list[Path]]:
    """Identify a folder, and list the photos and the folders in it."""
    photos, below = [], []
    try:
        facts = folder.stat()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if _leads_to(entry.is_dir):
                    below.append(folder / entry.name)
                elif _is_photo(entry):
                    photos.append(folder / entry.name)
    except OSError as error:
        raise InputError(
            printable(f"{folder}: the folder cannot be opened ({error.strerror or error})")
        ) from error
    return (facts.st_dev, facts.st_ino), photos, below


def _is_photo(entry: os.DirEntry[str]) -> bool:
    if Path(entry.name).suffix.lower() not in EXTENSIONS:
        return False
    # beside links that lead nowhere, also those that lead where nobody may look
    return _leads_to(entry.is_file) or not _leads_to(Path(entry.path).exists)


def _leads_to(kind: Callable[[], bool]) -> bool:
    """Ask whether an entry is this; one that cannot be followed is not."""
    try:
        return kind()
    except OSError:
        return False


def _from_tensor(value: Tensor, name: str) -> Iterator[Photo]:
    if value.ndim not in {3, 4} or value.shape[-3] != 3 or not value.is_floating_point():
        raise InputError(
            f"a tensor image must be float and (3, H, W) or (N, 3, H, W), "
            f"not {value.dtype} {tuple(value.shape)}"
        )
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
    flat = value[..., 0] if colour and value.shape[2] == 1 else value
    yield Photo(name, image=Image.fromarray(_eight_bit(flat)))


def _eight_bit(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16 or (values.dtype.kind in "iu" and values.max(initial=0) > 255):
        return (values.astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8)
    if values.dtype.kind == "f" and values.max(initial=0) <= 1:
        return (values * 255).round().clip(0, 255).astype(np.uint8)
    return values.round().clip(0, 255).astype(np.uint8)


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
