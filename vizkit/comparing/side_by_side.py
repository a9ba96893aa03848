"""One pass per network, and everything that is compared from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.attribution import agreement
from vizkit.attribution.explaining import Explainer, explainer
from vizkit.attribution.run import join
from vizkit.comparing.classes import check_targets, targets_of
from vizkit.comparing.inputs import usable_of, with_pixels
from vizkit.comparing.places import places_of
from vizkit.comparing.together import opened
from vizkit.errors import InputError, whole
from vizkit.forward import BATCH_SIZE, merged
from vizkit.images import Images, Transform, as_images
from vizkit.memory import in_parts, require_room
from vizkit.models import Classifier, as_classifiers
from vizkit.prediction import top
from vizkit.profiling import profile
from vizkit.results import Attributions, Axis, Comparison, FeatureMaps, Tap, align
from vizkit.statistics.planning import planned
from vizkit.statistics.registry import ACCUMULATORS
from vizkit.statistics.run import Run
from vizkit.statistics.sample import PLACES

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
    at : "stages", "layers", "gates", or a list of names, paths or taps
        Where to read; see `find_stages`. Networks that do not have what a list names have empty
        cells, as long as one has it.
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
    k = whole("k", k)
    classifiers = with_pixels(as_classifiers(models), same_pixels)
    taps = places_of(classifiers, at, role)
    photos = as_images(images)
    targets = check_targets(targets, classifiers, len(photos))
    asked = [
        _asked(each, methods, own, options) for each, own in zip(classifiers, taps, strict=True)
    ]
    counting = _counting(classifiers, photos, statistics, taps)
    maps, found, same = _passes(asked, photos, targets, counting)
    places = align({each.model: each.taps for each in maps})
    described = counting.result()
    return Comparison(
        places=places,
        maps={each.model: each for each in maps},
        attributions={each.model: each for each in found},
        predictions=_predictions(maps, k),
        statistics=described,
        profile=pd.concat([profile(each) for each in classifiers], ignore_index=True),
        agreement=agreement([_placed(each, places) for each in found], same_stage=True),
        same_classes=same,
        failed=described.failed,
    )


def _asked(
    classifier: Classifier, methods: str | Sequence[str], taps: list[Tap], options: dict[str, Any]
) -> Explainer:
    asked = explainer(classifier, methods, taps or None, **options)
    # where nothing is read, methods of stages have nothing to look at
    kept = tuple(method for method in asked.methods if taps or method.level == "input")
    return replace(asked, taps=tuple(taps), methods=kept)


def _predictions(maps: Sequence[FeatureMaps], k: int) -> pd.DataFrame:
    parts = [top(each, k) for each in maps]
    for part, each in zip(parts, maps, strict=True):
        part.insert(0, "model", each.model)
    return pd.concat(parts, ignore_index=True)


def _placed(found: Attributions, places: Axis) -> Attributions:
    """Name maps after their places on the axis, which is where networks are joined."""
    names = {
        key: place if isinstance(place, str) else f"stride{place}"
        for place, tap in places.taps[found.model].items()
        for key in (tap.name, tap.label)
    }
    values = {
        method: {names.get(key, key): each for key, each in maps.items()}
        for method, maps in found.values.items()
    }
    return replace(found, values=values)


def _counting(
    classifiers: list[Classifier],
    photos: Images,
    statistics: str | Sequence[str] | None,
    taps: list[list[Tap]],
) -> Run:
    plan = planned(classifiers, photos, statistics, taps)
    backward = [name for name in plan.wanted if ACCUMULATORS[name].backward]
    if backward:
        raise InputError(
            f"{', '.join(backward)}: statistics of gradients take another backward pass; ask "
            "vizkit.describe for them"
        )
    return Run(classifiers, photos, BATCH_SIZE, plan, PLACES)


@dataclass(frozen=True)
class _Answers:
    """What all networks say of some images."""

    maps: list[FeatureMaps]
    attributions: list[Attributions]
    alike: bool


def _answers(asked: Sequence[Explainer], images: Images, targets: Any, part: slice) -> _Answers:
    own = targets[part] if isinstance(targets, Tensor) else targets
    with opened(asked, images[part]) as passes:
        classifiers = [each.classifier for each in asked]
        chosen, alike = targets_of(own, classifiers, [each.logits for each in passes])
        return _Answers(
            [each.feature_maps() for each in passes],
            [each.explain(indices) for each, indices in zip(passes, chosen, strict=True)],
            alike,
        )


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
            usable, positions, failed = usable_of(batch, start, classifiers)
            counting.failed |= failed
            start += len(batch)
            bar.update(len(batch))
            if not positions:
                continue
            own = targets[list(positions)] if isinstance(targets, Tensor) else targets
            counted = 0
            for part in in_parts(partial(_answers, asked, usable, own), len(usable)):
                same = same and part.alike
                for n in range(len(asked)):
                    maps[n].append(part.maps[n])
                    found[n].append(part.attributions[n])
                some = len(part.maps[0].seen)
                counting.add(part.maps, positions[counted : counted + some])
                counted += some
            _require_room([each[-1] for each in maps], len(photos) - start)
    if not maps[0]:
        raise InputError(f"none of the images can be read: {'; '.join(counting.failed.values())}")
    return [merged(each) for each in maps], [join(each) for each in found], same


def _require_room(maps: Sequence[FeatureMaps], left: int) -> None:
    """Refuse to fill the memory with the maps of a whole folder, known from those of a batch."""
    sizes = [each.nbytes for own in maps for each in (*own.values(), own.inputs)]
    sizes += [each.nbytes for own in maps for each in own.seen.originals if each is not None]
    require_room(
        sum(sizes) // len(maps[0].seen) * left,
        maps[0].logits.device,
        f"the maps of {left} more images",
        "compare fewer, or use describe, similarity and disagreement, which keep none",
    )
