"""The photos in a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from vizkit.errors import InputError
from vizkit.files import printable

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2"}
)


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
