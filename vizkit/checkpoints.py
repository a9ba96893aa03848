"""Weights from a file into a network: safely, strictly, whichever library wrote them.

A VGG's weights exist in two layouts that hold the same numbers under other names and shapes:
torchvision's (linear head) and timm's (the same head as convolutions).
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vizkit.errors import WeightsError

# torchvision's name, timm's name
_VGG_HEAD = (
    ("classifier.0", "pre_logits.fc1"),
    ("classifier.3", "pre_logits.fc2"),
    ("classifier.6", "head.fc"),
)
_WEIGHT_TYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
# what torch.load wraps around the line that says what is wrong
_WRAPPING = ("Weights only load failed", "Please file an issue", "Check the documentation")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the weights from a checkpoint file without running any code in it.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or anything that ``torch.save`` wrote: a state dict, or a dict with
        one under ``state_dict``, ``model`` or ``model_state_dict``.

    Returns
    -------
    dict of str to Tensor
        On the CPU; a ``module.`` prefix (DataParallel) is removed.

    Raises
    ------
    WeightsError
        If the file is missing, unreadable, damaged, or holds anything but dense tensors of
        numbers and plain values. Running out of memory stays a ``MemoryError``.
    """
    try:
        return _unwrap(_load(path), path)
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # what a damaged pickle raises has no common base
        raise WeightsError(_complaint(path, error)) from error


def fit(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a network, translating VGG layouts; every key must find its place.

    Only the batch counters of BatchNorm may be absent, all of them together: files from before
    PyTorch 0.4.1 have none, and the network keeps its own.

    Parameters
    ----------
    module : nn.Module
        The network; unchanged if the weights do not fit.
    state : mapping of str to Tensor
        Weights in torchvision's or timm's layout.
    source : str
        Where they come from, for messages.

    Raises
    ------
    WeightsError
        If keys are missing or left over, or shapes differ; the message names the first few.
    """
    wanted = module.state_dict()
    given = translate(state, wanted)
    spared = _absent_counters(module, given)
    missing = [key for key in wanted if key not in given and key not in spared]
    extra = [key for key in given if key not in wanted]
    differing = [
        f"{key} is {tuple(given[key].shape)}, not {tuple(wanted[key].shape)}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    problems = [
        *([f"missing {_few(missing)}"] if missing else []),
        *([f"left over {_few(extra)}"] if extra else []),
        *([f"other shapes: {_few(differing)}"] if differing else []),
    ]
    if problems:
        raise WeightsError(f"{source} does not fit {type(module).__name__}: {'; '.join(problems)}")
    module.load_state_dict({key: given.get(key, wanted[key]) for key in wanted}, strict=True)


def translate(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and reshape a VGG head between torchvision's and timm's layout.

    Parameters
    ----------
    state : mapping of str to Tensor
        What a file holds.
    wanted : mapping of str to Tensor
        The network's own state dict, which decides the layout.

    Returns
    -------
    dict of str to Tensor
        ``state`` itself where nothing needs translating.
    """
    renamed = dict(state)
    for theirs, ours in (*_VGG_HEAD, *((b, a) for a, b in _VGG_HEAD)):
        for kind in ("weight", "bias"):
            old, new = f"{theirs}.{kind}", f"{ours}.{kind}"
            if old in renamed and new in wanted and new not in renamed and old not in wanted:
                value = renamed.pop(old)
                same_size = value.numel() == wanted[new].numel()
                renamed[new] = value.reshape(wanted[new].shape) if same_size else value
    return renamed


def _load(path: Path) -> Any:
    if path.is_dir():
        raise WeightsError(f"{path} is a folder, not a weights file")
    if not path.is_file():
        raise WeightsError(f"no such weights file: {path}")
    path.open("rb").close()  # safetensors would call a file missing that it may not read
    if path.suffix == ".safetensors":
        return load_file(path)
    with warnings.catch_warnings():  # about the pickle inside: it loads, or an error says more
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _complaint(path: Path, error: Exception) -> str:
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused and isinstance(error, pickle.UnpicklingError):
        return (
            f"{path} holds something other than weights, and loading it could run code: "
            f"refused ({_line(refused[1])})"
        )
    lines = (line for line in str(error).splitlines() if line.strip())
    telling = next((line for line in lines if not line.startswith(_WRAPPING)), "")
    reason = ": ".join(filter(None, (type(error).__name__, _line(telling))))
    return f"{path} is not a readable checkpoint ({reason})"


def _absent_counters(module: nn.Module, given: Mapping[str, Tensor]) -> set[str]:
    counters = {
        f"{name}.num_batches_tracked".removeprefix(".")
        for name, part in module.named_modules(remove_duplicate=False)
        if isinstance(part, _BATCH_NORMS)
    }
    return set() if counters & given.keys() else counters


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a state dict")
    strange = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strange:
        raise WeightsError(f"{path} holds no state dict: {_few(strange)} are not tensors")
    odd = [f"{key} ({_kind(value)})" for key, value in content.items() if not _is_plain(value)]
    if odd:
        raise WeightsError(f"{path} holds tensors that no network takes as weights: {_few(odd)}")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _is_plain(value: Tensor) -> bool:
    on_cpu = value.device.type == "cpu"
    return on_cpu and value.layout == torch.strided and value.dtype in _WEIGHT_TYPES


def _kind(value: Tensor) -> str:
    return f"{value.dtype}, {value.layout}, {value.device}".replace("torch.", "")


def _few(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(_line(str(name)) for name in names[:most]) + more


def _line(text: str, most: int = 200) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * most])
    return " ".join(printable.split())[:most]
