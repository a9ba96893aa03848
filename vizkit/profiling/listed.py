"""Parameters, GMACs and activations of the models in a list."""

from __future__ import annotations

import math

import pandas as pd
from tqdm.auto import tqdm

from vizkit.errors import InputError
from vizkit.profiling.counting import count, weightless

MOST = 100


def count_listed(listed: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Add to a list of models what is counted of each, at its own input size.

    Parameters
    ----------
    listed : DataFrame
        As `list_models` returns it; at most a hundred rows.

    Returns
    -------
    frame : DataFrame
        With counted_params, gmacs (1e9 multiply-accumulates of convolutions and matrix products),
        activations (1e6 outputs of convolutions and linear layers) and counted_size (pixels)
        after the other columns; NaN for a model that cannot be counted.
    left_out : list of (str, str)
        Which those are, and why.

    Raises
    ------
    InputError
        If there are more models than can be counted while one waits.
    """
    if len(listed) > MOST:
        raise InputError(
            f"{len(listed)} models are too many to count (at most {MOST}): narrow the pattern, "
            "such as 'torchvision/*' or 'vgg*'"
        )
    rows, left_out = [], []
    for name in tqdm(list(listed["name"]), desc="models", disable=len(listed) < 2):
        try:
            rows.append(_counted(name))
        except Exception as error:  # a model's own code may fail in any way; it is told
            left_out.append((name, str(error).partition("\n")[0]))
            rows.append({})
    columns = ["counted_params", "gmacs", "activations", "counted_size"]
    counted = pd.DataFrame(rows, columns=columns, index=listed.index, dtype=float)
    return pd.concat([listed, counted], axis=1), left_out


def _counted(name: str) -> dict[str, float]:
    parts = weightless(name)
    height, width = getattr(parts.transform, "size", (224, 224))
    found = count(parts.module, (height, width))
    return {
        "counted_params": found.params,
        "gmacs": found.macs / 1e9,
        "activations": found.activations / 1e6,
        "counted_size": height if height == width else math.nan,
    }
