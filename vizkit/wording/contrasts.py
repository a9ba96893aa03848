"""What a change of design does: pairs of models that differ in one thing, and their numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vizkit.interrupts import surely
from vizkit.results import StageStatistics
from vizkit.results.twins import twins

# source, name and tag: torchvision/vgg16_bn, ese_vovnet19b_dw.ra_in1k
_PARTS = re.compile(r"(?P<source>(?:.*/)?)(?P<name>[^/.]*)(?P<tag>(?:\.[^/]*)?)")
# a number of layers has two digits: one alone is a version (mobilenetv3) or a size (b0)
_NAME = re.compile(r"(?P<family>[A-Za-z][A-Za-z_-]*)(?P<number>\d{2,})(?P<rest>[\w-]*)")

COLUMNS = ["model", "topic", "quantity", "place", "value", "unit"]
# how a quantity is compared, where its name tells; else its unit and values do
KINDS = {
    **dict.fromkeys(("mean", "std", "energy", "max", "gradient_norm", "gamma"), "ratio"),
    **dict.fromkeys(("effective_rank", "participation_ratio", "variance_ratio"), "ratio"),
    **dict.fromkeys(("params", "gmacs", "ms", "receptive_field"), "ratio"),
    **dict.fromkeys(("sparsity", "below_zero", "dead", "active", "rare"), "share"),
    **dict.fromkeys(("accuracy", "confidence"), "share"),
    **dict.fromkeys(("spatial_entropy", "class_selectivity", "lifetime_sparsity"), "difference"),
    **dict.fromkeys(("redundancy", "min", "skew", "kurtosis", "beta"), "difference"),
}
_PROFILE = {"params": "parameters", "gmacs": "GMACs"}


@dataclass(frozen=True)
class Contrast:
    """Pairs of models that differ in one thing.

    Attributes
    ----------
    name : str
        What differs: ``"batch normalisation"``, ``"depth"`` or ``"architecture"``; each family has
        its own ``"architecture, resnet"`` where there are more than two.
    pairs : tuple of (str, str)
        Models without and with it.
    words : str
        What stands against what: ``"vovnet19b instead of vgg"``.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    words: str


@dataclass(frozen=True)
class _Name:
    """What a model's name tells; one without a number of layers has no family."""

    model: str
    source: str
    family: str
    number: int
    rest: str
    normalised: bool
    tag: str

    @property
    def short(self) -> str:
        bn = "_bn" if self.normalised else ""
        return f"{self.family}{self.number}{self.rest}{bn}"

    @property
    def series(self) -> tuple[Any, ...]:
        return self.source, self.family, self.rest, self.normalised, self.tag


def contrasts(models: Sequence[str]) -> list[Contrast]:
    """Find what can be told apart between models, by their names.

    Parameters
    ----------
    models : sequence of str
        Names, with or without a source (``demo/vgg11``) and a tag (``vgg16_bn.tv_in1k``). Names
        that tell nothing take part in nothing.

    Returns
    -------
    list of Contrast
        Those with pairs. Batch normalisation: every model and its twin. Depth: the model with the
        fewest and that with the most layers of each series. Architecture, for each family but the
        largest: its models against each of the largest family. A family of which some models are
        batch normalised is represented by these alone: a VoVNet is batch normalised as well, so
        that plain VGGs would mix two causes.
    """
    known = list(dict.fromkeys(models))
    names = [name for name in map(_read, known) if name is not None]
    found = [_twins(known), _depth(names), *_architecture(names)]
    return [contrast for contrast in found if contrast.pairs]


