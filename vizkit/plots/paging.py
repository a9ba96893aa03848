"""Pictures of several pages as files: one PDF, or numbered bitmaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.backends.backend_pdf import PdfPages

from vizkit.errors import InputError
from vizkit.files import writing
from vizkit.interrupts import undivided
from vizkit.plots.style import STAMPS, Picture, figure_file


def save_pages(pages: Iterable[Picture], path: str | Path) -> list[Path]:
    """Write pictures one after the other.

    Parameters
    ----------
    pages : iterable of Picture
        Drawn when their turn comes, and not kept.
    path : str or Path
        A .pdf becomes one file of all pages. Of .png and .svg, each page becomes a file of its
        own, numbered from 1 if there are several.

    Returns
    -------
    list of Path
        The files. They are put in their places when all pages are drawn, each in one step.

    Raises
    ------
    InputError
        If the format is unknown, or there is no such folder, or no page.
    WriteError
        If they cannot be written.
    """
    target, kind = figure_file(path)
    with _beside(target) as folder:
        if kind == "pdf":
            drawn = _one_file(pages, folder, target)
        else:
            drawn = _numbered(pages, folder, target, kind)
        if not drawn:
            raise InputError("no pages to write")
        with writing(target):
            return [each.replace(target.parent / each.name) for each in drawn]


@undivided
def _beside(target: Path) -> Iterator[Path]:
    """Make a folder for pages, which are moved to their place only when all are drawn."""
    with writing(target):
        folder = TemporaryDirectory(dir=target.parent, prefix=f".{target.stem[:32]}-")
    with folder as name:
        yield Path(name)


def _numbered(pages: Iterable[Picture], folder: Path, target: Path, kind: str) -> list[Path]:
    """Save each page in a file of its own; one alone keeps the name given."""
    drawn = []
    for number, page in enumerate(pages, 1):
        name = f"{target.stem}-{number}{target.suffix}"
        with writing(target.with_name(name)):
            page.write_into(folder / name, kind)
        drawn.append(folder / name)
    return [drawn[0].replace(folder / target.name)] if len(drawn) == 1 else drawn


def _one_file(pages: Iterable[Picture], folder: Path, target: Path) -> list[Path]:
    count = 0
    # opened with the first page, and whole when it is closed
    file = PdfPages(folder / target.name, metadata=STAMPS["pdf"])
    try:
        for count, page in enumerate(pages, 1):  # noqa: B007
            with writing(target):
                file.savefig(page)  # type: ignore[no-untyped-call]
    except BaseException:
        # half a file cannot be finished, and goes with its folder
        with suppress(Exception):
            file.close()  # type: ignore[no-untyped-call]
        raise
    with writing(target):
        file.close()  # type: ignore[no-untyped-call]
    return [folder / target.name] if count else []
