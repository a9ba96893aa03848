"""Weights from a file into a network: safely, strictly, whichever library wrote them.

A VGG's weights exist in two layouts that hold the same numbers under other names and shapes:
torchvision's (linear head) and timm's (the same head as convolutions).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vizkit.errors import WeightsError

# torchvision's name, timm's name
_VGG_HEAD = (
    ("classifier.0", "pre_logits.fc1"),
    ("classifier.3", "pre_logits.fc2"),
    ("classifier.6", "head.fc"),
)


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
        If the file is missing, damaged, or holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise WeightsError(f"no such weights file: {path}")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds something other than weights, and loading it could run code: "
            f"refused ({_first_line(error)})"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is not a readable checkpoint: {_first_line(error)}") from error
    return _unwrap(content, path)


def fit(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a network, translating VGG layouts; every key must find its place.

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
    missing = [key for key in wanted if key not in given]
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
    module.load_state_dict({key: given[key] for key in wanted}, strict=True)


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


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a state dict")
    strange = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strange:
        raise WeightsError(f"{path} holds no state dict: {_few(strange)} are not tensors")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _few(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
