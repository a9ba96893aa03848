"""Attributions of a folder as files: raw values for programs, a picture for people."""

from __future__ import annotations

import inspect
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.attribution import attribute
from vizkit.attribution.targets import rows_of
from vizkit.comparing import disputed, explained
from vizkit.comparing.inputs import usable_of
from vizkit.errors import InputError, choice, flags, instance, path_of
from vizkit.files import distinct, make_folder, printable, replacing, slug, writing
from vizkit.images import Images, as_images, readable
from vizkit.models import Classifier, as_classifiers
from vizkit.plots import (
    Picture,
    plot_attributions,
    plot_calibration,
    plot_confusion,
    plot_disagreement,
    plot_gallery,
)
from vizkit.results import Attributions, Disagreement


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    files : tuple of Path
        Values and pictures, in the order of the images.
    failed : dict of str to str
        Path and reason of images that could not be read.
    """

    files: tuple[Path, ...]
    failed: dict[str, str]


def export_attributions(
    models: str | nn.Module | Classifier | Sequence[Any],
    images: object,
    out: str | Path,
    methods: str | Sequence[str] = "grad_cam",
    targets: Any = None,
    stages: Sequence[str] | None = None,
    *,
    against: int | str | None = None,
    pictures: bool = True,
    theme: str = "light",
    drawing: dict[str, Any] | None = None,
    **options: Any,
) -> Exported:
    """Write the attributions of each image into a folder, one image after the other.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        All of them go into the files of each image.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Any number; what cannot be read is left out and named.
    out : str or Path
        The folder; made if it does not exist. Files in it with the same names are replaced.
    methods, targets, stages, against, **options
        As for `vizkit.attribute`.
    pictures : bool
        Whether to draw each image's maps as well.
    theme : "light" or "dark"
        Colours of the pictures.
    drawing : dict, optional
        Further arguments of `vizkit.plots.plot_attributions`.

    Returns
    -------
    Exported
        ``NAME.npz`` for each image, readable by `numpy.load` without pickle: arrays of shape
        (T, h, w) under ``MODEL/METHOD/STAGE``, and ``MODEL/targets``, ``MODEL/names``,
        ``MODEL/probabilities`` (T,) and ``MODEL/box`` (the part of the photo that the network saw:
        x0, y0, x1, y1); with ``NAME.png`` beside it.

    Raises
    ------
    InputError
        If the folder cannot be made or an argument cannot be used.
    WriteError
        If a file cannot be written; those before it stay.
    """
    flags(pictures=pictures)
    extra = _drawing(drawing)
    folder = path_of("out", out)
    classifiers = as_classifiers(models)
    photos = as_images(images)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder")
    names = _of_files([slug(Path(photo.name).stem or "image") for photo in photos])
    rows = rows_of(targets, len(photos)) if isinstance(targets, Tensor) else None
    written: list[Path] = []
    failed: dict[str, str] = {}
    with tqdm(total=len(photos), desc="attribution", unit="image", disable=len(photos) == 1) as bar:
        for n, (photo, name) in enumerate(zip(photos, names, strict=True)):
            usable, _, reasons = usable_of(Images((photo,)), n, classifiers)
            failed |= {printable(photo.path): reason for reason in reasons.values()}
            if len(usable):
                own = targets if rows is None else rows[n : n + 1]
                found = [
                    attribute(each, usable, methods, own, stages, against=against, **options)
                    for each in classifiers
                ]
                # drawn first, so that a mistake leaves no file behind
                drawn = plot_attributions(found, theme=theme, **extra) if pictures else None
                make_folder(folder)
                written.append(_save_values(found, folder / f"{name}.npz"))
                if drawn is not None:
                    written.append(_save_picture(drawn, folder / f"{name}.png"))
            bar.update()
    return Exported(tuple(written), failed)


def export_disagreement(
    found: Disagreement,
    models: Any,
    images: object,
    out: str | Path,
    *,
    count: int = 6,
    by: str = "divergence",
    method: str = "grad_cam",
    theme: str = "light",
) -> list[Path]:
    """Write where networks part into a folder: tables, and pictures of them.

    Parameters
    ----------
    found : Disagreement
        From `vizkit.disagreement`.
    models, images
        What it was given.
    out : str or Path
        The folder; made if it does not exist. Files in it with the same names are replaced.
    count : int
        Images in the gallery.
    by : "divergence" or "maps"
        What images are ranked by.
    method : str
        Who made the maps.
    theme : "light" or "dark"
        Colours of the pictures.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        If the folder cannot be made.
    WriteError
        If a file cannot be written; those before it stay.
    """
    folder = path_of("out", out)
    tables = {"disputed": found.ranked(by), "predictions": found.predictions}
    pictures = {"overview": plot_disagreement(found, theme=theme)}
    if found.method is not None:
        tables["agreement"] = found.agreement
        few = readable(disputed(found, images, count, by))[0]
        maps = explained(models, few, labelled=found.labelled, method=method)
        pictures["disputed"] = plot_gallery(found, maps, theme=theme)
    if found.labelled:
        tables |= {"scores": found.scores(), "flip_counts": found.flip_counts()}
        tables |= {"calibration": found.calibration(), "confusion": found.confusion()}
        pictures["calibration"] = plot_calibration(found, theme=theme)
        pictures["confusion"] = plot_confusion(found, theme=theme)
    make_folder(folder)
    for name, table in tables.items():
        with replacing(folder / f"{name}.csv") as partial:
            table.to_csv(partial, index=False)
    drawn = [_save_picture(picture, folder / f"{name}.png") for name, picture in pictures.items()]
    return [*drawn, *(folder / f"{name}.csv" for name in tables)]


def _drawing(options: dict[str, Any] | None) -> dict[str, Any]:
    """Refuse what `plot_attributions` does not take, before anything is computed."""
    if options is None:
        return {}
    instance("drawing", options, dict)
    _, *known = inspect.signature(plot_attributions).parameters
    known.remove("theme")
    for name in options:
        choice("option of drawing", name, known)
    return options


def _save_values(found: Sequence[Attributions], path: Path) -> Path:
    arrays: dict[str, np.ndarray] = {}
    for each, model in zip(found, _of_files([_inside(each.model) for each in found]), strict=True):
        targets = range(each.targets.shape[1])
        arrays[f"{model}/targets"] = each.targets[0].cpu().numpy()
        arrays[f"{model}/names"] = np.array([each.target_name(0, t) for t in targets])
        arrays[f"{model}/probabilities"] = each.probabilities[0].cpu().numpy()
        arrays[f"{model}/box"] = np.array(each.seen.boxes[0])
        for method, maps in each.values.items():
            for stage, values in maps.items():
                arrays[f"{model}/{method}/{stage}"] = values[0].cpu().numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    with replacing(path) as partial:
        partial.write_bytes(buffer.getvalue())
    return path


def _save_picture(picture: Picture, path: Path) -> Path:
    with writing(path):
        return picture.save(path)


def _of_files(names: list[str]) -> list[str]:
    """Keep names of files apart, also where the file system tells no "A" from an "a"."""
    return distinct(names, "{}-{}", str.casefold)


def _inside(model: str) -> str:
    """Write a model's name as a path that stays inside what it is part of: an .npz is a zip."""
    return "/".join(slug(part) for part in model.split("/"))
