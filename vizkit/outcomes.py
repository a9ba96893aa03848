"""What each network says of each photo, in a few numbers: the one pass that judging is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vizkit.errors import InputError
from vizkit.forward import recorded
from vizkit.memory import in_parts
from vizkit.models import Classifier

# of one network and one photo: predicted output; rank of the own class, from 1; probabilities of
# the predicted and of the own class; squared error of all probabilities; minus log of the own
NUMBERS = ("index", "rank", "probability", "own", "brier", "nll")


def logits_of(classifiers: Sequence[Classifier], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Run every network once on the same images.

    Parameters
    ----------
    classifiers : sequence of Classifier
        The networks.
    inputs : sequence of Tensor of shape (N, 3, H, W)
        One per network, on its device.

    Returns
    -------
    list of Tensor of shape (N, K)
        On the networks' devices: nothing waits for a GPU here.
    """
    found = []
    for classifier, own in zip(classifiers, inputs, strict=True):
        found.append(torch.cat(in_parts(partial(_logits_of, classifier, own), len(own))))
    return found


def _logits_of(classifier: Classifier, inputs: Tensor, part: slice) -> Tensor:
    with recorded(classifier.module, (), inputs[part]) as (_, logits):
        return logits


def checked(classifier: Classifier, logits: Tensor, own: Tensor | None = None) -> Tensor:
    """Take logits to the CPU as float64, and refuse those that cannot be judged.

    Parameters
    ----------
    classifier : Classifier
        Whose they are.
    logits : Tensor of shape (N, K)
        For some images.
    own : Tensor of shape (N,), int64, optional
        Which output is each image's own class.

    Returns
    -------
    Tensor of shape (N, K), float64
        On the CPU.

    Raises
    ------
    InputError
        If they are not finite, or there is none for an own class.
    """
    values = logits.detach().cpu().double()
    if not values.isfinite().all():
        raise InputError(f"{classifier.name} gives NaN or infinity")
    if own is not None and own.max() >= values.shape[1]:
        name = classifier.class_name(int(own.max()))
        raise InputError(f"{classifier.name} has {values.shape[1]} outputs, and none for {name!r}")
    return values


def outcomes(logits: Tensor, own: Tensor | None = None, among: Tensor | None = None) -> np.ndarray:
    """Compute what is kept of each image of one network.

    Parameters
    ----------
    logits : Tensor of shape (N, K), float64
        On the CPU.
    own : Tensor of shape (N,), int64, optional
        Which output is each image's own class.
    among : Tensor of shape (S,), int64, optional
        Outputs that alone are looked at, in ascending order, own classes among them; by default
        all. Probabilities sum to 1 over these.

    Returns
    -------
    ndarray of shape (numbers, N), float64
        As in `NUMBERS`; but for index and probability NaN where own classes are not known.
    """
    if among is not None:
        logits, own = logits[:, among], None if own is None else torch.searchsorted(among, own)
    # of equal logits, the first comes first: so ranks do not hang on how anything is sorted
    numbers = torch.arange(logits.shape[1])
    top = logits.amax(dim=1, keepdim=True)
    index = torch.where(logits == top, numbers, len(numbers)).amin(dim=1)
    logarithms = logits.log_softmax(dim=1)
    shares = logarithms.exp()
    best = shares.gather(1, index[:, None])[:, 0]
    rank, likely, brier, nll = torch.full((4, len(logits)), math.nan, dtype=torch.float64)
    if own is not None:
        mine = logits.gather(1, own[:, None])
        before = (logits > mine) | ((logits == mine) & (numbers < own[:, None]))
        rank = 1.0 + before.sum(dim=1)
        nll = -logarithms.gather(1, own[:, None])[:, 0]
        likely = (-nll).exp()
        # (p - 1)^2 for the own class, p^2 for the others
        brier = (shares.square().sum(dim=1) + 1 - 2 * likely).clamp(min=0)
    said = index if among is None else among[index]
    return torch.stack([said.double(), rank, best, likely, brier, nll]).numpy()


def prediction_table(
    classifiers: Sequence[Classifier],
    images: Sequence[str],
    labels: Sequence[str] | None,
    numbers: np.ndarray,
) -> pd.DataFrame:
    """Make the table with one row per model and image.

    Parameters
    ----------
    classifiers : sequence of Classifier
        The networks.
    images : sequence of str
        Names.
    labels : sequence of str or None
        Names of the images' own classes, if they are known.
    numbers : ndarray of shape (networks, numbers, images)
        As in `NUMBERS`.

    Returns
    -------
    DataFrame
        As `vizkit.results.Judged` describes it.
    """
    return pd.concat(
        [
            _rows(classifier, images, labels, own)
            for classifier, own in zip(classifiers, numbers, strict=True)
        ],
        ignore_index=True,
    )


def _rows(
    classifier: Classifier, images: Sequence[str], labels: Sequence[str] | None, own: np.ndarray
) -> pd.DataFrame:
    numbers = dict(zip(NUMBERS, own, strict=True))
    index, unknown = numbers["index"].astype(int), pd.Series([None] * len(images), dtype=object)
    return pd.DataFrame({
        "model": classifier.name,
        "image": list(images),
        "label": unknown if labels is None else pd.Series(list(labels), dtype=object),
        "class": [classifier.class_name(n) for n in index],
        "index": index,
        "probability": numbers["probability"],
        "right": unknown if labels is None else numbers["rank"] == 1,
        "rank": numbers["rank"] if labels is None else numbers["rank"].astype(int),
        **{name: numbers[name] for name in ("own", "brier", "nll")},
    })  # fmt: skip
