"""What a network costs at each stage, counted on the meta device without real arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vizkit.errors import InputError, index_of, listed, shown, whole
from vizkit.hooks import blank, dry_run, evaluating, in_this_thread
from vizkit.interrupts import surely
from vizkit.models import Classifier, as_classifier, load
from vizkit.receptive import fields as receptive_fields
from vizkit.results import Tap
from vizkit.stages import Call, trace


def profile(
    model: str | nn.Module | Classifier, size: int | tuple[int, int] | None = None
) -> pd.DataFrame:
    """Count parameters, multiply-accumulates and activations of each stage.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        The network; of a name no weights are needed.
    size : int or (int, int), optional
        Height and width of the input, in pixels; by default the network's own.

    Returns
    -------
    DataFrame
        One row per stage, one for the head, one for parameters that do not run (if any) and one
        for the total: model, stage, stride, channels, height and width of the stage's map,
        params, gmacs (1e9 multiply-accumulates of convolutions and matrix products for one
        image, timm's convention), activations (1e6 elements of convolution and linear outputs),
        receptive_field (theoretical, in input pixels, of all paths together; NaN for the head).

    Raises
    ------
    InputError
        If the size is not positive, or the network takes no input of this size.
    """
    # what weights would be downloaded for is not counted
    classifier = load(model, weights=None) if isinstance(model, str) else as_classifier(model)
    module, shape = classifier.module, _size(classifier, size)
    calls = trace(module, shape, exact=True)
    device = calls[-1].device
    macs = _macs(module, shape, device)
    fields = receptive_fields(module, shape, device)
    counted: set[int] = set()
    rows = []
    start = 0
    for tap, end in _ends(classifier, calls):
        part, last = calls[start : end + 1], calls[end]
        before = macs[calls[start - 1].key] if start else 0
        start = end + 1
        rows.append(
            {
                **_place(tap, last),
                "params": sum(_own_parameters(call.module, counted) for call in part),
                "gmacs": (macs[last.key] - before) / 1e9,
                "activations": sum(_activations(call) for call in part) / 1e6,
                "receptive_field": fields[last.key].size if tap else math.nan,
            }
        )
    unused = sum(_own_parameters(submodule, counted) for submodule in module.modules())
    if unused:
        rows.append({"stage": "unused", "params": unused, "gmacs": 0.0, "activations": 0.0})
    frame = pd.DataFrame(rows, columns=list(rows[0]))
    total = {"stage": "total", **frame[["params", "gmacs", "activations"]].sum()}
    frame = pd.concat([frame, pd.DataFrame([total]).astype({"params": int})], ignore_index=True)
    frame.insert(0, "model", classifier.name)
    return frame


def _place(tap: Tap | None, last: Call) -> dict[str, Any]:
    """Which stage, and the shape of the map it ends with; the head ends with the logits."""
    if tap is None:
        channels, height, width = last.after[1], 1, 1
    else:
        channels, (height, width) = last.channels, last.map_size
    return {
        "stage": tap.name if tap else "head",
        "stride": tap.stride if tap else math.nan,
        "channels": channels,
        "height": height,
        "width": width,
    }


def _size(classifier: Classifier, size: int | tuple[int, int] | None) -> tuple[int, int]:
    if size is None:
        height, width = getattr(classifier.transform, "size", (224, 224))
        return int(height), int(width)
    both = listed(size) if index_of(size) is None else [size, size]
    if both is None or len(both) != 2:
        raise InputError(f"the input size must be one whole number or two, not {shown(size)}")
    return whole("the input size", both[0]), whole("the input size", both[1])


def _macs(
    module: nn.Module, size: tuple[int, int], device: torch.device
) -> dict[tuple[str, int], int]:
    """Multiply-accumulates done when a module finishes, by module path and number of the call."""
    counter = FlopCounterMode(display=False)
    done: dict[tuple[str, int], int] = {}

    def hook(path: str) -> Callable[..., None]:
        numbers = count()
        return lambda *_: done.update({(path, next(numbers)): counter.get_total_flops() // 2})

    with evaluating(module), surely(counter):
        for path, submodule in module.named_modules():
            submodule.register_forward_hook(in_this_thread(hook(path)))
        dry_run(module, blank(module, size, device))
    return done


def _ends(classifier: Classifier, calls: list[Call]) -> list[tuple[Tap | None, int]]:
    """Stages with the position of the call that ends each, in forward order, then the head."""
    positions = {call.key: i for i, call in enumerate(calls) if len(call.after) == 4}
    missing = [tap.label for tap in classifier.stages if (tap.module, tap.call) not in positions]
    if missing:
        raise InputError(f"{classifier.name}: no feature maps at {', '.join(missing)}")
    ends = [(tap, positions[tap.module, tap.call]) for tap in classifier.stages]
    return [*sorted(ends, key=lambda end: end[1]), (None, len(calls) - 1)]


def _own_parameters(module: nn.Module, counted: set[int]) -> int:
    new = [p for p in module.parameters(recurse=False) if id(p) not in counted]
    counted.update(id(p) for p in new)
    return sum(p.numel() for p in new)


def _activations(call: Call) -> int:
    if not isinstance(call.module, nn.Conv2d | nn.Linear):
        return 0
    return torch.Size(call.after).numel()
