"""What a network costs at each stage, counted on the meta device without real arithmetic."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from vizkit.errors import InputError
from vizkit.hooks import evaluating
from vizkit.models import Classifier, as_classifier
from vizkit.receptive import fields as receptive_fields
from vizkit.stages import Call, trace


def profile(
    model: str | nn.Module | Classifier, size: int | tuple[int, int] | None = None
) -> pd.DataFrame:
    """Count parameters, multiply-accumulates and activations of each stage.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        The network.
    size : int or (int, int), optional
        Height and width of the input, in pixels; by default the network's own.

    Returns
    -------
    DataFrame
        One row per stage, one for the head and one for the total: model, stage, stride, params,
        gmacs (1e9 multiply-accumulates of convolutions and linear layers for one image, timm's
        convention), activations (1e6 elements of convolution and linear outputs), channels,
        height and width of the stage's map, receptive_field (theoretical, in input pixels, of
        the longest path; NaN for the head).

    Raises
    ------
    InputError
        If the size is not positive.
    """
    classifier = as_classifier(model)
    height, width = _size(classifier, size)
    calls = trace(classifier.module, (height, width), exact=True)
    macs = _macs(classifier.module, (height, width))
    ends = _last_calls(classifier, calls)
    fields = receptive_fields(classifier.module, (height, width))
    rows = []
    start = 0
    counted: set[int] = set()
    names = [tap.name for tap in classifier.stages]
    for position, end in enumerate([*ends, len(calls) - 1]):
        part = calls[start : end + 1]
        start = end + 1
        head = position == len(ends)
        tap = None if head else classifier.stages[position]
        last = calls[end]
        rows.append(
            {
                "model": classifier.name,
                "stage": "head" if tap is None else names[position],
                "stride": float("nan") if tap is None else tap.stride,
                "params": sum(_own_parameters(call.module, counted) for call in part),
                "gmacs": sum(macs.get(call.path, 0) for call in _first_calls(part)) / 1e9,
                "activations": sum(_activations(call) for call in part) / 1e6,
                "channels": last.after[1] if tap is None else tap.channels,
                "height": 1 if tap is None else last.map_size[0],
                "width": 1 if tap is None else last.map_size[1],
                "receptive_field": float("nan")
                if tap is None
                else fields[tap.module, tap.call].size,
            }
        )
    frame = pd.DataFrame(rows)
    total = {
        "model": classifier.name,
        "stage": "total",
        "params": sum(p.numel() for p in classifier.module.parameters()),
        "gmacs": frame["gmacs"].sum(),
        "activations": frame["activations"].sum(),
    }
    return pd.concat([frame, pd.DataFrame([total])], ignore_index=True)


def _size(classifier: Classifier, size: int | tuple[int, int] | None) -> tuple[int, int]:
    default = getattr(classifier.transform, "size", (224, 224))
    chosen = (size, size) if isinstance(size, int) else size or default
    if min(chosen) < 1:
        raise InputError(f"the input size must be positive, not {size}")
    return int(chosen[0]), int(chosen[1])


def _macs(module: nn.Module, size: tuple[int, int]) -> dict[str, int]:
    counter = FlopCounterMode(display=False)
    tensors: dict[str, Any] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    moved = {
        name: torch.empty_like(tensor, device="meta", dtype=torch.float32)
        if tensor.is_floating_point()
        else tensor.to("meta")
        for name, tensor in tensors.items()
    }
    with evaluating(module), torch.no_grad(), counter:
        functional_call(module, moved, (torch.zeros(1, 3, *size, device="meta"),))
    prefix = type(module).__name__ + "."
    return {
        name.removeprefix(prefix): sum(by_operator.values()) // 2
        for name, by_operator in counter.get_flop_counts().items()
    }


def _last_calls(classifier: Classifier, calls: list[Call]) -> list[int]:
    wanted = {(tap.module, tap.call) for tap in classifier.stages}
    found = [i for i, call in enumerate(calls) if (call.path, call.number) in wanted]
    if len(found) != len(wanted):
        raise InputError(f"{classifier.name}: some stages do not run at this input size")
    return found


def _first_calls(calls: list[Call]) -> list[Call]:
    return [call for call in calls if call.leaf and call.number == 0]


def _own_parameters(module: nn.Module, counted: set[int]) -> int:
    new = [p for p in module.parameters(recurse=False) if id(p) not in counted]
    counted.update(id(p) for p in new)
    return sum(p.numel() for p in new)


def _activations(call: Call) -> int:
    if not isinstance(call.module, nn.Conv2d | nn.Linear):
        return 0
    return torch.Size(call.after).numel()
