"""mmpretrain's own VGG weights, in torchvision's network, which computes the same."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import pandas as pd
import torch

from vizkit.checkpoints import fit, read_checkpoint
from vizkit.errors import unknown
from vizkit.images import Transform
from vizkit.models.names import imagenet_classes
from vizkit.models.reach import cached_file, require_cached
from vizkit.models.sources.wanted import Parts, Wanted


@cache
def mmpretrain_table() -> pd.DataFrame:
    """Read what mmpretrain publishes about its VGGs.

    Returns
    -------
    DataFrame
        By name (``vgg11_bn``): config, top1, top5 (percent), gflops, params (1e6), url.
    """
    with (files("vizkit") / "data" / "mmpretrain.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, comment="#").set_index("name")


def mmpretrain_model(wanted: Wanted) -> Parts:
    """Build a VGG with the weights that mmpretrain trained.

    Parameters
    ----------
    wanted : Wanted
        Which (``vgg11_bn``, or the configuration's name, ``vgg11bn_8xb32_in1k``), and with which
        weights.

    Returns
    -------
    Parts
        Of torchvision's network.

    Raises
    ------
    InputError
        If there is none of this name.
    WeightsError
        If weights are not within reach, or do not fit.
    """
    from torchvision import models as tv

    table = mmpretrain_table()
    configs = dict(zip(table["config"], table.index, strict=True))
    name = configs.get(wanted.name, wanted.name)
    if name not in table.index:
        raise unknown("mmpretrain model", wanted.name, list(table.index))
    wanted.refuse_test_size()
    names = wanted.names_of(imagenet_classes())
    module = tv.get_model(name, weights=None, **wanted.count)
    if wanted.pretrained:
        row = table.loc[name]
        url = str(row["url"])
        fit(module, read_checkpoint(_fetched(f"mmpretrain/{name}", url)).state, url)
        source = f"mmpretrain, {row['config']}"
    else:
        source = wanted.fill(module)
    return Parts(module, Transform(), names, source)


def _fetched(name: str, url: str) -> Path:
    """Find a file in torch.hub's cache; download it if it is not there."""
    require_cached(name, url)
    file = cached_file(url)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        # the name ends with the beginning of the file's hash, "-4271cd6c"
        digest = file.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(file), hash_prefix=digest)
    return file
