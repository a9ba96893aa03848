"""A run that was stopped goes on: what it knows so far in a file, replaced in one step."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vizkit.errors import InputError, path_of
from vizkit.files import make_folder, replacing, unfit

# what damaged files raise; a header may be nested deeper than Python counts
_DAMAGE = (
    *(SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError, struct.error),
)
_HINT = "start anew without --resume (resume=False)"


def run_folder(out: str | Path | None, resume: bool) -> Path | None:
    """Make the folder that a run writes into; None if it shall write nothing.

    Raises
    ------
    InputError
        If a run shall go on that has no folder, or the folder cannot be written into.
    """
    if out is None:
        if resume:
            raise InputError("resume needs the folder of the run: out=… (--out)")
        return None
    folder = path_of("out", out)
    make_folder(folder)
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write into {folder}")
    return folder


def state_file(folder: Path, rank: int, world: int) -> Path:
    """Name the file that holds what one of several processes knows so far."""
    return folder / f".state-{rank}-of-{world}.safetensors"


def forget_states(folder: Path) -> None:
    """Take away what runs stored on the way, whoever shared them: all of it is written now."""
    for path in folder.glob(".state-*.safetensors"):
        path.unlink(missing_ok=True)


def save_state(
    path: Path, tensors: dict[str, Tensor], progress: dict[str, Any], facts: dict[str, Any]
) -> None:
    """Store what a run knows so far.

    Parameters
    ----------
    path : Path
        A safetensors file: it holds numbers and text, never code.
    tensors : dict of str to Tensor
        The sums.
    progress : dict
        How far the run has come.
    facts : dict
        What the sums are of.
    """
    meta = {"progress": json.dumps(progress), "facts": json.dumps(facts)}
    # safetensors refuses tensors that share memory
    write_tensors(path, {k: v.detach().cpu().clone() for k, v in tensors.items()}, meta)


def write_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, str]) -> None:
    """Write a safetensors file, in one step.

    Parameters
    ----------
    path : Path
        Its place.
    tensors : dict of str to Tensor
        On the CPU, contiguous, none of which shares memory with another.
    meta : dict of str to str
        Goes into the header.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    with replacing(path) as partial:
        # safetensors makes files that nobody else may read
        partial.touch()
        mode = partial.stat().st_mode
        try:
            save_file(tensors, partial, meta)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        partial.chmod(mode)


def load_state(
    path: Path, facts: dict[str, Any], like: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what a run knew.

    Parameters
    ----------
    path : Path
        What `save_state` wrote.
    facts : dict
        What the sums must be of.
    like : dict of str to Tensor
        Sums of the same run, for their names and shapes.

    Returns
    -------
    tensors : dict of str to Tensor
        The sums.
    progress : dict
        How far the run had come.

    Raises
    ------
    InputError
        If the file cannot be read, or is of another run; the message says what differs.
    """
    reason = unfit(path)
    if reason:
        raise InputError(f"{path} cannot be read ({reason}): {_HINT}")
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            stored, progress = dict(json.loads(meta["facts"])), json.loads(meta["progress"])
            wanted = json.loads(json.dumps(facts))
            if any(stored.get(name) != wanted[name] for name in wanted):
                differences = _differences(stored, wanted)
                raise InputError(f"{path} is of another run: {differences}; {_HINT}")
            tensors = {name: file.get_tensor(name) for name in like}
            progress = {name: progress[name] for name in _PROGRESS}
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path} cannot be read ({error}): {_HINT}") from error
    if any(_form(tensors[name]) != _form(own) for name, own in like.items()):
        raise InputError(f"{path} holds sums of other shapes or types: {_HINT}")
    if not all(fits(progress[name]) for name, fits in _PROGRESS.items()):
        raise InputError(f"{path} does not say how far the run came: {_HINT}")
    return tensors, progress


def check_processes(folder: Path, world: int) -> None:
    """Refuse to go on with a run that another number of processes shared.

    Parameters
    ----------
    folder : Path
        Where sums are stored, one file a process.
    world : int
        How many processes there are now.

    Raises
    ------
    InputError
        If there are sums of another number only.
    """
    found = {path.stem.rpartition("-")[2] for path in folder.glob(".state-*.safetensors")}
    if found and str(world) not in found:
        raise InputError(
            f"{folder} holds a run of {min(found)} process(es), not of {world}: {_HINT}"
        )


def _form(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_reasons(value: Any) -> bool:
    """Whether these are reasons by position."""
    return isinstance(value, dict) and all(
        place.isdecimal() and isinstance(reason, str) for place, reason in value.items()
    )


_PROGRESS = {"done": _is_count, "counted": _is_count, "failed": _are_reasons}


def _differences(stored: dict[str, Any], wanted: dict[str, Any]) -> str:
    parts = [
        f"{name} was {_short(stored.get(name))}, is {_short(value)}"
        for name, value in wanted.items()
        if stored.get(name) != value
    ]
    return ", ".join(parts)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
