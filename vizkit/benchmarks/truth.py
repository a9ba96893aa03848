"""What is right: maps of a copy without in-place layers, and how far others are from it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from vizkit.results import Tap

# differences of this share of a map's largest value are rounding, also after fifty layers; a map
# that was overwritten is off by far more
_ROUNDING = 1e-5


def true_maps(module: nn.Module, taps: Sequence[Tap], inputs: Tensor) -> list[Tensor]:
    """Compute feature maps by a copy of a network in which nothing works in place.

    Parameters
    ----------
    module : nn.Module
        The network.
    taps : sequence of Tap
        Where to read.
    inputs : Tensor of shape (N, 3, H, W)
        What goes in.

    Returns
    -------
    list of Tensor of shape (N, C, h, w)
        One per tap.
    """
    copy = deepcopy(module).eval()
    for submodule in copy.modules():
        if hasattr(submodule, "inplace"):
            submodule.inplace = False  # type: ignore[assignment]
    found: dict[str, list[Tensor]] = {tap.module: [] for tap in taps}
    for path, own in found.items():
        copy.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output, own=own: own.append(output)
        )
    with torch.no_grad():
        copy(inputs.clone())
    maps = [(found[tap.module][tap.call], tap) for tap in taps]
    return [each.movedim(-1, 1) if tap.channels_last else each for each, tap in maps]


def count_wrong(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Count the values that are not what they should be.

    Parameters
    ----------
    found, truth : sequence of Tensor
        Maps in the same order.

    Returns
    -------
    float
        Values that differ by more than rounding; all of a map whose shape is another.
    """
    wrong = 0
    for own, right in zip(found, truth, strict=True):
        if own.shape != right.shape:
            wrong += right.numel()
            continue
        slack = _ROUNDING * right.abs().max()
        # what is no number is not close either
        wrong += int((~((own.detach() - right).abs() <= slack)).sum())
    return float(wrong)


def difference(found: Sequence[Tensor | np.ndarray], right: Sequence[Tensor | np.ndarray]) -> float:
    """Find the largest difference, relative to the largest value.

    Parameters
    ----------
    found, right : sequence of Tensor or ndarray
        Arrays in the same order; each is compared with its own largest value.

    Returns
    -------
    float
        Infinite where shapes differ or something is no number.
    """
    return max(_difference(_array(a), _array(b)) for a, b in zip(found, right, strict=True))


def distance(found: Tensor, right: Tensor) -> float:
    """Measure a difference by its root mean square, relative to that of what is right.

    Where a ReLU opens or not by a rounding, single places differ much more than that.
    """
    own, other = _array(found), _array(right)
    if own.shape != other.shape or not np.isfinite(own).all():
        return np.inf
    return float(np.linalg.norm(own - other) / (np.linalg.norm(other) or 1.0))


def _difference(own: np.ndarray, right: np.ndarray) -> float:
    if own.shape != right.shape or not np.isfinite(own).all():
        return np.inf
    largest = float(np.abs(right).max())
    return float(np.abs(own - right).max()) / (largest or 1.0)


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    found: np.ndarray = values.astype(np.float64)
    return found
