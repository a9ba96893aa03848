"""How often a network is right on a folder of labelled photos."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.errors import InputError, unknown
from vizkit.forward import recorded
from vizkit.images import Images, Photo, photos_in, printable
from vizkit.models import Classifier, as_classifiers, imagenet_classes
from vizkit.results.chance import wilson
from vizkit.streaming import stream

BATCH_SIZE = 64


def evaluate(
    model: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any],
    folder: str | Path,
    by_class: bool = False,
) -> pd.DataFrame:
    """Measure top-1 and top-5 accuracy on a folder with one folder of photos a class.

    Parameters
    ----------
    model : model, list of models, or dict of str to model
        Names, modules or classifiers.
    folder : str or Path
        Its folders are named after classes (``golf ball``, ``golf_ball``) or ImageNet synsets
        (``n03445777``).
    by_class : bool
        One row per model and class instead of one per model.

    Returns
    -------
    DataFrame
        model, n (photos counted), top1, top5 (fractions; top5 is NaN for fewer than six
        classes), top1_error, top5_error, top1_low, top1_high (95 % Wilson interval), failed
        (photos that could not be read), transform; with ``by_class`` also class.

    Raises
    ------
    InputError
        If the folder has no class folders, or one of them names no class of the model.
    """
    root = Path(folder).expanduser()
    photos = labelled(root)
    classifiers = as_classifiers(model)
    folders = sorted({label for _, label in photos})
    wanted = [folder_indices(classifier, folders) for classifier in classifiers]
    tables, failed = _hits(classifiers, photos, wanted)
    rows = []
    for classifier, hits in zip(classifiers, tables, strict=True):
        frame = pd.DataFrame(hits, columns=["class", "top1", "top5"])
        groups = frame.groupby("class", sort=False) if by_class else [("all", frame)]
        rows += [_row(classifier, str(name), group, failed) for name, group in groups]
    table = pd.DataFrame(rows)
    return table if by_class else table.drop(columns="class")


def _row(classifier: Classifier, name: str, hits: pd.DataFrame, failed: int) -> dict[str, Any]:
    n = len(hits)
    top1, top5 = hits["top1"].mean(), hits["top5"].mean()
    low, high = wilson(int(hits["top1"].sum()), n)
    return {
        "model": classifier.name,
        "class": name,
        "n": n,
        "top1": top1,
        "top5": top5,
        "top1_error": 1 - top1,
        "top5_error": 1 - top5,
        "top1_low": low,
        "top1_high": high,
        "failed": failed,
        "transform": str(classifier.transform),
    }


def _hits(
    classifiers: list[Classifier], photos: list[tuple[Path, str]], wanted: list[dict[str, int]]
) -> tuple[list[list[tuple[str, float, float]]], int]:
    """Whether each photo's class is the first, and among the first five, of each network's."""
    hits: list[list[tuple[str, float, float]]] = [[] for _ in classifiers]
    images = Images(tuple(Photo(path.name, path=path) for path, _ in photos))
    failed = 0
    with tqdm(total=len(photos), desc="evaluation", unit="image") as bar:
        for batch in stream(classifiers, images, size=BATCH_SIZE):
            failed += len(batch.failed)
            labels = [photos[position][1] for position in batch.positions]
            for n, classifier in enumerate(classifiers if labels else ()):
                with recorded(classifier.module, (), batch.inputs[n]) as (_, logits):
                    targets = torch.tensor([wanted[n][label] for label in labels])
                    hits[n] += zip(labels, *_ranks(logits.float().cpu(), targets), strict=True)
            bar.update(len(batch))
    return hits, failed


def _ranks(logits: Tensor, targets: Tensor) -> tuple[list[float], list[float]]:
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    right = top == targets[:, None]
    first = right[:, 0].float().tolist()
    among = right.any(dim=1).float().tolist()
    return first, among if logits.shape[1] > 5 else [math.nan] * len(first)


def labelled(root: Path) -> list[tuple[Path, str]]:
    """List the photos of a folder of class folders.

    Parameters
    ----------
    root : Path
        One folder a class.

    Returns
    -------
    list of (Path, str)
        Each photo and the name of its class folder, sorted.

    Raises
    ------
    InputError
        If there are none, or a folder cannot be opened.
    """
    if not root.is_dir():
        raise InputError(f"no such folder: {root}")
    parts = ((path, path.relative_to(root).parts) for path in photos_in(root))
    # photos beside the class folders belong to no class
    found = [(path, printable(names[0])) for path, names in parts if len(names) > 1]
    if not found:
        raise InputError(f"{root} has no class folders with photos, such as {root.name}/church/")
    return found


def folder_indices(classifier: Classifier, folders: list[str]) -> dict[str, int]:
    """Find the output that each class folder stands for.

    Parameters
    ----------
    classifier : Classifier
        Who knows the names.
    folders : list of str
        Names of classes, or ImageNet synsets.

    Returns
    -------
    dict of str to int
        Output by folder.

    Raises
    ------
    InputError
        If a folder is no class of the network.
    """
    if not classifier.classes:
        raise InputError(f"{classifier.name} has no class names: give them to load or wrap")
    # exact names win over those that differ in case only ("Cardigan" is a dog in ImageNet)
    exact = {name: i for i, name in enumerate(classifier.classes)}
    numbers = {_plain(name): i for name, i in exact.items()} | exact
    found = {}
    for folder in folders:
        name = _synsets().get(folder, folder)
        index = numbers.get(name, numbers.get(_plain(name)))
        if index is None:
            shown = folder if name == folder else f"{folder} ({name})"
            raise unknown(f"class folder of {classifier.name}", shown, classifier.classes, 12)
        found[folder] = index
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().lower()


@cache
def _synsets() -> dict[str, str]:
    """ImageNet-1k synset -> class name; timm ships the synsets, torchvision the names."""
    from timm.data import ImageNetInfo

    return dict(zip(ImageNetInfo().label_names(), imagenet_classes(), strict=True))
