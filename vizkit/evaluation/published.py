"""Published figures of the very weights that are evaluated, and what is not as it was then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from vizkit import zoo
from vizkit.images import Transform
from vizkit.models import DEFAULT, Classifier, imagenet_classes, list_models, timm_transform
from vizkit.models.sources.mmpretrain_models import mmpretrain_table
from vizkit.provenance import file_hash
from vizkit.results import Evaluation

# ImageNet's validation photos and classes
_IMAGENET = (50_000, 1000)
_DIGITS = 8


@dataclass(frozen=True)
class Figures:
    """What was published with some weights.

    Attributes
    ----------
    top1, top5 : float
        In percent.
    size : int
        Input, in pixels.
    setting : str
        How photos were prepared, in words.
    source : str
        Where it is published.
    photos, classes : int
        What it was measured on.
    """

    top1: float
    top5: float
    size: int
    setting: str
    source: str
    photos: int = _IMAGENET[0]
    classes: int = _IMAGENET[1]


def published_figures(
    classifiers: Sequence[Classifier], figures: Sequence[Figures | None], found: Evaluation
) -> pd.DataFrame:
    """Find the published figures of networks, and say what differs from how they were made.

    Parameters
    ----------
    classifiers : sequence of Classifier
        The networks that were evaluated.
    figures : sequence of Figures or None
        Of each, as `figures_of` gives them.
    found : Evaluation
        What came out.

    Returns
    -------
    DataFrame
        One row per model: model, published_top1, published_top5 (fractions), published_size
        (pixels), published_source, published_note; NaN where nothing is known.
    """
    rows = []
    for classifier, own in zip(classifiers, figures, strict=True):
        known = own or Figures(math.nan, math.nan, 0, "", "")
        rows.append(
            {
                "model": classifier.name,
                "published_top1": known.top1 / 100,
                "published_top5": known.top5 / 100,
                "published_size": known.size or math.nan,
                "published_source": known.source or None,
                "published_note": _note(classifier, own, found),
            }
        )
    return pd.DataFrame(rows)


def figures_of(classifier: Classifier) -> Figures | None:
    """Find what was published with a network's weights; None where nothing is known.

    Weights that come with a name are known by it, files by their content.
    """
    recipe = classifier.recipe
    if recipe is None or recipe["weights"] is None:
        return None
    if recipe["weights"] != DEFAULT:
        file = Path(recipe["weights"])
        name = _files().get(file_hash(file)[:_DIGITS], "") if file.is_file() else ""
        return _figures(_models().get(name), Transform())
    name = _listed(recipe["name"])
    own = zoo.recipes()["classes"] if name.startswith("demo/") else imagenet_classes()
    if recipe["classes"] and recipe["classes"] != list(own):
        return None  # what was published is of other classes
    if recipe.get("use_test_size"):
        return _figures(_at_test_size().get(name), timm_transform(classifier.module, True))
    measured = _demo_photos(name) if name.startswith("demo/") else _IMAGENET
    return _figures(_models().get(name), _preset(classifier, name), *measured)


def _figures(row: dict[str, Any] | None, preset: Transform, *measured: int) -> Figures | None:
    if row is None or math.isnan(row["top1"]):
        return None
    size = int(row["input_size"])
    return Figures(row["top1"], row["top5"], size, str(preset), row["reference"], *measured)


def _listed(name: str) -> str:
    """Write a name as the list of models has it: without ``timm/`` and the tag of the default."""
    import timm

    short = name.removeprefix("timm/")
    architecture, _, tag = short.partition(".")
    if not tag or "/" in short:
        return short
    default = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    return architecture if default is not None and default.tag == tag else short


def _preset(classifier: Classifier, name: str) -> Transform:
    """How the published weights want photos prepared, whatever the classifier does."""
    source, _, short = name.rpartition("/")
    if source == "mmpretrain":
        return Transform()
    if source != "torchvision":
        return timm_transform(classifier.module)
    from torchvision import models as tv

    preset = tv.get_model_weights(short).DEFAULT.transforms()
    size, whole = preset.crop_size[0], preset.resize_size[0]
    return Transform((size, size), (whole, whole), interpolation=preset.interpolation.value)


def _note(classifier: Classifier, figures: Figures | None, found: Evaluation) -> str:
    if figures is None:
        return f"no published figures are known for these weights ({classifier.source})"
    words = []
    here, outputs = found.transforms[classifier.name], found.outputs[classifier.name]
    if here != figures.setting:
        words.append(f"published at {figures.setting}, here {here}")
    if found.images != figures.photos:
        words.append(f"published over {figures.photos} photos, here {found.images}")
    if len(found.labels) != figures.classes:
        words.append(f"published over {figures.classes} classes, here {len(found.labels)}")
    if outputs != figures.classes:
        words.append(f"published among {figures.classes} outputs, here {outputs}")
    return "; ".join(words)


def _demo_photos(name: str) -> tuple[int, int]:
    recipe = zoo.recipes()
    entry = recipe["models"][name.removeprefix("demo/")]
    return int(entry["n"]), len(recipe["classes"])


@cache
def _models() -> dict[str, dict[str, Any]]:
    return _by_name(list_models())


@cache
def _at_test_size() -> dict[str, dict[str, Any]]:
    with (files("vizkit") / "data" / "published_test_size.csv").open(encoding="utf-8") as file:
        return _by_name(pd.read_csv(file, comment="#"))


def _by_name(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {
        str(row["name"]): {str(key): row[key] for key in row} for row in table.to_dict("records")
    }


@cache
def _files() -> dict[str, str]:
    """Beginning of a published VGG file's hash, with which its own name ends -> listed name."""
    from torchvision import models as tv

    names = mmpretrain_table()["url"].to_dict()
    urls = {f"mmpretrain/{name}": url for name, url in names.items()}
    urls |= {f"torchvision/{name}": tv.get_model_weights(name).DEFAULT.url for name in names}
    return {Path(url).stem.rpartition("-")[2]: name for name, url in urls.items()}
