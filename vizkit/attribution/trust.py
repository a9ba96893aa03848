"""How far to trust a map: measured on the network, on boxes, and against random weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vizkit.attribution.baselines import baseline_of
from vizkit.attribution.curves import (
    REFERENCES,
    STEPS,
    Map,
    areas,
    check_curves,
    maps_of,
    perturbation_curves,
    query_of,
)
from vizkit.attribution.measures import energy, mask_of, pointing
from vizkit.attribution.pairs import spearman
from vizkit.attribution.query import Query
from vizkit.attribution.registry import METHODS
from vizkit.attribution.sanity import MOST_SEED, randomisation
from vizkit.boxes import boxes_in_input
from vizkit.errors import InputError, flags, instance, whole
from vizkit.forward import to_network
from vizkit.hooks import evaluating
from vizkit.images import Images, as_images, prepare
from vizkit.linear import LinearHeads
from vizkit.models import Classifier, as_classifier
from vizkit.modes import active
from vizkit.results import Attributions

CELLS = 7
SUBSETS = 64


def faithfulness(
    model: str | nn.Module | Classifier,
    images: object,
    attributions: Attributions,
    *,
    boxes: Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None = None,
    baseline: str = "blur",
    steps: int = STEPS,
    references: bool = True,
    randomised: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure how far each map says what the network goes by.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        The network that the attributions are of.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        What was explained.
    attributions : Attributions
        Of any methods, stages and classes.
    boxes : mapping of image name to boxes, or a sequence of boxes for each image, optional
        Where the object is, ``(x0, y0, x1, y1)`` in pixels of the photo; see `vizkit.read_boxes`.
    baseline : str
        ``"blur"``, ``"mean"``, ``"black"`` or ``"white"``: what a place is replaced by.
    steps : int
        Points of the deletion and insertion curves.
    references : bool
        Whether to measure maps that know nothing as well: a bell over the centre, ``"(centre)"``,
        and one that is the same everywhere, ``"(uniform)"``.
    randomised : bool
        Whether to explain a copy with random weights too.
    seed : int
        Of the subsets and the random weights.

    Returns
    -------
    DataFrame
        One row per image, method, stage and class: model, image, method, stage, target, index,

        - deletion_auc, insertion_auc: mean probability of the class while places are taken away
          or put back, the most important first, in [0, 1] (Petsiuk et al., 2018): low and high
          speak for a map;
        - average_drop: what the probability loses, relative to itself, when the photo is seen
          through the map's positive part scaled to [0, 1], and increase: whether it rises
          (Chattopadhay et al., 2018);
        - sensitivity: correlation, in [-1, 1], of the score lost without a random half of 49
          cells with the map's sum over them (sensitivity-n; Ancona et al., ICLR 2018);
        - pointing_game and energy_in_box, in [0, 1], where boxes are given: whether the greatest
          value lies in a box, and the share of the positive part that does; NaN for an image
          that has no box in what the network saw of it;
        - randomisation: rank correlation with the map of a network with random weights, in
          [-1, 1] (Adebayo et al., 2018): near 0 speaks for a map, near 1 against it.

    Raises
    ------
    InputError
        If images, boxes and attributions do not belong together.
    """
    check_curves(baseline, steps)
    flags(references=references, randomised=randomised)
    seed = whole("seed", seed, 0, MOST_SEED)
    instance("attributions", attributions, Attributions)
    classifier = as_classifier(model)
    _require_same(as_images(images), attributions, classifier)
    masks = None if boxes is None else _masks(boxes, attributions)
    curves = perturbation_curves(
        classifier, attributions, baseline=baseline, steps=steps, references=references
    )
    table = areas(curves)
    maps = list(maps_of(attributions, references))
    with evaluating(classifier.module), torch.no_grad(), active(LinearHeads()):
        query = query_of(classifier, attributions)
        table = table.join(_seen_through(query, maps))
        table["sensitivity"] = _sensitivity(query, maps, baseline, seed)
    if masks is not None:
        table = table.join(_located(maps, masks))
    if randomised:
        table["randomisation"] = _random_weights(classifier, attributions, maps, seed)
    return table


def _require_same(images: Images, attributions: Attributions, classifier: Classifier) -> None:
    count = len(images)
    if count != len(attributions.seen):
        raise InputError(
            f"attributions of {len(attributions.seen)} images, but {count} images are given"
        )
    inputs = to_network(prepare(images, classifier.transform)[0], classifier)
    if not torch.equal(inputs, attributions.inputs.to(inputs)):
        raise InputError("the attributions are of other images, or of another transform")


