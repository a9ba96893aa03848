"""What becomes of a class's probability when places are taken away or put back in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.integrate import trapezoid
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.attribution.baselines import BASELINES, baseline_of
from vizkit.attribution.measures import at_input_size, centred, order
from vizkit.attribution.query import Query
from vizkit.errors import InputError, choice, flags, instance, whole
from vizkit.hooks import evaluating
from vizkit.linear import LinearHeads
from vizkit.models import Classifier, as_classifier
from vizkit.modes import active
from vizkit.results import Attributions

STEPS = 28
# a step is an input: more than this fill the memory and show nothing new
_MOST_STEPS = 10_000
REFERENCES = ("(centre)", "(uniform)")


@dataclass(frozen=True)
class Map:
    """One map among attributions.

    Attributes
    ----------
    image, target : int
        Which of the N images and T classes.
    method, stage : str
        Whose; a reference is a method in brackets at the input.
    values : Tensor of shape (H, W)
        At the input's size.
    """

    image: int
    target: int
    method: str
    stage: str
    values: Tensor

    def row(self, attributions: Attributions) -> dict[str, object]:
        """Say in a table which map this is."""
        n, t = self.image, self.target
        return {
            "model": attributions.model,
            "image": attributions.seen.names[n],
            "method": self.method,
            "stage": self.stage,
            "target": attributions.target_name(n, t),
            "index": int(attributions.targets[n, t]),
        }


def maps_of(attributions: Attributions, references: bool) -> Iterator[Map]:
    """Take attributions apart into maps, image by image.

    Parameters
    ----------
    attributions : Attributions
        Of any methods and stages.
    references : bool
        Whether to add, for each image and class, the maps that know nothing: a bell over the
        centre and one that is the same everywhere.

    Yields
    ------
    Map
        Each at the input's size.
    """
    size = (attributions.inputs.shape[-2], attributions.inputs.shape[-1])
    for n in range(len(attributions.seen)):
        for t in range(attributions.targets.shape[1]):
            for method, stages in attributions.values.items():
                for stage, values in stages.items():
                    one = at_input_size(values[n : n + 1, t : t + 1], size)[0, 0]
                    yield Map(n, t, method, stage, one)
            if references:
                for name, values in zip(
                    REFERENCES, (centred(size), torch.zeros(size)), strict=True
                ):
                    yield Map(n, t, name, "input", values)


def perturbation_curves(
    model: str | nn.Module | Classifier,
    attributions: Attributions,
    *,
    baseline: str = "blur",
    steps: int = STEPS,
    references: bool = True,
) -> pd.DataFrame:
    """Take away, and put back, the places of each map in the order of their values.

    Deletion begins with the photo and replaces the most important places by a baseline first;
    insertion begins with the baseline and puts them back first. Petsiuk et al., "RISE", BMVC 2018.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        The network that the attributions are of, or another.
    attributions : Attributions
        What is judged, with its inputs.
    baseline : str
        ``"blur"``, ``"mean"``, ``"black"`` or ``"white"``: what replaces a place.
    steps : int
        How many times places are replaced, in equal parts.
    references : bool
        Whether to judge the centre and a random order as well.

    Returns
    -------
    DataFrame
        One row per map, curve ("deletion" or "insertion") and step: map (its number, from 0),
        model, image, method, stage, target, index, curve, fraction (of the places replaced or put
        back), probability.

    Raises
    ------
    InputError
        If the baseline is unknown or there are no steps.
    """
    check_curves(baseline, steps)
    flags(references=references)
    instance("attributions", attributions, Attributions)
    classifier = as_classifier(model)
    every = list(maps_of(attributions, references))
    fractions = np.linspace(0, 1, steps + 1)
    parts = []
    with evaluating(classifier.module), torch.no_grad(), active(LinearHeads()):
        query = query_of(classifier, attributions)
        cover = baseline_of(baseline, query.inputs, query.transform)
        for number, each in enumerate(tqdm(every, desc="curves", disable=len(every) < 50)):
            photo, blank = query.inputs[each.image], cover[each.image]
            ranks = order(each.values).to(photo.device)
            target = int(attributions.targets[each.image, each.target])
            for curve, start, end in (("deletion", photo, blank), ("insertion", blank, photo)):
                inputs = _replaced(start, end, ranks, fractions)
                found = query.probabilities(inputs)[:, target].cpu().numpy()
                rows = {"curve": curve, "fraction": fractions, "probability": found}
                parts.append(pd.DataFrame({"map": number, **each.row(attributions), **rows}))
    return pd.concat(parts, ignore_index=True)


def check_curves(baseline: str, steps: int) -> None:
    """Refuse what no curve can be made with, before any work is done.

    Raises
    ------
    InputError
        If the baseline is unknown or there are no steps.
    """
    choice("baseline", baseline, BASELINES)
    whole("steps", steps, most=_MOST_STEPS)


def areas(curves: pd.DataFrame) -> pd.DataFrame:
    """Take the area under each curve.

    Parameters
    ----------
    curves : DataFrame
        From `perturbation_curves`.

    Returns
    -------
    DataFrame
        One row per map: model, image, method, stage, target, index, deletion_auc, insertion_auc,
        in [0, 1]. Low deletion and high insertion speak for a map.
    """
    keys = ["map", "model", "image", "method", "stage", "target", "index"]
    groups = curves.groupby([*keys, "curve"], sort=False)
    found = groups[["fraction", "probability"]].apply(
        lambda rows: float(trapezoid(rows["probability"], rows["fraction"]))
    )
    wide = found.unstack("curve").rename(columns=lambda name: f"{name}_auc")  # noqa: PD010
    return wide.reset_index().rename_axis(columns=None).drop(columns="map")


def query_of(classifier: Classifier, attributions: Attributions) -> Query:
    """Ask a network about the inputs of some attributions; use inside `evaluating`.

    Parameters
    ----------
    classifier : Classifier
        The network.
    attributions : Attributions
        Whose inputs and classes are meant.

    Returns
    -------
    Query
        About the probabilities themselves, against no other class.

    Raises
    ------
    InputError
        If the network has fewer classes than were explained.
    """
    inputs = attributions.inputs.to(classifier.device, classifier.dtype)
    targets = attributions.targets.to(classifier.device)
    query = Query(classifier.module, inputs, targets, None, classifier.stages, classifier.transform)
    classes = query.scores(inputs[:1]).shape[1]
    if int(targets.max()) >= classes:
        raise InputError(
            f"the attributions explain class {int(targets.max())}, but {classifier.name} has "
            f"{classes} classes"
        )
    return query


def _replaced(start: Tensor, end: Tensor, ranks: Tensor, fractions: np.ndarray) -> Tensor:
    """Make inputs (F, 3, H, W) with growing parts of one replaced by the other."""
    inputs = start.repeat(len(fractions), 1, 1, 1)
    flat, source = inputs.flatten(2), end.flatten(1)
    for n, fraction in enumerate(fractions):
        chosen = ranks[: round(fraction * len(ranks))]
        flat[n][:, chosen] = source[:, chosen]
    return inputs
