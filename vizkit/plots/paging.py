"""Pictures of several pages as files: one PDF, or numbered bitmaps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.backends.backend_pdf import PdfPages

from vizkit.errors import InputError, choice, path_of
from vizkit.files import writing
from vizkit.interrupts import surely
from vizkit.plots.style import Picture

FORMATS = ("png", "pdf", "svg")


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
        If they cannot be written; older files stay.
    """
    target = path_of("path", path)
    kind = target.suffix.lstrip(".").lower()
    choice("figure format", kind, FORMATS)
    if not target.parent.is_dir():
        raise InputError(f"no such folder: {target.parent}")
    # beside the place, so that pages are moved there only when all are drawn
    with (
        writing(target),
        surely(TemporaryDirectory(dir=target.parent, prefix=f".{target.stem[:32]}-")) as folder,
    ):
        drawn = (_one_file if kind == "pdf" else _numbered)(pages, Path(folder) / target.name)
        if not drawn:
            raise InputError("no pages to write")
        return [each.replace(target.parent / each.name) for each in drawn]


def _numbered(pages: Iterable[Picture], target: Path) -> list[Path]:
    """Save each page in a file of its own; one alone keeps the name given."""
    drawn = [
        page.save(target.with_stem(f"{target.stem}-{number}"))
        for number, page in enumerate(pages, 1)
    ]
    return [drawn[0].replace(target)] if len(drawn) == 1 else drawn


def _one_file(pages: Iterable[Picture], target: Path) -> list[Path]:
    count = 0
    with PdfPages(target, metadata={"CreationDate": None}) as file:
        for count, page in enumerate(pages, 1):  # noqa: B007
            file.savefig(page)
    return [target] if count else []
