"""Classify any number of images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pandas as pd
from torch import nn
from tqdm.auto import tqdm

from vizkit.errors import InputError, UnreadableWarning, flags, whole
from vizkit.forward import BATCH_SIZE
from vizkit.images import Images, as_images
from vizkit.models import Classifier, as_classifier, as_classifiers
from vizkit.models.names import synsets_of
from vizkit.outcomes import checked, logits_of
from vizkit.prediction.ranking import ranked
from vizkit.streaming import stream


def predict(
    model: str | nn.Module | Classifier, images: object, k: int = 5, *, synsets: bool = False
) -> pd.DataFrame:
    """Classify images.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        The network.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        What to classify; any number. Files that cannot be read are left out with a warning.
    k : int
        How many classes to list for each image, most probable first.
    synsets : bool
        Add the WordNet synset of ImageNet's classes, such as ``"n01440764"``.

    Returns
    -------
    DataFrame
        One row per image and rank: image, rank (from 1), class, index, probability (softmax,
        in [0, 1]), logit; on request synset, empty for classes that are not ImageNet's.

    Raises
    ------
    InputError
        If ``k`` is not positive or no image can be read.
    """
    frame, failed = predictions([as_classifier(model)], as_images(images), k, synsets=synsets)
    warn_of(failed)
    return frame.drop(columns="model")


def predictions(
    classifiers: Sequence[Classifier],
    images: Images,
    k: int = 5,
    *,
    synsets: bool = False,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Classify images by several networks; each file is read once for all.

    Parameters
    ----------
    classifiers : sequence of Classifier
        The networks.
    images : Images
        Any number; they are read when their turn comes and not kept.
    k, synsets
        As for `predict`.
    batch_size : int
        Images in one forward pass.
    workers : int, optional
        Processes that read photos ahead; by default a few for many files.

    Returns
    -------
    frame : DataFrame
        As from `predict`, with a first column model.
    failed : dict of str to str
        Files that could not be read, and why.

    Raises
    ------
    InputError
        As `predict` does.
    """
    k, batch_size = whole("k", k), whole("batch_size", batch_size)
    flags(synsets=synsets)
    classifiers = as_classifiers(classifiers)
    parts: list[list[pd.DataFrame]] = [[] for _ in classifiers]
    failed: dict[str, str] = {}
    quiet = len(images) <= batch_size
    with tqdm(total=len(images), desc="predictions", unit="image", disable=quiet) as bar:
        for batch in stream(classifiers, images, size=batch_size, workers=workers):
            failed |= batch.failed
            names = [images.photos[n].name for n in batch.positions]
            found = logits_of(classifiers, batch.inputs) if names else ()
            for each, own, logits in zip(classifiers, parts, found, strict=bool(names)):
                own.append(ranked(checked(each, logits), names, each.classes, k))
            bar.update(len(batch))
    require_some(len(images), failed)
    tables = []
    for each, own in zip(classifiers, parts, strict=True):
        table = pd.concat(own, ignore_index=True)
        table.insert(0, "model", each.name)
        if synsets:
            known = synsets_of(each.classes)
            table["synset"] = [known[i] if i < len(known) else "" for i in table["index"]]
        tables.append(table)
    return pd.concat(tables, ignore_index=True), failed


def require_some(count: int, failed: dict[str, str]) -> None:
    """Raise if none of the images could be read.

    Parameters
    ----------
    count : int
        How many there are.
    failed : dict of str to str
        Those that could not be read, and why.

    Raises
    ------
    InputError
        Which names the first few.
    """
    if len(failed) < count:
        return
    more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
    raise InputError("; ".join(list(failed.values())[:3]) + more)


def warn_of(failed: dict[str, str]) -> None:
    """Warn of files that were left out.

    Parameters
    ----------
    failed : dict of str to str
        Those that could not be read, and why.
    """
    if not failed:
        return
    first = next(iter(failed.values()))
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    warnings.warn(f"left out {first}{more}", UnreadableWarning, stacklevel=3)
