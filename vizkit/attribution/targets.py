"""From what users write for a class to its index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vizkit.errors import InputError, listed, shown
from vizkit.errors import index_of as whole_of
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
    kinds = targets.dtype.is_floating_point, targets.dtype.is_complex, targets.dtype == torch.bool
    if any(kinds) or targets.ndim not in {1, 2} or len(targets) != count:
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
        _require(targets.flatten().tolist(), classes)
        return targets.to(logits.device)
    ranked = re.fullmatch(r"top(\d+)", targets) if isinstance(targets, str) else None
    if targets is None or ranked:
        k = int(ranked[1]) if ranked else 1
        if not 1 <= k <= classes:
            raise InputError(f"unknown target {shown(targets)}: the model has {classes} classes")
        return logits.detach().topk(k, dim=1).indices
    several = listed(targets)
    each = [targets] if several is None else several
    row = [index_of(target, classifier) for target in each]
    if not row:
        raise InputError("no targets: the list is empty")
    # before they become a tensor, which holds no number of any size
    _require(row, classes)
    return torch.tensor([row] * count, device=logits.device)


def index_of(target: Any, classifier: Classifier) -> int:
    """Find one class by its index or name.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(target, str):
        return classifier.class_index(target)
    number = whole_of(target)
    if number is None:
        raise InputError(
            f"unknown target {shown(target)}: give an index, a class name, 'top5' or a list of "
            "these"
        )
    return number


def _require(indices: Sequence[int], classes: int) -> None:
    outside = [index for index in indices if not 0 <= index < classes]
    if outside:
        raise InputError(f"unknown target {shown(outside[0])}: choose from 0 to {classes - 1}")
