"""Stream images through several networks, and keep where their predictions and maps part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.attribution import METHODS
from vizkit.attribution.explaining import Explainer, explainer
from vizkit.attribution.run import join
from vizkit.comparing.tallies import MapTally, PredictionTally
from vizkit.comparing.together import opened, opened_on
from vizkit.errors import InputError, choice, flags, whole
from vizkit.forward import BATCH_SIZE
from vizkit.images import Images, Transform, as_images
from vizkit.labels import folder_indices
from vizkit.models import Classifier, as_classifiers
from vizkit.outcomes import logits_of
from vizkit.provenance import transform_words
from vizkit.results import Attributions, Tap
from vizkit.results.disagreement import Disagreement
from vizkit.stages import find_stages
from vizkit.streaming import Batch, labels_of, stream

_QUIET = 20


def disagreement(
    models: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any],
    images: object,
    *,
    maps: bool = True,
    labelled: bool = True,
    method: str = "grad_cam",
    at: str | Sequence[str | Tap] = "stages",
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
) -> Disagreement:
    """Find the images on which networks disagree most, and count how they differ.

    Every image passes each network once, forwards, and, for maps, once backwards. Only numbers
    are kept. All networks explain the same class of an image: its own where the images lie in
    class folders, else the one that is most probable on average.

    Parameters
    ----------
    models : list of models, or dict of str to model
        Two or more names, modules or classifiers, which share two or more classes by name.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Any number; with a folder for each class (``church/``, ``n03028079/``), predictions are
        also judged. Unreadable files are left out and listed.
    maps : bool
        Whether to compare maps too, not predictions alone.
    labelled : bool
        Whether folders are the images' own classes; False if they are just folders.
    method : str
        Who makes them: a name in `METHODS`.
    at : "stages", "layers", or a list of names, paths or taps
        Where maps are compared. Stages are joined on stride, others on their name.
    batch_size : int
        The most images at a time. With maps, which hold the graphs of all networks, at most 16
        by the number of networks.
    workers : int, optional
        Processes that read photos ahead; see `vizkit.streaming.stream`.

    Returns
    -------
    Disagreement
        Predictions, ranking of the images, and agreement of the maps.

    Raises
    ------
    InputError
        If there are fewer than two networks or shared classes, a folder names no class of a
        network, a method or stage is unknown, or no image can be read.
    """
    batch_size = whole("batch_size", batch_size)
    flags(maps=maps, labelled=labelled)
    choice("method", method, METHODS)
    classifiers = _several(models)
    photos = as_images(images)
    asked = _explainers(classifiers, method, at) if maps else []
    said = PredictionTally(classifiers, photos, _outputs(classifiers, photos, labelled))
    tally = MapTally(by_stride=at == "stages")
    failed: dict[str, str] = {}
    size = min(batch_size, max(1, BATCH_SIZE // len(classifiers))) if maps else batch_size
    total = len(photos)
    with tqdm(total=total, desc="disagreement", unit="image", disable=total < _QUIET) as bar:
        for batch in stream(classifiers, photos, size=size, workers=workers):
            failed |= batch.failed
            _add(batch, said, tally, asked)
            bar.update(len(batch))
    if not said.positions:
        raise InputError(f"none of the images can be read: {'; '.join(list(failed.values())[:3])}")
    draft = Disagreement(
        predictions=said.predictions(),
        ranking=said.ranking().assign(**tally.to_ranking(), score=math.nan),
        agreement=tally.agreement(),
        stages=tally.stages(),
        stage=tally.last,
        method=METHODS[method].label if maps else None,
        failed=pd.DataFrame(list(failed.items()), columns=["file", "reason"]),
        transforms=_transforms(classifiers, photos),
    )
    return replace(draft, ranking=draft.ranked())


def disputed(found: Disagreement, images: object, count: int = 6, by: str = "divergence") -> Images:
    """Pick the images on which networks disagree most.

    Parameters
    ----------
    found : Disagreement
        From `disagreement`.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        The same that it was given.
    count : int
        How many; fewer where there are fewer.
    by : "divergence" or "maps"
        What they are ranked by.

    Returns
    -------
    Images
        The most disputed first, under their names in ``found``.

    Raises
    ------
    InputError
        If they are other images, or cannot be ranked by this.
    """
    count = whole("count", count)
    photos = as_images(images)
    chosen = found.ranked(by).head(count)
    picked = [photos.photos[n] for n in chosen["position"] if n < len(photos)]
    if [photo.name for photo in picked] != list(chosen["image"]):
        raise InputError("these are not the images that were compared")
    return Images(tuple(picked))


def explained(
    models: Any,
    images: Images,
    *,
    labelled: bool = True,
    method: str = "grad_cam",
    at: Any = "stages",
) -> list[Attributions]:
    """Make the maps that `disagreement` compares, of few images.

    Parameters
    ----------
    models : list of models, or dict of str to model
        Two or more names, modules or classifiers.
    images : Images
        Readable, as `disputed` gives them.
    labelled, method, at
        As for `disagreement`.

    Returns
    -------
    list of Attributions
        One per network, of the same class of each image.
    """
    classifiers = _several(models)
    asked = _explainers(classifiers, method, at)
    tally = PredictionTally(classifiers, images, _outputs(classifiers, images, labelled))
    parts: list[list[Attributions]] = []
    for n in range(len(images)):
        with opened(asked, images[n]) as passes:
            targets = tally.add([n], [each.logits for each in passes])
            parts.append([each.explain(own) for each, own in zip(passes, targets, strict=True)])
    return [join(own) for own in zip(*parts, strict=True)]


def _add(batch: Batch, said: PredictionTally, maps: MapTally, asked: Sequence[Explainer]) -> None:
    """Run every network once on some images."""
    if not batch.positions:
        return
    if not asked:
        said.add(batch.positions, logits_of(said.classifiers, batch.inputs))
        return
    seen = [batch.seen(n, each, said.images) for n, each in enumerate(said.classifiers)]
    with opened_on(asked, batch.inputs, seen) as passes:
        targets = said.add(batch.positions, [each.logits for each in passes])
        found = [each.explain(own) for each, own in zip(passes, targets, strict=True)]
    maps.add(found)


def _several(models: Any) -> list[Classifier]:
    classifiers = as_classifiers(models)
    if len(classifiers) < 2:
        raise InputError(f"it takes two models to disagree, here is only {classifiers[0].name}")
    return classifiers


def _explainers(classifiers: Sequence[Classifier], method: str, at: Any) -> list[Explainer]:
    choice("method", method, METHODS)
    return [explainer(each, method, find_stages(each, at)) for each in classifiers]


def _outputs(
    classifiers: Sequence[Classifier], images: Images, labelled: bool
) -> list[Tensor] | None:
    """Find the output of each network that is each image's own class, by their folders."""
    labels = labels_of(images) if labelled else None
    if labels is None:
        return None
    folders = sorted(set(labels))
    wanted = [folder_indices(each, folders) for each in classifiers]
    return [torch.tensor([own[label] for label in labels]) for own in wanted]


def _transforms(classifiers: Sequence[Classifier], images: Images) -> dict[str, str]:
    """Say what each network's photos go through, in as many words as tell them apart."""
    if all(photo.tensor is not None for photo in images):
        return {each.name: "tensors as they are" for each in classifiers}
    whole_words = [transform_words(each.transform) for each in classifiers]
    few_words = [
        str(each.transform) if isinstance(each.transform, Transform) else long
        for each, long in zip(classifiers, whole_words, strict=True)
    ]
    enough = len(set(few_words)) == len(set(whole_words))
    chosen = few_words if enough else whole_words
    return {each.name: words for each, words in zip(classifiers, chosen, strict=True)}
