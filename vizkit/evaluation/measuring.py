"""Evaluate networks on a folder: what is asked for, checked before the first photo is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from vizkit.errors import choice, flags, path_of, whole
from vizkit.evaluation.passing import Pass
from vizkit.evaluation.published import figures_of, published_figures
from vizkit.evaluation.writing import write_evaluation
from vizkit.images import Images, Photo
from vizkit.interrupts import surely
from vizkit.labels import folder_indices, labelled
from vizkit.models import Classifier, as_classifiers
from vizkit.plots.style import theme_of
from vizkit.results import Evaluation
from vizkit.storing import run_folder

BATCH_SIZE = 64
AMONG = ("outputs", "folders")


def evaluate(
    model: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any],
    folder: str | Path,
    by_class: bool = False,
    *,
    published: bool = False,
    among: str = "outputs",
    labels: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    theme: str = "light",
) -> pd.DataFrame:
    """Measure how often networks are right on a folder with one folder of photos a class.

    Every photo is read once for all networks. In processes started by ``torchrun`` and joined in a
    group, each takes its share of the photos and all return the table of the whole.

    Parameters
    ----------
    model : model, list of models, or dict of str to model
        Names, modules or classifiers.
    folder : str or Path
        Its folders are named after classes (``golf ball``, ``golf_ball``) or ImageNet synsets
        (``n03445777``), all of a network's or some; or after all its outputs (``0`` to ``999``).
    by_class : bool
        One row per model and class instead of one per model.
    published : bool
        Put published figures beside.
    among : "outputs" or "folders"
        What a network may choose among: all its outputs, as published figures are made, or only
        those that have a folder, as a network trained on these alone does.
    labels : str or Path, optional
        A CSV with columns file and class for photos that lie in no class folders; or Kaggle's
        ``LOC_val_solution.csv``.
    out : str or Path, optional
        A folder for tables (``summary.csv``, ``by_class.csv``, ``predictions.csv``,
        ``confusion.csv``, ``calibration.csv``, ``failed.csv``), pictures of the last two but one,
        and ``manifest.json``. While it runs, what is known so far is stored there.
    resume : bool
        Go on from what is stored in ``out``, if anything is: the results are the same to the last
        bit as those of a run that was not stopped.
    batch_size : int
        Photos in one forward pass. Results do not depend on it beyond rounding.
    workers : int, optional
        Processes that read photos ahead; by default a few for large folders.
    theme : "light" or "dark"
        Colours of the pictures.

    Returns
    -------
    DataFrame
        model, n (photos counted), top1, top5 (fractions; top5 is NaN for fewer than six
        classes), top1_error, top5_error, top1_low, top1_high (95 % Wilson interval), confidence
        (mean probability of the predicted class), own (of the photo's own class), nll (mean
        negative logarithm of that, in nats), brier (mean squared error of the probabilities, in
        [0, 2]), ece (expected calibration error over 15 bins of equal width; see
        `vizkit.results.Judged.scores`), outputs (how many classes it chose among), failed (photos
        that could not be read), transform. With ``by_class`` also class (the folder's name) and
        name (the network's), but no ece. With ``published`` and not ``by_class`` also
        published_top1, published_top5 (fractions), the differences top1_difference and
        top5_difference, published_size (pixels), published_source, and published_note: what is
        not as it was when they were made.

    Raises
    ------
    InputError
        If the folder has no class folders, one of them names no class of the model, no photo can be
        read, or what is stored in ``out`` is of another run.
    """
    flags(by_class=by_class)
    found = evaluated(
        model, folder, published=published, among=among, labels=labels, out=out, resume=resume,
        batch_size=batch_size, workers=workers, theme=theme,
    )  # fmt: skip
    return found.table(by_class)


def evaluated(
    model: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any],
    folder: str | Path,
    *,
    published: bool = False,
    among: str = "outputs",
    labels: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    theme: str = "light",
) -> Evaluation:
    """Evaluate networks, and keep what each says of each photo.

    Parameters
    ----------
    model, folder, published, among, labels, out, resume, batch_size, workers, theme
        As for `evaluate`.

    Returns
    -------
    Evaluation
        With tables of calibration and confusion, also for `vizkit.plots.plot_calibration` and
        `vizkit.plots.plot_confusion`.

    Raises
    ------
    InputError
        As `evaluate` does.
    """
    # what is wrong shall be said before the work, not after it
    theme_of(theme)
    flags(published=published, resume=resume)
    run = _prepared(model, path_of("folder", folder), among, labels, batch_size)
    home = run_folder(out, resume)
    if home is not None:
        run.keep_in(home, resume)
    # of the files as they are now: the pass may take hours
    figures = [figures_of(each) for each in run.classifiers] if published else []
    # numbers made in the user's inference mode could not be changed
    with surely(torch.inference_mode(mode=False)):
        run.go(workers)
    found = run.result()
    if published:
        found = replace(found, published=published_figures(run.classifiers, figures, found))
    if home is not None:
        write_evaluation(found, run, home, theme)
    return found


def _prepared(
    model: Any, root: Path, among: str, labels: str | Path | None, batch_size: int
) -> Pass:
    """Find out what every photo is of, before any is read."""
    batch_size = whole("batch_size", batch_size)
    choice("choice for among", among, AMONG)
    photos = labelled(root, None if labels is None else path_of("labels", labels))
    classifiers = as_classifiers(model)
    folders = [label for _, label in photos]
    outputs = [folder_indices(each, sorted(set(folders))) for each in classifiers]
    return Pass(
        classifiers,
        Images(tuple(Photo(_name(path, root), path=path) for path, _ in photos)),
        batch_size,
        folders,
        [torch.tensor([own[label] for label in folders]) for own in outputs],
        [_only(own) if among == "folders" else None for own in outputs],
    )


def _only(outputs: dict[str, int]) -> Tensor:
    return torch.tensor(sorted(set(outputs.values())))


def _name(path: Path, root: Path) -> str:
    """Name a photo as seen from the folder; a table may name some that lie elsewhere."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
