"""The most probable classes, from logits."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from vizkit.results import FeatureMaps


def top(maps: FeatureMaps, k: int) -> pd.DataFrame:
    """List the most probable classes of captured images.

    Parameters
    ----------
    maps : FeatureMaps
        Of any taps; only the logits are used.
    k : int
        How many classes to list for each image.

    Returns
    -------
    DataFrame
        As `vizkit.predict` returns it.
    """
    return ranked(maps.logits, maps.seen.names, maps.classes, k)


def ranked(logits: Tensor, names: Sequence[str], classes: Sequence[str], k: int) -> pd.DataFrame:
    """List the most probable classes of images.

    Parameters
    ----------
    logits : Tensor of shape (N, K)
        A network's outputs.
    names : sequence of str
        The N images'.
    classes : sequence of str
        The K outputs', as far as they are known.
    k : int
        How many to list for each image.

    Returns
    -------
    DataFrame
        One row per image and rank: image, rank (from 1), class, index, probability (softmax, in
        [0, 1]), logit.
    """
    given = logits.float().cpu()
    values, indices = given.softmax(dim=1).topk(min(k, given.shape[1]))
    own = given.gather(1, indices)
    count = values.shape[1]
    index = indices.flatten().tolist()
    return pd.DataFrame(
        {
            "image": [name for name in names for _ in range(count)],
            "rank": list(range(1, count + 1)) * len(names),
            "class": [classes[i] if i < len(classes) else f"class {i}" for i in index],
            "index": index,
            "probability": values.flatten().tolist(),
            "logit": own.flatten().tolist(),
        }
    )
