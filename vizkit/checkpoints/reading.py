"""Read a checkpoint file without running any code in it."""

from __future__ import annotations

import json
import pickle
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from vizkit.checkpoints.contents import Checkpoint, unpacked
from vizkit.checkpoints.guarding import harm
from vizkit.checkpoints.wording import line
from vizkit.errors import WeightsError
from vizkit.files import printable, stand_in, unfit
from vizkit.interrupts import surely, undivided

# what torch.load wraps around the line that says what is wrong
_WRAPPING = ("Weights only load failed", "Please file an issue", "Check the documentation")
# what training scripts of timm, torchvision and mmpretrain store beside the weights
_BYSTANDERS = (
    "argparse.Namespace",
    "builtins.getattr",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
)

_READING = threading.Lock()


class _Inert:
    """Stands for what a file holds beside weights: takes anything, does and keeps nothing."""

    def __new__(cls, *_args: object) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        pass


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the weights from a checkpoint file without running any code in it.

    Parameters
    ----------
    path : Path
        As for `read_checkpoint`.

    Returns
    -------
    dict of str to Tensor
        On the CPU.

    Raises
    ------
    WeightsError
        As `read_checkpoint` does.
    """
    return read_checkpoint(path).state


def read_checkpoint(path: Path, *, ema: bool = True) -> Checkpoint:
    """Read weights, and the names of the classes if a file has them, without running code in it.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or anything that ``torch.save`` wrote: a state dict, or what training
        with timm, torchvision, mmpretrain or mmcls stored, with one inside.
    ema : bool
        Where a file holds the moving average of the weights beside them: read the average.

    Returns
    -------
    Checkpoint
        Weights on the CPU, in the layout of timm or torchvision, and what is known about them.

    Raises
    ------
    WeightsError
        If the file is missing, unreadable, damaged, or holds anything but dense tensors of
        numbers and plain values. Running out of memory stays a ``MemoryError``.
    """
    try:
        return unpacked(*_load(path), path, ema)
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # what a damaged pickle raises has no common base
        raise WeightsError(_complaint(path, error)) from error


def _load(path: Path) -> tuple[Any, dict[str, Any]]:
    """Read a file's content, and what vizkit wrote into its header."""
    if not path.is_symlink() and not path.exists():
        raise WeightsError(printable(f"no such weights file: {path}"))
    plain = path.suffix == ".safetensors"
    reason = unfit(path) if plain else harm(path)
    if reason:
        raise WeightsError(printable(f"{path} is {reason}"))
    if plain:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, _header(file.metadata() or {})
    with _READING, surely(warnings.catch_warnings()), _stand_ins():
        # about the pickle inside: it loads, or an error says more
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True), {}


@undivided
def _stand_ins() -> Iterator[None]:
    """Have PyTorch take the stand-ins, and nothing else that is no weight.

    What may be loaded is one list for all threads, to which the user may have added, too; one
    thread at a time changes it.
    """
    others = get_safe_globals()
    clear_safe_globals()
    try:
        add_safe_globals([(_Inert, name) for name in _BYSTANDERS])
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(others)


def _header(metadata: dict[str, str]) -> dict[str, Any]:
    try:
        found = json.loads(metadata.get("vizkit", "{}"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _complaint(path: Path, error: Exception) -> str:
    instead = stand_in(path, "weights")
    if instead:
        return printable(f"{path} is {instead}")
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused and isinstance(error, pickle.UnpicklingError):
        return printable(
            f"{path} holds something other than weights, and loading it could run code: "
            f"refused ({line(refused[1])}). Save only model.state_dict() instead"
        )
    lines = (each for each in str(error).splitlines() if each.strip())
    telling = next((each for each in lines if not each.startswith(_WRAPPING)), "")
    reason = ": ".join(filter(None, (type(error).__name__, line(telling))))
    return printable(f"{path} is not a readable checkpoint ({reason})")