def _seen_through(query: Query, maps: Sequence[Map]) -> pd.DataFrame:
    """Average drop and increase in confidence of each map."""
    rows = []
    intact = query.probabilities(query.inputs)
    for each in maps:
        values = each.values.to(query.inputs).clamp(min=0)
        spread = values.max() - values.min()
        # a map that is the same everywhere hides nothing
        window = (values - values.min()) / spread if spread > 0 else torch.ones_like(values)
        target = query.targets[each.image, each.target]
        before = intact[each.image, target]
        after = query.probabilities(query.inputs[each.image : each.image + 1] * window)[0, target]
        drop = ((before - after).clamp(min=0) / before).item()
        rows.append({"average_drop": drop, "increase": float(after > before)})
    return pd.DataFrame(rows)


def _sensitivity(query: Query, maps: Sequence[Map], baseline: str, seed: int) -> list[float]:
    """Correlate what subsets of cells add up to with what their absence costs, map by map."""
    height, width = query.inputs.shape[-2:]
    generator = torch.Generator().manual_seed(seed)
    halves = torch.rand(SUBSETS, CELLS * CELLS, generator=generator).argsort(dim=1)
    removed = (halves < CELLS * CELLS // 2).float()
    rows, columns = (
        (torch.arange(side) * CELLS).div(side, rounding_mode="floor") for side in (height, width)
    )
    cells = rows[:, None] * CELLS + columns[None, :]
    masks = removed[:, cells].to(query.inputs).unsqueeze(1)
    cover = baseline_of(baseline, query.inputs, query.transform)
    lost: dict[int, Tensor] = {}
    found = []
    for each in maps:
        if each.image not in lost:
            photo, blank = query.inputs[each.image], cover[each.image]
            scores = query.scores(torch.lerp(photo, blank, masks))
            lost[each.image] = (query.scores(photo[None]) - scores).float().cpu()
        sums = torch.zeros(CELLS * CELLS).index_add(
            0, cells.flatten(), each.values.float().cpu().flatten()
        )
        target = int(query.targets[each.image, each.target])
        found.append(_pearson((removed @ sums).numpy(), lost[each.image][:, target].numpy()))
    return found


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    deviations = [each.astype(np.float64) - each.mean(dtype=np.float64) for each in (first, second)]
    lengths = [float(np.linalg.norm(each)) for each in deviations]
    scales = [float(np.abs(each).max()) * 1e-6 for each in (first, second)]
    if any(length <= scale for length, scale in zip(lengths, scales, strict=True)):
        return math.nan
    return float(deviations[0] @ deviations[1] / (lengths[0] * lengths[1]))


def _masks(
    boxes: Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]], attributions: Attributions
) -> list[np.ndarray]:
    """Mark what lies in the boxes of each image."""
    size = (attributions.inputs.shape[-2], attributions.inputs.shape[-1])
    return [mask_of(own, size) for own in boxes_in_input(boxes, attributions.seen)]


def _located(maps: Sequence[Map], masks: Sequence[np.ndarray]) -> pd.DataFrame:
    """Pointing game and energy of each map; NaN for images without a box."""
    rows = []
    for each in maps:
        inside, values = masks[each.image], each.values.cpu().numpy()
        known = bool(inside.any())
        rows.append(
            {
                "pointing_game": pointing(values, inside) if known else math.nan,
                "energy_in_box": energy(values, inside) if known else math.nan,
            }
        )
    return pd.DataFrame(rows)


def _random_weights(
    classifier: Classifier, attributions: Attributions, maps: Sequence[Map], seed: int
) -> list[float]:
    """Rank correlation of each map with that of a network with random weights."""
    known = {option for name in attributions.values for option in METHODS[name].options}
    steps = randomisation(
        classifier,
        attributions.inputs,
        list(attributions.values),
        attributions.targets,
        list(attributions.taps) or None,
        random_state=seed,
        only_last=True,
        against=attributions.against,
        **{name: value for name, value in attributions.options.items() if name in known},
    ).steps
    *_, last = steps.values()
    other = iter(maps_of(last, references=False))
    return [
        math.nan
        if each.method in REFERENCES
        else spearman(each.values.cpu().numpy(), next(other).values.cpu().numpy())
        for each in maps
    ]
