"""Image files to upright 8-bit RGB photos, whatever they went in as.

Files are read with Pillow only (a damaged PNG can crash other decoders).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vizkit.errors import InputError
from vizkit.files import printable, stand_in, unfit

# what Pillow calls these, and what plug-ins of its add. It would read others, too, and hand some of
# them to other programs
_FORMATS = (
    *("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF", "JXL"),
)
BACKGROUND = (255, 255, 255)
# the second is an exception only where the user turns warnings into errors
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
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


def read(path: Path) -> Image.Image:
    """Read one image file, upright, as 8-bit RGB.

    Parameters
    ----------
    path : Path
        A file of any of the usual kinds, whatever its name ends with.

    Returns
    -------
    PIL.Image.Image
        Mode RGB; the first frame of an animation.

    Raises
    ------
    InputError
        If the file is missing, no image, damaged, cut off or implausibly large; a pipe or a
        device; or a pointer or a web page in place of the photo.
    """
    # before it is opened, which of a pipe takes for ever
    reason = unfit(path)
    if reason:
        raise InputError(printable(f"{path}: {reason}"))
    # else not all kinds are known yet
    Image.init()
    known = [name for name in _FORMATS if name in Image.OPEN]
    with named(path), Image.open(path, formats=known) as image:
        return to_rgb(image)


@contextmanager
def named(source: Path | str) -> Iterator[None]:
    """Turn whatever goes wrong with a photo into one error that names it."""
    try:
        yield
    except UnidentifiedImageError as error:
        instead = stand_in(source, "photo") if isinstance(source, Path) else ""
        reason = instead or "not an image that can be read"
        raise InputError(printable(f"{source}: {reason}")) from error
    except _TOO_LARGE as error:
        raise InputError(printable(f"{source}: not an image that can be read ({error})")) from error
    except MemoryError as error:
        raise InputError(printable(f"{source}: unreadable in the memory that is left")) from error
    # damaged files make Pillow's readers fail in any way: struct.error, KeyError, TypeError, …
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(printable(f"{source}: damaged or unreadable ({reason})")) from error


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

    Raises
    ------
    InputError
        If values are NaN or infinite.
    """
    # some readers know the orientation only when they have loaded the pixels, or apply it then
    image.load()
    turn = _turn(image)
    if image.mode == "RGB" and turn is None and "transparency" not in image.info:
        return image
    # not ImageOps.exif_transpose: it writes all tags anew, and fails if any has a wrong type
    upright = image if turn is None else _turned(image, turn)
    if upright.mode in {"I", "F"} or upright.mode.startswith("I;"):
        return Image.fromarray(eight_bit(np.asarray(upright))).convert("RGB")
    if upright.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in upright.info:
        layer = upright if upright.mode == "RGBA" else upright.convert("RGBA")
        below = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        return Image.alpha_composite(below, layer).convert("RGB")
    return upright.convert("RGB")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How a photo must be turned; not at all if what its camera noted cannot be read."""
    try:
        return _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # notes are damaged in as many ways as pixels
        return None


def _turned(image: Image.Image, turn: Image.Transpose) -> Image.Image:
    """Turn a photo, and take away what says that it must be turned."""
    upright = image.transpose(turn)
    for name in _ORIENTED:
        upright.info.pop(name, None)
    return upright


def eight_bit(values: np.ndarray) -> np.ndarray:
    """Scale the values of a photo, of any type, to uint8."""
    if values.dtype == np.uint8:
        return values
    top = values.max(initial=0)
    factor = 1.0
    if values.dtype == np.uint16 or (values.dtype.kind in "iu" and top > 255):
        factor = 1 / 257
    elif values.dtype.kind == "f":
        if not np.isfinite(top) or not np.isfinite(values.min(initial=0)):
            raise InputError("values are NaN or infinite")
        factor = 255.0 if top <= 1 else 1.0
    # in place and in 32 bits: a large photo shall not take many times its own room
    scaled = values.astype(np.float32)
    scaled *= factor
    np.rint(scaled, out=scaled)
    return scaled.clip(0, 255, out=scaled).astype(np.uint8)
