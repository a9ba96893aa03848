"""Writing: files that are either as they were or complete, and folders to put them in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vizkit.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file beside its place, and put it there in one step when it is complete.

    If writing fails, nothing is left behind, and what was there stays.

    Parameters
    ----------
    path : Path
        Its place.

    Yields
    ------
    Path
        Where to write.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises
    ------
    InputError
        If that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}") from error
