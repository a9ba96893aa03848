"""Which models can be loaded, and what was published about them."""

from __future__ import annotations

import fnmatch
import math
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd

from vizkit import zoo
from vizkit.errors import instance
from vizkit.models.sources.mmpretrain_models import mmpretrain_table


def list_models(pattern: str = "*") -> pd.DataFrame:
    """List the models that `load` knows.

    Parameters
    ----------
    pattern : str
        Shell-style, matched against the whole name: ``"*vgg*"``, ``"demo/*"``.

    Returns
    -------
    DataFrame
        name, source (demo, timm, torchvision, mmpretrain), bundled, params (number of
        parameters), top1 and top5 (published, in percent, on ImageNet-1k or the demo's
        validation photos), input_size (pixels, at which they were measured), reference. NaN
        where nothing was published with the weights.

    Raises
    ------
    InputError
        If the pattern is no text.
    """
    instance("pattern", pattern, str)
    import timm

    published = _published().set_index("name")
    demo = [f"demo/{name}" for name in zoo.NAMES]
    rows = [*_torchvision_rows(), *_mmpretrain_rows()]
    rows += [{"name": name, "source": "demo", "bundled": True} for name in demo]
    rows += [{"name": name, "source": "timm", "bundled": False} for name in timm.list_models()]
    frame = pd.DataFrame(rows).set_index("name")
    frame = frame.combine_first(published).reindex([*demo, *frame.index.drop(demo)])
    frame = frame.reset_index(names="name")
    kept = frame[[fnmatch.fnmatchcase(name, pattern) for name in frame["name"]]]
    columns = [
        "name",
        "source",
        "bundled",
        "params",
        "top1",
        "top5",
        "input_size",
        "reference",
    ]
    return kept[columns].reset_index(drop=True)


@cache
def _published() -> pd.DataFrame:
    with (files("vizkit") / "data" / "published.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, comment="#")
    measured = pd.DataFrame(zoo.results())
    return pd.concat([table, measured], ignore_index=True)


def _torchvision_rows() -> list[dict[str, Any]]:
    from torchvision import models as tv

    rows = []
    for short in tv.list_models(module=tv):
        weights = tv.get_model_weights(short)
        chosen = getattr(weights, "DEFAULT", None)
        meta = chosen.meta if chosen else {}
        metrics = meta.get("_metrics", {}).get("ImageNet-1K", {})
        rows.append(
            {
                "name": f"torchvision/{short}",
                "source": "torchvision",
                "bundled": False,
                "params": meta.get("num_params", math.nan),
                "top1": metrics.get("acc@1", math.nan),
                "top5": metrics.get("acc@5", math.nan),
                "input_size": chosen.transforms().crop_size[0] if chosen else math.nan,
                "reference": f"torchvision, {chosen}" if chosen else None,
            }
        )
    return rows


def _mmpretrain_rows() -> list[dict[str, Any]]:
    from torchvision import models as tv

    return [
        {
            "name": f"mmpretrain/{name}",
            "source": "mmpretrain",
            "bundled": False,
            # the same network as torchvision's
            "params": tv.get_model_weights(name).DEFAULT.meta["num_params"],
            "top1": row["top1"],
            "top5": row["top5"],
            "input_size": 224,
            "reference": f"mmpretrain, {row['config']}",
        }
        for name, row in mmpretrain_table().iterrows()
    ]