def measures(
    *,
    statistics: StageStatistics | None = None,
    profile: pd.DataFrame | None = None,
    predictions: pd.DataFrame | None = None,
    speed: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Put the numbers of several models below each other.

    Parameters
    ----------
    statistics : StageStatistics, optional
        Of stages; layers are left out, and where models' stages of one stride do not all end in
        pooling, those that do: the difference would be the pooling's.
    profile : DataFrame, optional
        Of `vizkit.profile`, of all models.
    predictions : DataFrame, optional
        One row per model and image: model, image, label, class, probability (of that class, in
        [0, 1]), right; label and right may be missing.
    speed : DataFrame, optional
        One or more rows per model: model, ms (milliseconds for an image; the median counts).

    Returns
    -------
    DataFrame
        model, topic (statistics, profile or predictions), quantity, place (stride of the stage,
        missing where the number is of the whole network), value, unit. Numbers that are not
        finite are left out.
    """
    rows: list[dict[str, Any]] = []
    if statistics is not None:
        rows += _of_stages(statistics)
    if profile is not None:
        rows += _of_profile(profile)
    if predictions is not None:
        rows += _of_predictions(predictions)
    if speed is not None:
        medians = speed.groupby("model", sort=False)["ms"].median()
        rows += [_row(model, "profile", "ms", ms, unit="ms") for model, ms in medians.items()]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return finite(frame.astype({"place": "Int64", "value": float}))


def effects(measures: pd.DataFrame, contrasts: Sequence[Contrast]) -> pd.DataFrame:
    """Measure what each contrast changes, over its pairs.

    Parameters
    ----------
    measures : DataFrame
        Of `measures`.
    contrasts : sequence of Contrast
        Of `contrasts`.

    Returns
    -------
    DataFrame
        One row per contrast, quantity and place: contrast, topic, quantity, place, unit, kind,
        pairs (that have both numbers), typical, low, high, agree, consistent, scale.

        kind is ``"ratio"`` (second model over first; typical is the geometric mean of the pairs
        where neither is zero), ``"share"`` (difference of shares) or ``"difference"`` (of
        anything that may be negative; typical is the mean). low and high are the smallest and
        largest of the pairs. Agree: in how many pairs the change has the more frequent sign;
        consistent, where these are all. scale: the largest absolute value of the quantity.
    """
    rows = []
    usable = finite(measures)
    quantities = list(usable.groupby(["topic", "quantity"], sort=False))
    for contrast in contrasts:
        for (topic, quantity), own in quantities:
            kind = kind_of(str(quantity), own)
            shared = {
                "contrast": contrast.name,
                "topic": topic,
                "quantity": quantity,
                "unit": own["unit"].iloc[0],
                "kind": kind,
                "scale": own["value"].abs().max(),
            }
            rows += [
                {**shared, "place": place, **_effect(found, kind)}
                for place, found in _paired(own, contrast)
            ]
    names = ["contrast", "topic", "quantity", "place", "unit", "kind", "pairs", "typical"]
    frame = pd.DataFrame(rows, columns=[*names, "low", "high", "agree", "consistent", "scale"])
    return frame.astype({"place": "Int64"})


def kind_of(quantity: str, rows: pd.DataFrame) -> str:
    """Decide how a quantity is compared.

    Parameters
    ----------
    quantity : str
        Its name.
    rows : DataFrame
        All its measures: value, unit.

    Returns
    -------
    "ratio", "share" or "difference"
        Never a ratio where a value is negative.
    """
    values, unit = rows["value"], str(rows["unit"].iloc[0])
    shares = bool(values.between(0, 1).all()) and re.search("share|fraction", unit) is not None
    kind = KINDS.get(quantity, "share" if shares else "ratio")
    return "difference" if kind == "ratio" and (values < 0).any() else kind


def finite(measures: pd.DataFrame) -> pd.DataFrame:
    """Leave out what is no number, or infinite."""
    return measures[np.isfinite(measures["value"].astype(float))].reset_index(drop=True)


def _read(model: str) -> _Name | None:
    parts = _PARTS.fullmatch(model)
    found = _NAME.fullmatch(parts["name"]) if parts else None
    if parts is None or found is None:
        return None
    rest = found["rest"]
    return _Name(
        model=model,
        source=parts["source"],
        family=found["family"],
        number=int(found["number"]),
        rest=rest.removesuffix("_bn"),
        normalised=rest.endswith("_bn"),
        tag=parts["tag"],
    )


def _twins(models: Sequence[str]) -> Contrast:
    words = "with batch normalisation instead of without"
    return Contrast("batch normalisation", tuple(twins(models).items()), words)


def _depth(names: Sequence[_Name]) -> Contrast:
    pairs = []
    for series in dict.fromkeys(name.series for name in names):
        own = sorted((n for n in names if n.series == series), key=lambda name: name.number)
        if own[0].number < own[-1].number:
            pairs.append((own[0], own[-1]))
    words = [f"{last.short} instead of {first.short}" for first, last in pairs]
    if len(set(words)) > 2:
        words = ["the deepest instead of the shallowest model of each series"]
    models = tuple((first.model, last.model) for first, last in pairs)
    return Contrast("depth", models, ", ".join(dict.fromkeys(words)))


def _architecture(names: Sequence[_Name]) -> list[Contrast]:
    counts = Counter(name.family for name in names)
    if len(counts) < 2:
        return []
    # of equals, the one that was named first
    largest = max(counts, key=counts.__getitem__)
    before, label = _representatives(names, largest)
    others = [family for family in counts if family != largest]
    found = []
    for family in others:
        after, other = _representatives(names, family)
        pairs = tuple((one.model, two.model) for two in after for one in before)
        name = "architecture" if len(others) == 1 else f"architecture, {family}"
        found.append(Contrast(name, pairs, f"{other} instead of {label}"))
    return found


def _representatives(names: Sequence[_Name], family: str) -> tuple[list[_Name], str]:
    """Choose the models of a family that stand for it, and what to call them."""
    own = [name for name in names if name.family == family]
    normalised = [name for name in own if name.normalised]
    chosen = normalised or own
    shorts = list(dict.fromkeys(name.short for name in chosen))
    if len(shorts) == 1:
        return chosen, shorts[0]
    return chosen, f"{family} with batch normalisation" if normalised else family


def _row(
    model: Any, topic: str, quantity: str, value: Any, *, place: Any = None, unit: str
) -> dict[str, Any]:
    return dict(zip(COLUMNS, (model, topic, quantity, place, value, unit), strict=True))


def _of_stages(statistics: StageStatistics) -> list[dict[str, Any]]:
    frame = statistics.frame
    stages = frame[frame["layer"].str.fullmatch(r"stride\d+")]
    pooled = stages["role"] == "pool"
    stages = stages[~pooled | pooled.groupby(stages["stride"]).transform("all")]
    columns = [stages[name] for name in ("model", "stride", "statistic", "value")]
    return [
        _row(
            model, "statistics", statistic, value,
            place=int(stride), unit=statistics.units.get(statistic, statistic),
        )
        for model, stride, statistic, value in zip(*columns, strict=True)
    ]  # fmt: skip


def _of_profile(profile: pd.DataFrame) -> list[dict[str, Any]]:
    totals = profile[profile["stage"] == "total"]
    rows = [
        _row(model, "profile", quantity, value, unit=unit)
        for quantity, unit in _PROFILE.items()
        for model, value in zip(totals["model"], totals[quantity], strict=True)
    ]
    stages = profile.dropna(subset=["stride", "receptive_field"])
    if {"height", "width"} <= set(stages.columns):
        # no place sees more than the whole image
        sides = stages[["height", "width"]].max(axis=1) * stages["stride"]
        most = sides.groupby(stages["model"]).transform("max")
        stages = stages.assign(receptive_field=stages["receptive_field"].clip(upper=most))
    columns = [stages[name] for name in ("model", "stride", "receptive_field")]
    return rows + [
        _row(model, "profile", "receptive_field", size, place=int(stride), unit="pixels")
        for model, stride, size in zip(*columns, strict=True)
    ]


def _of_predictions(predictions: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for quantity, column in (("accuracy", "right"), ("confidence", "probability")):
        if column in predictions:
            values = predictions[column].astype(float)
            means = values.groupby(predictions["model"], sort=False).mean()
            unit = "share of photos" if column == "right" else "probability"
            rows += [_row(m, "predictions", quantity, v, unit=unit) for m, v in means.items()]
    return rows


def _paired(own: pd.DataFrame, contrast: Contrast) -> Iterator[tuple[Any, np.ndarray]]:
    """Give each place with the numbers (P, 2) of the pairs that have both there."""
    for place, rows in own.groupby("place", sort=False, dropna=False):
        values = dict(zip(rows["model"], rows["value"], strict=True))
        both = [
            (values[one], values[two])
            for one, two in contrast.pairs
            if one in values and two in values
        ]
        if both:
            yield place, np.array(both, dtype=np.float64)


def _effect(found: np.ndarray, kind: str) -> dict[str, Any]:
    before, after = found.T
    signs = np.sign(after - before)
    changes = ratios(before, after) if kind == "ratio" else after - before
    agree = max(int((signs == 1).sum()), int((signs == -1).sum()))
    return {
        "pairs": len(found),
        "typical": _typical(changes, kind),
        "low": float(changes.min()),
        "high": float(changes.max()),
        "agree": agree,
        "consistent": agree == len(found),
    }


def ratios(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Divide what is not negative: 1 where both are zero, infinite where only the first is."""
    with surely(np.errstate(divide="ignore", invalid="ignore")):
        found: np.ndarray = after / before
    return np.where((before == 0) & (after == 0), 1.0, found)


def _typical(changes: np.ndarray, kind: str) -> float:
    if kind != "ratio":
        return float(changes.mean())
    usual = changes[np.isfinite(changes) & (changes > 0)]
    # to or from nothing in every pair: there is no factor
    kept = usual if len(usual) else np.unique(changes)
    if len(usual) == 0 and len(kept) > 1:
        return float("nan")
    with surely(np.errstate(divide="ignore")):
        return float(np.exp(np.log(kept).mean()))
