"""The tables of the models' own pages, beside what is counted here in each page's convention."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
from torch import nn

from vizkit.errors import InputError, listed, shown, unknown
from vizkit.models import Classifier, as_classifier, list_models
from vizkit.models.sources.mmpretrain_models import mmpretrain_table
from vizkit.profiling.counting import Counts, count, weightless

_QUANTITIES = ("params", "gmacs", "activations")


@dataclass(frozen=True)
class Convention:
    """How a page counts.

    Attributes
    ----------
    words : str
        What its figures are.
    digits : tuple of int
        Decimals that it prints of parameters (1e6), arithmetic (1e9) and activations (1e6).
    arithmetic : callable
        From counts to the operations that it counts.
    """

    words: str
    digits: tuple[int, int, int]
    arithmetic: Callable[[Counts], int]


def _timm(found: Counts) -> int:
    return found.macs + 2 * found.normalised


def _mmpretrain(found: Counts) -> int:
    extra = found.biases + found.rectified + found.pooled + 2 * found.normalised
    return found.macs + extra


_TIMM_WORDS = (
    "GMACs: multiply-accumulates of convolutions and matrix products, and two operations for each "
    "element of a batch normalisation; activations: outputs of convolutions and linear layers"
)
CONVENTIONS = {
    "timm card": Convention(_TIMM_WORDS, (1, 1, 1), _timm),
    "timm results": Convention(_TIMM_WORDS, (2, 2, 2), _timm),
    "torchvision": Convention(
        "GFLOPS: multiply-accumulates of convolutions and matrix products", (6, 3, 0),
        lambda found: found.macs,
    ),
    "mmpretrain": Convention(
        "Flops (G): multiply-accumulates, additions of biases, elements that ReLUs and max-pools "
        "take, and two operations for each element of a batch normalisation; weights of its own",
        (2, 2, 0), _mmpretrain,
    ),
    "torch.hub": Convention(
        "errors in percent, here taken from 100; it prints nothing that could be counted",
        (0, 0, 0), lambda found: found.macs,
    ),
}  # fmt: skip


def model_table(
    models: str | nn.Module | Classifier | Sequence[str | nn.Module | Classifier] | None = None,
) -> pd.DataFrame:
    """Put what pages print about networks beside what is counted of them here.

    Parameters
    ----------
    models : model or sequence of models, optional
        VGGs and VoVNets that the pages of timm, torchvision, mmpretrain or torch.hub list; by
        default all nine. Names are counted without loading any weights.

    Returns
    -------
    DataFrame
        One row per model and page: model, page, input_size (pixels), params (1e6), gmacs (1e9
        operations, whatever the page calls them) and activations (1e6), each as the page prints
        it and, in a column that ends in ``_counted``, as counted here in its convention; agrees
        (whether all of them are equal to the digits that the page prints; None if it prints
        none), top1 and top5 (published accuracies in percent), convention, note.

    Raises
    ------
    InputError
        If no page is known of a model, or there is none.
    """
    given = _names() if models is None else models
    each = [given] if isinstance(given, str | nn.Module | Classifier) else listed(given)
    if not each:
        raise InputError(f"models must be one model or a list of some, not {shown(given)}")
    return pd.DataFrame([row for model in each for row in _rows(model)])


def _rows(model: str | nn.Module | Classifier) -> list[dict[str, Any]]:
    if isinstance(model, str):
        # what is on no page is told before anything is built
        name, key = model, _key(model)
        module = weightless(model).module
    else:
        classifier = as_classifier(model)
        name, module = classifier.name, classifier.module
        key = _key((classifier.recipe or {}).get("name", name))
    counted = cache(lambda size: count(module, (size, size)))
    return [_row(name, page, counted(page["input_size"])) for page in _pages(key)]


def _row(model: str, page: dict[str, Any], found: Counts) -> dict[str, Any]:
    convention = CONVENTIONS[page["page"]]
    counted = (
        found.params / 1e6,
        convention.arithmetic(found) / 1e9,
        found.activations / 1e6,
    )
    row: dict[str, Any] = {"model": model, "page": page["page"], "input_size": page["input_size"]}
    agreeing = []
    for name, ours, digits in zip(_QUANTITIES, counted, convention.digits, strict=True):
        theirs = page[name]
        missing = math.isnan(theirs)
        row |= {name: theirs, f"{name}_counted": math.nan if missing else ours}
        agreeing += [] if missing else [f"{ours:.{digits}f}" == f"{theirs:.{digits}f}"]
    row |= {"agrees": all(agreeing) if agreeing else None}
    row |= {"top1": page["top1"], "top5": page["top5"]}
    return row | {"convention": convention.words, "note": page["note"]}


def _key(name: str) -> str:
    """Find the architecture that a name of any source means."""
    source, _, short = name.rpartition("/")
    configs = mmpretrain_table().reset_index().set_index("config")["name"]
    found = configs.get(short, short.partition(".")[0])
    if source == "demo" or found not in _names():
        raise unknown("model on the pages", name, _names())
    return str(found)


def _names() -> list[str]:
    return list(dict.fromkeys(_table("pages.csv")["name"]))


def _pages(key: str) -> list[dict[str, Any]]:
    """Collect what all pages print about an architecture."""
    pages = _table("pages.csv")
    printed = pages[pages["name"] == key].copy()
    printed["top1"] = (100 - printed["top1_error"]).round(2)
    printed["top5"] = (100 - printed["top5_error"]).round(2)
    rows: list[dict[str, Any]] = [
        {str(column): value for column, value in row.items()}
        for row in printed.fillna({"note": ""}).to_dict("records")
    ]
    for row in rows:
        if row["page"] == "timm results":
            row |= _timm_accuracy(key, row["input_size"])
    return [*rows, *_torchvision(key), *_of_mmpretrain(key)]


def _timm_accuracy(key: str, size: int) -> dict[str, float]:
    both = pd.concat([list_models(key), _table("published_test_size.csv")])
    own = both[(both["name"] == key) & (both["input_size"] == size)].iloc[0]
    return {"top1": float(own["top1"]), "top5": float(own["top5"])}


def _torchvision(key: str) -> list[dict[str, Any]]:
    from torchvision import models as tv

    if key not in tv.list_models(module=tv):
        return []
    weights = tv.get_model_weights(key).DEFAULT
    figures = weights.meta["_metrics"]["ImageNet-1K"]
    size = weights.transforms().crop_size[0]
    printed = (weights.meta["num_params"] / 1e6, weights.meta["_ops"], math.nan)
    return [_page("torchvision", size, printed, figures["acc@1"], figures["acc@5"])]


def _of_mmpretrain(key: str) -> list[dict[str, Any]]:
    if key not in mmpretrain_table().index:
        return []
    row: dict[str, Any] = {str(name): value for name, value in mmpretrain_table().loc[key].items()}
    printed = (row["params"], row["gflops"], math.nan)
    return [_page("mmpretrain", 224, printed, row["top1"], row["top5"])]


def _page(
    page: str, size: int, printed: tuple[float, float, float], top1: float, top5: float
) -> dict[str, Any]:
    quantities = dict(zip(_QUANTITIES, printed, strict=True))
    return {"page": page, "input_size": size, **quantities, "top1": top1, "top5": top5, "note": ""}


@cache
def _table(name: str) -> pd.DataFrame:
    with (files("vizkit") / "data" / name).open(encoding="utf-8") as file:
        return pd.read_csv(file, comment="#")
