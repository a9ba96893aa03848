"""Write a report: compute everything, draw it, and put the folder in place in one step.

Everything is written to a temporary folder beside the target and moved there at the end, so
that a report is either complete or not there.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from vizkit.attribution import METHODS as KNOWN
from vizkit.comparing.inputs import with_pixels
from vizkit.errors import InputError, chosen, flags, path_of, whole
from vizkit.files import make_folder, unfit, writing
from vizkit.images import Images, as_images, samples
from vizkit.interrupts import undivided
from vizkit.models import Classifier, as_classifiers
from vizkit.plots.style import check_scale
from vizkit.provenance import write_manifest
from vizkit.reports.draft import Draft
from vizkit.reports.page import Section
from vizkit.reports.sections.answers import answers
from vizkit.reports.sections.cost import cost
from vizkit.reports.sections.depth import depth
from vizkit.reports.sections.likeness import likeness
from vizkit.reports.sections.matrix import matrix
from vizkit.reports.sections.networks import networks
from vizkit.reports.sections.notes import notes
from vizkit.reports.sections.parting import parting
from vizkit.reports.sections.summary import summary
from vizkit.reports.sections.trust import trust
from vizkit.reports.study import METHODS, Study, study
from vizkit.zoo import NAMES

MODELS = tuple(f"demo/{name}" for name in NAMES)
WHAT = "vizkit report"

# one report after the other is put in its place
_REPLACING = threading.Lock()


@dataclass(frozen=True)
class Options:
    """What a report is told; see `report`."""

    channels: int = 9
    scale: str | None = None
    max_images: int = 4
    methods: tuple[str, ...] = METHODS
    same_pixels: bool = False
    speed: bool = True
    quick: bool = False

    def __post_init__(self) -> None:
        if self.scale is not None:
            check_scale(self.scale)
        whole("channels", self.channels)
        whole("max_images", self.max_images)
        chosen("method", self.methods, KNOWN)
        flags(same_pixels=self.same_pixels, speed=self.speed, quick=self.quick)


def report(
    models: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any] | None = None,
    images: object = None,
    out: str | Path = "report",
    *,
    channels: int = 9,
    scale: str | None = None,
    max_images: int = 4,
    methods: str | Sequence[str] = METHODS,
    same_pixels: bool = False,
    speed: bool = True,
    quick: bool = False,
) -> Path:
    """Write a report that compares what models do with images.

    Parameters
    ----------
    models : model, list of models, or dict of str to model, optional
        By default the nine bundled ones: VGG 11, 13, 16 and 19 with and without batch
        normalisation, and VoVNet.
    images : path, folder, PIL image, array, tensor, Images, or a list of these, optional
        By default the bundled photos. A folder with one folder a class also tells which answers
        are right.
    out : str or Path
        Folder to write; an earlier report there is replaced, anything else is refused.
    channels : int
        Channels in each cell of the feature maps.
    scale : "panel", "stage", "model" or "all", optional
        Colour scale of feature maps and attributions; by default those of a stage share one for
        feature maps, and attributions, whose height is of no use, have one each.
    max_images : int
        How many images, evenly spaced, get pictures of their own; numbers are of all.
    methods : str or list of str
        Attribution methods; see `vizkit.attribute`.
    same_pixels : bool
        Whether all models see what the first one sees; by default each has its own transform.
    speed : bool
        Whether to measure how long the models take. Of what is in a report, only this differs
        from run to run.
    quick : bool
        Whether to draw figures as light bitmaps alone, in a third of the time; by default they
        come dark, too, and as PDF.

    Returns
    -------
    Path
        Of ``index.html``, which opens from disk and fetches nothing.

    Raises
    ------
    InputError
        If an option cannot be used, no image can be read, or ``out`` holds something that is not
        a report.
    """
    names = tuple(chosen("method", methods, KNOWN))
    options = Options(channels, scale, max_images, names, same_pixels, speed, quick)
    target = checked(out)
    photos = as_images(samples() if images is None else images)
    _refuse_inside(target, images)
    classifiers = as_classifiers(list(MODELS) if models is None else models)
    measured = None if speed else pd.DataFrame()
    bundled = images is None
    return write(target, classifiers, photos, options, measured, bundled=bundled)


def write(
    target: Path,
    classifiers: Sequence[Classifier],
    photos: Images,
    options: Options,
    speed: pd.DataFrame | None,
    *,
    bundled: bool,
) -> Path:
    """Compute and write a report.

    Parameters
    ----------
    target : Path
        From `checked`.
    classifiers : sequence of Classifier
        The networks.
    photos : Images
        What they look at.
    options : Options
        The rest.
    speed : DataFrame, optional
        Measured earlier; None: measure it. Empty: leave it out.
    bundled : bool
        Whether the photos are those that come with vizkit.

    Returns
    -------
    Path
        Of ``index.html``.

    Raises
    ------
    WriteError
        If it cannot be written; an earlier report stays.
    """
    classifiers = with_pixels(classifiers, options.same_pixels)
    with _replacing(target) as folder:
        found = study(
            classifiers,
            photos,
            max_images=options.max_images,
            methods=options.methods,
            speed=speed,
        )
        with writing(target):
            _draw(found, Draft(folder, quick=options.quick), options)
            write_manifest(
                folder,
                WHAT,
                asdict(options),
                classifiers,
                photos,
                more={
                    "measured": {"speed": found.speed.to_dict("records")},
                    # sums on several threads differ in their last digits
                    "threads": torch.get_num_threads(),
                },
                sources=target,
                bundled=bundled,
            )
    return target / "index.html"


def checked(out: str | Path) -> Path:
    """Refuse a target that is a file, or a folder of something else than a report.

    Parameters
    ----------
    out : str or Path
        Where a report shall go.

    Returns
    -------
    Path
        The same.

    Raises
    ------
    InputError
        If it is no path, or holds anything that is not a report.
    """
    target = path_of("out", out).resolve()
    if not target.exists():
        return target
    if not target.is_dir():
        raise InputError(f"{target} is a file: choose a folder for the report")
    others = _others(target)
    if others:
        raise InputError(
            f"{target} holds other files than a report ({others[0]}): choose an empty or a new "
            "folder"
        )
    return target


def _others(folder: Path) -> list[str]:
    """Name the files, links and so on in a folder that are not of a report."""
    files = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    if unfit(folder / "manifest.json"):
        return sorted(files)
    try:
        facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        ours = {"manifest.json", *facts["files"]} if facts["what"] == WHAT else set()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        ours = set()
    return sorted(files - ours)


def _refuse_inside(target: Path, images: object) -> None:
    """Refuse to write among the photos, where figures would be taken for photos next time."""
    given = images if isinstance(images, list | tuple) else [images]
    for each in given:
        if isinstance(each, str | Path) and Path(each).expanduser().is_dir():
            folder = Path(each).expanduser().resolve()
            if target.is_relative_to(folder):
                raise InputError(
                    f"{target} lies among the photos in {folder}: choose another place"
                )


@undivided
def _replacing(target: Path) -> Iterator[Path]:
    """Give a hidden folder to write into, and put it in its place when it is complete."""
    folder = _beside(target)
    try:
        yield folder
        with writing(target):
            folder.chmod(0o755)
            _replace(target, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _beside(target: Path) -> Path:
    """Make a hidden folder beside a target, to write into."""
    make_folder(target.parent)
    try:
        # file systems take names of 255 bytes
        return Path(tempfile.mkdtemp(prefix=f".{target.name[:32]}-", dir=target.parent))
    except OSError as error:
        raise InputError(f"cannot write into {target.parent}: {error.strerror}") from error


def _draw(found: Study, draft: Draft, options: Options) -> None:
    steps: dict[str, Callable[[Study, Draft], Section]] = {
        "models": networks,
        "predictions": answers,
        "stage by stage": partial(matrix, scale=options.scale, channels=options.channels),
        "attributions": trust,
        "statistics": depth,
        "similarity": likeness,
        "disagreements": parting,
        "profile": cost,
        "notes": notes,
    }
    page = replace(summary(found), quick=options.quick)
    with tqdm(steps.items(), desc="drawing") as bar:
        for name, section in bar:
            bar.set_postfix_str(name)
            page.sections.append(section(found, draft))
    (draft.folder / "index.html").write_text(page.html(), encoding="utf-8")


def _replace(target: Path, new: Path) -> None:
    """Put a folder in the place of another, which goes only when the new one is there."""
    with _REPLACING:
        old = _beside(target)
        try:
            with suppress(FileNotFoundError):
                target.rename(old / "report")
            new.rename(target)
        finally:
            # unless another process has put its own there meanwhile
            if not target.exists() and (old / "report").exists():
                with suppress(OSError):
                    (old / "report").rename(target)
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
