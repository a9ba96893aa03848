"""One look at one photo: every network's maps, prediction and attribution, from one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from vizkit.attribution import METHODS
from vizkit.attribution.explaining import Explainer, Pass, explainer
from vizkit.comparing.classes import check_targets, targets_of
from vizkit.comparing.places import places_of
from vizkit.comparing.together import opened
from vizkit.errors import InputError
from vizkit.images import Images, readable
from vizkit.models import Classifier
from vizkit.prediction import top
from vizkit.results import Attributions, Axis, FeatureMaps, Tap, align

# called with what is done now, and the share that is done before
Step = Callable[[str, float], None]
# what of layers to read, beside the stages
READ_AT: dict[str, tuple[str, str | None]] = {
    "stages": ("stages", None),
    "layers, after the activation": ("layers", "act"),
    "layers, convolutions": ("layers", "conv"),
    "layers, after normalisation": ("layers", "norm"),
}


@dataclass(frozen=True, eq=False)
class Question:
    """What is looked at.

    Attributes
    ----------
    classifiers : tuple of Classifier
        The networks.
    photo : Images
        One.
    read_at : str
        One of `READ_AT`.
    method : str
        Of attribution.
    target : str, int or None
        The class explained, by name or number; None for the most probable on average.
    """

    classifiers: tuple[Classifier, ...]
    photo: Images
    read_at: str = "stages"
    method: str = "grad_cam"
    target: str | int | None = None

    def same_layers(self, other: Question | None) -> bool:
        """Whether another question is about the same layers of the same networks."""
        return (
            other is not None
            and self.read_at == other.read_at
            and self.classifiers == other.classifiers
        )

    def same_maps(self, other: Question | None) -> bool:
        """Whether another question is about the same maps."""
        return other is not None and self.photo is other.photo and self.same_layers(other)


@dataclass(frozen=True, eq=False)
class Look:
    """The answer; like a `Comparison` without its tables.

    Attributes
    ----------
    places : Axis
        Where each network is read.
    maps : mapping of str to FeatureMaps
        By model.
    attributions : mapping of str to Attributions
        By model.
    predictions : DataFrame
        model, image, rank, class, index, probability, logit.
    same_classes : bool
        Whether all explain the same class.
    """

    places: Axis
    maps: Mapping[str, FeatureMaps]
    attributions: Mapping[str, Attributions]
    predictions: pd.DataFrame
    same_classes: bool


def look(question: Question, step: Step = lambda *_: None) -> Look:
    """Run every network once, as `vizkit.compare` does, without counting anything.

    Parameters
    ----------
    question : Question
        What to look at.
    step : callable
        Told what is done.

    Returns
    -------
    Look
        The same maps and attributions as those of `vizkit.compare`.

    Raises
    ------
    InputError
        If the photo cannot be read, or a class, method or layer is unknown.
    """
    classifiers = list(question.classifiers)
    taps = places_of(classifiers, *READ_AT[question.read_at])
    check_targets(question.target, classifiers, 1)
    asked = [
        _asked(each, question.method, own) for each, own in zip(classifiers, taps, strict=True)
    ]
    photo = _read(question.photo)
    step(f"running {_listed(classifiers)}", 0)
    with opened(asked, photo) as passes:
        targets, alike = targets_of(question.target, classifiers, [p.logits for p in passes])
        maps = {each.name: p.feature_maps() for each, p in zip(classifiers, passes, strict=True)}
        found = {}
        for n, (each, run) in enumerate(zip(classifiers, passes, strict=True)):
            step(f"{METHODS[question.method].label} of {each.name}", (n + 0.5) / len(passes))
            found[each.name] = _explained(run, targets[n])
    return Look(
        align({name: each.taps for name, each in maps.items()}),
        maps,
        found,
        _predictions(maps),
        alike,
    )


def _asked(classifier: Classifier, method: str, taps: list[Tap]) -> Explainer:
    asked = explainer(classifier, method, taps or None)
    # where nothing is read, methods of stages have nothing to look at
    kept = tuple(each for each in asked.methods if taps or each.level == "input")
    return replace(asked, taps=tuple(taps), methods=kept)


def _explained(run: Pass, targets: object) -> Attributions:
    return run.explain(targets)  # type: ignore[arg-type]


def _read(photo: Images) -> Images:
    images, failed = readable(photo)
    if failed:
        raise InputError("; ".join(failed.values()))
    return images


def _predictions(maps: Mapping[str, FeatureMaps]) -> pd.DataFrame:
    parts = [top(each, min(5, each.logits.shape[1])) for each in maps.values()]
    for part, model in zip(parts, maps, strict=True):
        part.insert(0, "model", model)
    return pd.concat(parts, ignore_index=True)


def _listed(classifiers: list[Classifier]) -> str:
    return ", ".join(each.name for each in classifiers)
