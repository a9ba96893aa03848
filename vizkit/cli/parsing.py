"""From what is typed to what the library takes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

# of the largest number that can be meant; longer ones Python does not read
_DIGITS = 19
# of the longest name of a file that every system takes
_PATH = 255

if TYPE_CHECKING:
    from vizkit.images import Images
    from vizkit.models import Classifier


def load_models(
    names: list[str], weights: str, device: str, classes: str = "", test_size: bool = False
) -> list[Classifier]:
    """Load models by their names; ``none`` for random weights."""
    from vizkit.errors import InputError
    from vizkit.models import load

    if not names:
        raise InputError("no models: the list is empty")
    chosen = None if weights == "none" else weights
    outputs = classes_of(classes)
    return [
        load(name, weights=chosen, device=device, classes=outputs, use_test_size=test_size)
        for name in names
    ]


def classes_of(text: str) -> list[str] | None:
    """Read names of classes: the lines of a file, or what is separated by commas; None for none."""
    from vizkit.errors import InputError, path_of

    if not text:
        return None
    # names may be more than a path can hold
    file = path_of("classes", text) if len(text) < _PATH else None
    if file is None or not file.is_file():
        return _some("classes", text)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the names of classes in {file} cannot be read: {error}") from error
    return [line.strip() for line in lines if line.strip()] or None


def photos_of(names: list[str]) -> Images:
    """Find photos; those that standard input names (a dash) may have gone meanwhile."""
    from vizkit.errors import InputError
    from vizkit.images import Photo, as_images

    photos: list[Photo] = []
    for name in names:
        if name != "-":
            photos += as_images(name)
            continue
        for line in filter(None, sys.stdin.read().splitlines()):
            found = as_images(line) if Path(line).is_dir() else [Photo(line, path=Path(line))]
            photos += found
    if not photos:
        raise InputError("no photos: standard input is empty")
    return as_images(photos)


def split(text: str) -> list[str]:
    """Take names apart that are separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def named(text: str) -> list[str] | None:
    """Take names apart; None where nothing is said, which is not the same as a lone comma."""
    return split(text) if text else None


def _some(what: str, text: str) -> list[str]:
    """Take names apart, of which there must be one."""
    from vizkit.errors import InputError, shown

    parts = split(text)
    if not parts:
        raise InputError(f"no {what}: {shown(text)} names none")
    return parts


def workers_of(count: int) -> int | None:
    """Read how many processes shall read photos; None to have it chosen."""
    return None if count == -1 else count


def class_of(text: str) -> int | str:
    """Read a class: an index if it is a number, else a name."""
    return int(text) if text.isdecimal() and len(text) < _DIGITS else text


def targets_of(text: str) -> int | str | list[int | str] | None:
    """Read the classes to explain: one, several, or None."""
    parts = [class_of(part) for part in _some("targets", text)] if text else []
    return parts[0] if len(parts) == 1 else parts or None


def numbers_of(text: str) -> list[int] | None:
    """Read whole numbers, separated by commas; None for none."""
    from vizkit.errors import InputError, shown

    parts = split(text)
    if not all(part.isdecimal() and len(part) < _DIGITS for part in parts) or (text and not parts):
        raise InputError(f"unknown channels {shown(text)}: write numbers such as 0,1,2")
    return [int(part) for part in parts] or None


def phases_of(text: str) -> tuple[tuple[int, int], ...]:
    """Read sizes and epochs, such as 64x8,96x6."""
    from vizkit.errors import InputError, shown

    try:
        pairs = [part.lower().split("x") for part in split(text)]
        found = tuple((int(size), int(epochs)) for size, epochs in pairs)
    except ValueError:
        found = ()
    if not found or min(min(pair) for pair in found) < 1:
        raise InputError(f"unknown phases {shown(text)}: write sizes and epochs such as 64x8,96x6")
    return found


def require_folders(*files: Path | None) -> None:
    """Raise before the work begins if there is no folder to write its results to."""
    from vizkit.errors import InputError

    for file in files:
        if file is None:
            continue
        if not file.name or file.is_dir():
            raise InputError(f"{file} is a folder, not a file to write")
        if not file.parent.is_dir():
            raise InputError(f"no such folder: {file.parent}")


def require_place(folder: Path) -> None:
    """Raise before the work begins if a folder cannot be made, for there is a file in its way."""
    from vizkit.errors import InputError

    for each in (folder, *folder.parents):
        if each.exists() and not each.is_dir():
            raise InputError(f"{each} is a file, not a folder")


def require_picture(file: Path | None, theme: str = "light") -> None:
    """Refuse a picture that cannot be drawn or written, before the work begins."""
    from vizkit.errors import choice
    from vizkit.plots.style import STAMPS, theme_of

    theme_of(theme)
    if file is not None:
        choice("figure format", file.suffix.lower().lstrip("."), STAMPS)
