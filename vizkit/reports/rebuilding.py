"""Make a report again from its manifest: the same models, photos and options, checked by hash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from vizkit.comparing.inputs import with_pixels
from vizkit.errors import InputError, WeightsError, path_of
from vizkit.files import printable, unfit
from vizkit.images import Images, Photo, as_images, samples
from vizkit.interrupts import undivided
from vizkit.models import Classifier, as_classifiers, load
from vizkit.provenance import file_hash, photo_hash, transform_words, weights_hash
from vizkit.reports.writing import WHAT, Options, checked, write

# no machine has more, and starting many more would bring it down
_MOST_THREADS = 4096
_TEXT = str | None
_SHAPE: dict[str, Any] = {
    "what": str,
    "options": {
        "channels": int,
        "scale": _TEXT,
        "max_images": int,
        "methods": [str],
        "same_pixels": bool,
        "speed": bool,
        "quick": bool,
    },
    "models": [{"name": str, "sha256": str, "transform": str, "recipe": dict | None}],
    "images": [{"name": str, "sha256": str, "path": _TEXT}],
    "measured": {"speed": [{"model": str, "ms": float, "device": str}]},
    "bundled photos": bool,
    "threads": int,
    "files": dict,
}
_RECIPE: dict[str, Any] = {"name": str, "weights": _TEXT, "classes": list | None}


def rebuild_report(
    manifest: str | Path, out: str | Path = "report", *, images: object = None, device: str = "auto"
) -> Path:
    """Make a report again; on the same machine and versions, to the same bytes.

    It runs on as many threads as the first did. Speed is not measured again: the manifest holds
    what was measured.

    Parameters
    ----------
    manifest : str or Path
        A report's ``manifest.json``, or the folder that holds it.
    out : str or Path
        Folder to write, as for `vizkit.report`.
    images : folder or list of paths, optional
        Where the photos are now; by default where they were, seen from the manifest.
    device : str
        As for `vizkit.load`.

    Returns
    -------
    Path
        Of ``index.html``.

    Raises
    ------
    InputError
        If the manifest is none, a model or photo was an object in memory, or a photo is missing or
        another one.
    WeightsError
        If a model's weights are others.
    """
    path = path_of("manifest", manifest)
    path = path / "manifest.json" if path.is_dir() else path
    facts = read_manifest(path)
    target = checked(out)
    options = _options(facts, path)
    # checked before minutes are spent
    photos = _photos(facts, path, images)
    classifiers = _models(facts, path, options, device)
    measured = pd.DataFrame(facts["measured"]["speed"])
    with _threads(facts["threads"]):
        return write(
            target, classifiers, photos, options, measured, bundled=facts["bundled photos"]
        )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a report's manifest.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        Its content.

    Raises
    ------
    InputError
        If it cannot be read, or is no manifest of a report.
    """
    reason = unfit(path)
    if reason:
        raise InputError(printable(f"{path}: no manifest that can be read ({reason})"))
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(printable(f"{path}: no manifest that can be read ({error})")) from error
    if not _fits(facts, _SHAPE) or not _makes_sense(facts):
        raise InputError(
            printable(f"{path} is not the manifest of a report that can be made again")
        )
    return facts  # type: ignore[no-any-return]


def _makes_sense(facts: dict[str, Any]) -> bool:
    """Whether a manifest tells of a report, with photos, and models of different names."""
    names = {each["name"] for each in facts["models"]}
    photos = len(facts["images"])
    return (
        facts["what"] == WHAT
        and 0 < len(names) == len(facts["models"])
        and (photos == len(samples()) if facts["bundled photos"] else photos > 0)
        and 0 < facts["threads"] <= _MOST_THREADS
    )


def _fits(value: Any, shape: Any) -> bool:
    """Whether a value is of these types: of a list, each item; of a dict, at least these keys."""
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(each, shape[0]) for each in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            key in value and _fits(value[key], each) for key, each in shape.items()
        )
    return isinstance(value, shape) and not (isinstance(value, bool) and shape is int)


@undivided
def _threads(count: int) -> Iterator[None]:
    """Compute on a number of threads, and go back to what was."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def changed_files(old: dict[str, Any], folder: Path) -> list[str]:
    """Name the files of a report that are not what a manifest says.

    Parameters
    ----------
    old : dict
        From `read_manifest`.
    folder : Path
        Of a report.

    Returns
    -------
    list of str
        Those that differ, and those that only one of them has.
    """
    new = {
        path.relative_to(folder).as_posix(): file_hash(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    return sorted(name for name in old["files"] | new if old["files"].get(name) != new.get(name))


def _options(facts: dict[str, Any], path: Path) -> Options:
    given = facts["options"]
    known = {field.name for field in fields(Options)}
    if not isinstance(given, dict) or set(given) != known:
        raise InputError(f"{path} was written by another version of vizkit: its options differ")
    return Options(**{**given, "methods": tuple(given["methods"])})


def _models(facts: dict[str, Any], path: Path, options: Options, device: str) -> list[Classifier]:
    found: dict[str, Classifier] = {}
    for each in facts["models"]:
        recipe = each.get("recipe")
        if recipe is None:
            raise InputError(
                f"{each['name']} was a module in memory: only vizkit.report can show it again"
            )
        if not _fits(recipe, _RECIPE):
            raise InputError(f"{path}: {each['name']} has a recipe that cannot be read")
        weights = recipe["weights"]
        if recipe.get("file"):
            weights = path.parent / weights
        found[each["name"]] = load(
            recipe["name"],
            weights=weights,
            device=device,
            classes=recipe["classes"],
            use_test_size=recipe.get("use_test_size") is True,
            ema=recipe.get("ema") is not False,
        )
    classifiers = as_classifiers(found)
    for each, own in zip(
        facts["models"], with_pixels(classifiers, options.same_pixels), strict=True
    ):
        if weights_hash(own.module) != each["sha256"]:
            raise WeightsError(f"{own.name}: the weights are not those of the report")
        if transform_words(own.transform) != each["transform"]:
            raise InputError(f"{own.name}: the report was made with another transform")
    return classifiers


def _photos(facts: dict[str, Any], path: Path, images: object) -> Images:
    if facts["bundled photos"]:
        found = as_images(samples())
    elif images is None:
        found = Images(tuple(_photo(each, path) for each in facts["images"]))
    else:
        found = _moved(facts, as_images(images))
    for each, photo in zip(facts["images"], found, strict=True):
        if photo_hash(photo) != each["sha256"]:
            missing = photo.path is not None and not photo.path.exists()
            reason = "is missing" if missing else "is not the photo of the report"
            raise InputError(printable(f"{photo.path or photo.name} {reason}"))
    return found


def _photo(facts: dict[str, Any], path: Path) -> Photo:
    if facts.get("path") is None:
        raise InputError(
            f"{facts['name']} was an image in memory: only vizkit.report can show it again"
        )
    return Photo(facts["name"], path=path.parent / facts["path"])


def _moved(facts: dict[str, Any], images: Images) -> Images:
    """Find the photos of a report among others, by their names."""
    known = {photo.name: photo for photo in images}
    missing = [each["name"] for each in facts["images"] if each["name"] not in known]
    if missing:
        raise InputError(f"{len(missing)} photos of the report are not there, such as {missing[0]}")
    return Images(tuple(known[each["name"]] for each in facts["images"]))
