"""Pictures of several pages as files: one PDF, or numbered bitmaps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from matplotlib.backends.backend_pdf import PdfPages

from vizkit.plots.style import Picture


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
        The files; each is replaced in one step.

    Raises
    ------
    InputError
        If the format is unknown or there is no such folder.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() == ".pdf":
        return [_save_pdf(pages, target)]
    written: list[Path] = []
    for number, page in enumerate(pages, 1):
        file = target if number == 1 else target.with_stem(f"{target.stem}-{number}")
        written.append(page.save(file))
    if len(written) > 1:
        written[0] = target.replace(target.with_stem(f"{target.stem}-1"))
    return written


def _save_pdf(pages: Iterable[Picture], target: Path) -> Path:
    partial = target.with_name(f".{target.name}.partial")
    try:
        with PdfPages(partial, metadata={"CreationDate": None}) as file:
            for page in pages:
                file.savefig(page)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
