"""From what users write for a class to its index."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from vizkit.errors import InputError
from vizkit.models import Classifier

Targets = None | int | str | Sequence[int | str] | Tensor


def rows_of(targets: Tensor, count: int) -> Tensor:
    """Check classes given image by image, and return them as (N, T).

    Parameters
    ----------
    targets : Tensor of shape (N,) or (N, T)
        Whole numbers.
    count : int
        N, the number of images.

    Returns
    -------
    Tensor of shape (N, T), int64
        The same.

    Raises
    ------
    InputError
        If type or shape is another.
    """
    if targets.is_floating_point() or targets.ndim not in {1, 2} or len(targets) != count:
        raise InputError(
            f"a tensor of targets must be whole numbers of shape (N,) or (N, T) for the {count} "
            f"images given, not {targets.dtype} {tuple(targets.shape)}"
        )
    return targets.reshape(count, -1).long()


def resolve(targets: Targets, logits: Tensor, classifier: Classifier) -> Tensor:
    """Find the classes asked for.

    Parameters
    ----------
    targets : None, int, str, list, or Tensor of shape (N, T)
        As for `vizkit.attribute`.
    logits : Tensor of shape (N, K)
        The network's output, for "predicted" and "top5".
    classifier : Classifier
        Who knows the names.

    Returns
    -------
    Tensor of shape (N, T), int64
        On the logits' device.

    Raises
    ------
    InputError
        If there is no such class.
    """
    count, classes = logits.shape
    if isinstance(targets, Tensor):
        return _in_range(targets.to(logits.device), classes)
    ranked = re.fullmatch(r"top(\d+)", targets) if isinstance(targets, str) else None
    if targets is None or ranked:
        k = int(ranked[1]) if ranked else 1
        if not 1 <= k <= classes:
            raise InputError(f"unknown target {targets!r}: the model has {classes} classes")
        return logits.detach().topk(k, dim=1).indices
    if isinstance(targets, str) or not isinstance(targets, Iterable):
        targets = [targets]
    row = [index_of(target, classifier) for target in targets]
    if not row:
        raise InputError("no targets: the list is empty")
    return _in_range(torch.tensor([row] * count, device=logits.device), classes)


def index_of(target: Any, classifier: Classifier) -> int:
    """Find one class by its index or name.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(target, str):
        return classifier.class_index(target)
    try:
        return operator.index(target)
    except TypeError:
        raise InputError(
            f"unknown target {target!r}: give an index, a class name, 'top5' or a list of these"
        ) from None


def _in_range(indices: Tensor, classes: int) -> Tensor:
    outside = indices[(indices < 0) | (indices >= classes)]
    if outside.numel():
        raise InputError(f"unknown target {outside[0].item()}: choose from 0 to {classes - 1}")
    return indices
