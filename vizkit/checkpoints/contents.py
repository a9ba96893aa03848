"""Find the weights, and the names of the classes, in what a checkpoint file holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vizkit.checkpoints.layouts import from_mmpretrain, is_mmpretrain
from vizkit.checkpoints.wording import few, line
from vizkit.errors import WeightsError

_WEIGHT_TYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
}
# under which names training scripts store weights, and their moving average
_WEIGHTS = ("state_dict", "model_state_dict", "model")
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict")
# what DataParallel, torch.compile and Lightning put before every key
_WRAPPERS = ("module.", "_orig_mod.", "model.")
# in which torch.optim.swa_utils' and mmengine's averages count their updates
_COUNTERS = ("n_averaged", "steps")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file holds.

    Attributes
    ----------
    state : dict of str to Tensor
        Weights by key, on the CPU, in timm's or torchvision's layout.
    classes : tuple of str
        Names of the outputs; empty if the file has none.
    note : str
        What there is to say about them: ``"mmpretrain, moving average"``.
    """

    state: dict[str, Tensor]
    classes: tuple[str, ...] = ()
    note: str = ""


def unpacked(content: Any, header: Mapping[str, Any], path: Path, ema: bool) -> Checkpoint:
    """Find the weights in what a file holds.

    Parameters
    ----------
    content : object
        A state dict, or a mapping with one inside.
    header : mapping of str to Any
        What vizkit wrote beside them.
    path : Path
        The file, for messages.
    ema : bool
        Prefer the moving average.

    Returns
    -------
    Checkpoint
        With a state dict of at least one tensor.

    Raises
    ------
    WeightsError
        If there is none, or it holds anything but tensors that networks take as weights.
    """
    found, averaged = _found(content, ema)
    state = _checked(found, path)
    theirs = is_mmpretrain(state)
    single = _without_copies(state)
    words = ["mmpretrain"] if theirs else []
    words += ["moving average"] if averaged else []
    words += ["an EMA hook's copy left out"] if len(single) < len(state) else []
    state = from_mmpretrain(single) if theirs else single
    classes = _names(header.get("classes")) or _class_names(content)
    return Checkpoint(state, classes, ", ".join(words))


def _found(content: Any, ema: bool) -> tuple[Any, bool]:
    """Go down to the innermost state dict; whether it is a moving average."""
    averaged = False
    for _ in range(3):
        average = _inside(content, _AVERAGES)
        plain = _inside(content, _WEIGHTS)
        if average is not None and _is_mmengine(content):
            # mmengine stores the average as the weights, and these under the average's name
            average, plain = plain, average
        chosen = average if average is not None and (ema or plain is None) else plain
        if chosen is None:
            break
        averaged = averaged or chosen is average
        content = chosen
    return content, averaged


def _inside(content: Any, names: tuple[str, ...]) -> Mapping[Any, Any] | None:
    if not isinstance(content, Mapping):
        return None
    held = (content.get(name) for name in names)
    return next((each for each in held if isinstance(each, Mapping) and each), None)


def _is_mmengine(content: Mapping[str, Any]) -> bool:
    meta = content.get("meta")
    return "message_hub" in content or (isinstance(meta, Mapping) and "mmengine_version" in meta)


def _checked(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a state dict")
    content = {key: value for key, value in content.items() if key not in _COUNTERS}
    strange = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strange or not content:
        looked = ", ".join((*_WEIGHTS, *_AVERAGES))
        raise WeightsError(
            f"{path} holds no state dict: {few(strange)} are not tensors, and there is none "
            f"under {looked}"
        )
    odd = [f"{key} ({_kind(value)})" for key, value in content.items() if not _is_plain(value)]
    if odd:
        raise WeightsError(f"{path} holds tensors that no network takes as weights: {few(odd)}")
    return _unwrapped({str(key): value for key, value in content.items()})


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take away the prefixes that wrappers put before every key."""
    while prefix := next((p for p in _WRAPPERS if all(key.startswith(p) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _without_copies(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the second copy of all weights that mmcv's EMA hook registers as buffers."""
    copies = {f"ema_{key.replace('.', '_')}" for key in state}
    return {key: value for key, value in state.items() if key not in copies}


def _class_names(content: Any) -> tuple[str, ...]:
    """Read the names that mmpretrain (1.x, then mmcls 0.x) stores in ``meta``."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    if not isinstance(meta, Mapping):
        return ()
    newer = meta.get("dataset_meta")
    names = _names(newer.get("classes")) if isinstance(newer, Mapping) else ()
    return names or _names(meta.get("CLASSES"))


def _names(found: Any) -> tuple[str, ...]:
    """Take names of classes if there is one for each; they will be printed."""
    if not isinstance(found, list | tuple) or not all(isinstance(each, str) for each in found):
        return ()
    names = tuple(line(each) for each in found)
    # ImageNet has two cranes, as mmpretrain writes them
    return names if all(names) and len(set(names)) > 1 else ()


def _is_plain(value: Tensor) -> bool:
    on_cpu = value.device.type == "cpu"
    return on_cpu and value.layout == torch.strided and value.dtype in _WEIGHT_TYPES


def _kind(value: Tensor) -> str:
    return f"{value.dtype}, {value.layout}, {value.device}".replace("torch.", "")
