"""One pass per network, and everything that is compared from it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.attribution import agreement
from vizkit.attribution.explaining import Explainer, explainer
from vizkit.attribution.run import join
from vizkit.comparing.classes import check_targets, targets_of
from vizkit.comparing.inputs import with_pixels
from vizkit.comparing.together import opened
from vizkit.errors import InputError, unknown, whole
from vizkit.forward import BATCH_SIZE, merged
from vizkit.images import Images, Transform, as_images, readable
from vizkit.models import Classifier, as_classifiers
from vizkit.prediction import top
from vizkit.profiling import profile
from vizkit.results import Attributions, Comparison, FeatureMaps, Tap, align
from vizkit.stages import find_stages
from vizkit.statistics.planning import planned
from vizkit.statistics.run import Run
from vizkit.statistics.sample import PLACES

ROLES = ("conv", "norm", "act", "pool", "gate", "block")
# of the machine's memory, what maps may take
_SHARE = 0.6
_QUIET = 40


def compare(
    models: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any],
    images: object,
    at: str | Sequence[str | Tap] = "stages",
    *,
    role: str | None = None,
    methods: str | Sequence[str] = "grad_cam",
    targets: Any = None,
    statistics: str | Sequence[str] | None = None,
    same_pixels: bool | Transform = False,
    k: int = 5,
    **options: Any,
) -> Comparison:
    """Compare what networks make of the same images, from one pass of each.

    Networks are joined on stride, or layer by layer on the paper's names; where one has nothing,
    the cell stays empty. All explain the same class of an image.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Names, modules or classifiers.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        As many as their maps fit in memory; for whole folders there are `describe`, `similarity`
        and `disagreement`. Unreadable files are left out and listed.
    at : "stages", "layers", or a list of names, paths or taps
        Where to read; see `find_stages`.
    role : "conv", "norm", "act" or "pool", optional
        Of layers, which to read: before and after normalisation, or after the activation; by
        default, after the activation. Networks without it have empty cells.
    methods, **options
        As for `vizkit.attribute`.
    targets : None, int, str, list, or Tensor
        The classes explained, as for `vizkit.attribute`; None and ``"top5"`` mean the most
        probable on average of the classes that all networks know, by name. If they share none,
        each explains its own prediction.
    statistics : str or list of str, optional
        Names as in `vizkit.describe`, but those of gradients.
    same_pixels : bool or Transform
        Whether all networks see the same pixels, those of the first one's transform or of the
        one given; by default each sees a photo as it was trained to.
    k : int
        How many classes to list for each image.

    Returns
    -------
    Comparison
        Predictions, feature maps, attributions, statistics, profile and agreement, and `axis`.

    Raises
    ------
    InputError
        If an argument is unknown, no image can be read, or maps would not fit in memory.
    """
    whole("k", k)
    classifiers = with_pixels(as_classifiers(models), same_pixels)
    taps = [_taps(each, at, role) for each in classifiers]
    photos, failed = readable(as_images(images))
    if not len(photos):
        raise InputError(f"none of the images can be read: {'; '.join(failed.values())}")
    targets = check_targets(targets, classifiers, len(photos))
    asked = [
        replace(explainer(each, methods, own, **options), taps=tuple(own))
        for each, own in zip(classifiers, taps, strict=True)
    ]
    counting = _counting(classifiers, photos, statistics, taps)
    maps, found, same = _passes(asked, photos, targets, counting)
    return Comparison(
        places=align({each.model: each.taps for each in maps}),
        maps={each.model: each for each in maps},
        attributions={each.model: each for each in found},
        predictions=pd.concat(
            [top(each, k).assign(model=each.model) for each in maps], ignore_index=True
        ),
        statistics=counting.result(),
        profile=pd.concat([profile(each) for each in classifiers], ignore_index=True),
        agreement=agreement(found, same_stage=True),
        same_classes=same,
        failed=pd.DataFrame(list(failed.items()), columns=["file", "reason"]),
    )


def _taps(classifier: Classifier, at: str | Sequence[str | Tap], role: str | None) -> list[Tap]:
    if role is not None and role not in ROLES:
        raise unknown("role", role, ROLES)
    taps = list(dict.fromkeys(find_stages(classifier, at)))
    wanted = "act" if role is None and at == "layers" else role
    kept = [tap for tap in taps if wanted is None or tap.role == wanted]
    # a network without activation modules is read where its layers are
    return kept if kept or role is not None else taps


def _counting(
    classifiers: list[Classifier],
    photos: Images,
    statistics: str | Sequence[str] | None,
    taps: list[list[Tap]],
) -> Run:
    plan = planned(classifiers, photos, statistics, taps)
    for table in plan.tables:
        for each in (accumulator for row in table.values() for accumulator in row):
            if each.backward:
                raise InputError(
                    "statistics of gradients take another backward pass: ask vizkit.describe"
                )
    return Run(classifiers, photos, plan, PLACES, BATCH_SIZE)


def _passes(
    asked: Sequence[Explainer], photos: Images, targets: Any, counting: Run
) -> tuple[list[FeatureMaps], list[Attributions], bool]:
    """Run every network once on every image: maps, attributions, and whether of one class."""
    classifiers = [each.classifier for each in asked]
    maps: list[list[FeatureMaps]] = [[] for _ in asked]
    found: list[list[Attributions]] = [[] for _ in asked]
    # few at a time, because the graphs of all networks are held until all have answered
    size = max(1, BATCH_SIZE // len(asked))
    same, start = True, 0
    quiet = len(photos) * len(asked) < _QUIET
    with tqdm(total=len(photos), desc="comparison", unit="image", disable=quiet) as bar:
        for batch in photos.batches(size):
            own = targets[start : start + len(batch)] if isinstance(targets, Tensor) else targets
            with opened(asked, batch) as passes:
                chosen, same = targets_of(own, classifiers, [each.logits for each in passes])
                for n, each in enumerate(passes):
                    maps[n].append(each.feature_maps())
                    found[n].append(each.explain(chosen[n]))
            newest = [each[-1] for each in maps]
            counting.add(newest, tuple(range(start, start + len(batch))))
            _require_room(newest, len(photos))
            start += len(batch)
            bar.update(len(batch))
    return [merged(each) for each in maps], [join(each) for each in found], same


def _require_room(maps: Sequence[FeatureMaps], images: int) -> None:
    """Refuse to fill the memory with the maps of a whole folder."""
    if not hasattr(os, "sysconf") or any(each.logits.device.type != "cpu" for each in maps):
        return
    room = _SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    sizes = [each.nbytes for own in maps for each in own.values()]
    # maps of all images, and once more while they are put together
    needed = 2 * sum(sizes) / len(maps[0].seen) * images
    if needed > room:
        raise InputError(
            f"the maps of {images} images take {needed / 1e9:.0f} GB: compare fewer, or use "
            "describe, similarity and disagreement, which keep none"
        )
