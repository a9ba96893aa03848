"""Judge attribution methods on a folder of labelled photos."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from vizkit.attribution import METHODS, attribute, faithfulness
from vizkit.attribution.baselines import BASELINES
from vizkit.attribution.curves import STEPS, check_curves
from vizkit.boxes import boxes_of
from vizkit.errors import ConvergenceWarning, InputError, chosen, whole
from vizkit.files import replacing
from vizkit.images import as_images, readable
from vizkit.interrupts import surely
from vizkit.labels import folder_indices, labelled
from vizkit.models import Classifier

_BATCH = 4
KEYS = ("model", "method", "stage")


@dataclass(frozen=True, eq=False)
class Judgement:
    """How methods did.

    Attributes
    ----------
    frame : DataFrame
        As `vizkit.faithfulness` gives it, for all models and photos.
    left_out : list of (str, str, str)
        Model, method and reason, where a method cannot explain a model.
    failed : dict of str to str
        Path and reason of photos that could not be read.
    """

    frame: pd.DataFrame
    left_out: list[tuple[str, str, str]]
    failed: dict[str, str]


def judge(
    models: Sequence[Classifier],
    folder: Path,
    methods: Sequence[str] | None = None,
    stages: Sequence[str] | None = None,
    *,
    boxes: Mapping[str, Sequence[Any]] | None = None,
    per_class: int = 0,
    out: Path | None = None,
    **options: Any,
) -> Judgement:
    """Explain each photo's own class by every method, and measure the maps.

    Parameters
    ----------
    models : sequence of Classifier
        The networks.
    folder : Path
        One folder of photos a class.
    methods : sequence of str, optional
        By default all.
    stages : sequence of str, optional
        Where stage-level methods look; by default everywhere.
    boxes : mapping of file name to boxes, optional
        In pixels of the photos.
    per_class : int
        Photos of each class, evenly spaced; 0 for all.
    out : Path, optional
        A CSV file, written anew after every few photos.
    **options
        As for `vizkit.faithfulness`.

    Returns
    -------
    Judgement
        A row for each map, and the methods and photos that could not be used.

    Raises
    ------
    InputError
        If there are no photos or no method can be used.
    """
    per_class = whole("per_class", per_class, 0)
    check_curves(options.get("baseline", BASELINES[0]), options.get("steps", STEPS))
    wanted = list(METHODS) if methods is None else chosen("method", methods, METHODS)
    if not models:
        raise InputError("no models: the list is empty")
    if out is not None and (not out.name or not out.parent.is_dir()):
        raise InputError(f"no such folder: {out.parent}")
    picked = _some(labelled(folder), per_class)
    failed: dict[str, str] = {}
    for path, _ in picked:
        failed |= readable(as_images([path]))[1]
    photos = [(path, label) for path, label in picked if str(path) not in failed]
    if not photos:
        raise InputError(f"{folder}: {next(iter(failed.values()))}")
    frames: list[pd.DataFrame] = []
    left_out: list[tuple[str, str, str]] = []
    for classifier in models:
        usable, reasons = _usable(classifier, photos[0][0], wanted, stages)
        left_out += [(classifier.name, name, reason) for name, reason in reasons.items()]
        index = folder_indices(classifier, sorted({label for _, label in photos}))
        for start in tqdm(range(0, len(photos), _BATCH), desc=classifier.name):
            some = photos[start : start + _BATCH]
            paths = [path for path, _ in some]
            targets = torch.tensor([index[label] for _, label in some])
            with surely(warnings.catch_warnings()):
                # the error of each map is in its table already
                warnings.simplefilter("ignore", ConvergenceWarning)
                maps = attribute(classifier, paths, usable, targets, stages)
                own = None if boxes is None else [boxes_of(boxes, str(path)) for path in paths]
                frames.append(faithfulness(classifier, paths, maps, boxes=own, **options))
            if out is not None:
                _write(pd.concat(frames, ignore_index=True), out)
    return Judgement(pd.concat(frames, ignore_index=True), left_out, failed)


def means(frame: pd.DataFrame) -> pd.DataFrame:
    """Average over photos.

    Parameters
    ----------
    frame : DataFrame
        From `judge` or `vizkit.faithfulness`.

    Returns
    -------
    DataFrame
        One row per model, method and stage: n and the mean of each measure.
    """
    groups = frame.drop(columns=["index"]).groupby(list(KEYS), sort=False)
    table = groups.mean(numeric_only=True)
    table.insert(0, "n", groups.size())
    return table.reset_index()


def _some(photos: list[tuple[Path, str]], per_class: int) -> list[tuple[Path, str]]:
    if not per_class:
        return photos
    kept = []
    for label in dict.fromkeys(label for _, label in photos):
        own = [photo for photo in photos if photo[1] == label]
        places = np.linspace(0, len(own) - 1, min(per_class, len(own))).round().astype(int)
        kept += [own[place] for place in places]
    return kept


def _usable(
    classifier: Classifier, photo: Path, methods: Sequence[str], stages: Sequence[str] | None
) -> tuple[list[str], dict[str, str]]:
    """Which methods can explain a network; unknown names are the user's mistake."""
    reasons = {}
    for name in methods:
        quick = {key: 2 for key in ("n_masks", "n_samples", "n_steps") if _has(name, key)}
        try:
            with surely(warnings.catch_warnings()):
                warnings.simplefilter("ignore", ConvergenceWarning)
                attribute(classifier, photo, name, stages=stages, **quick)
        except InputError as error:
            if name not in METHODS:
                raise
            reasons[name] = str(error)
    usable = [name for name in methods if name not in reasons]
    if not usable:
        raise InputError("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
    return usable, reasons


def _has(method: str, option: str) -> bool:
    return method in METHODS and option in METHODS[method].options


def _write(frame: pd.DataFrame, path: Path) -> None:
    with replacing(path) as partial:
        frame.to_csv(partial, index=False)
