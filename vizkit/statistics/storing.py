"""A run that was stopped goes on: its sums in a file, replaced in one step."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vizkit.errors import InputError
from vizkit.files import replacing
from vizkit.results import StageStatistics
from vizkit.statistics.registry import STATISTICS

TABLES = ("statistics", "channels", "distributions", "failed")
_HINT = "start anew without --resume (resume=False)"


def save_state(
    path: Path, tensors: dict[str, Tensor], progress: dict[str, Any], facts: dict[str, Any]
) -> None:
    """Store the sums of a run.

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
    with replacing(path) as partial:
        # safetensors refuses tensors that share memory
        save_file({k: v.detach().cpu().clone() for k, v in tensors.items()}, partial, meta)


def load_state(
    path: Path, facts: dict[str, Any], like: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the sums of a run back.

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
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            stored, progress = dict(json.loads(meta["facts"])), json.loads(meta["progress"])
            wanted = json.loads(json.dumps(facts))
            if any(stored.get(name) != wanted[name] for name in wanted):
                differences = _differences(stored, wanted)
                raise InputError(f"{path} is of another run: {differences}; {_HINT}")
            tensors = {name: file.get_tensor(name) for name in like}
            progress = {name: progress[name] for name in ("done", "counted", "failed")}
    except InputError:
        raise
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, struct.error) as error:
        raise InputError(f"{path} cannot be read ({error}): {_HINT}") from error
    if any(tensors[name].shape != own.shape for name, own in like.items()):
        raise InputError(f"{path} holds sums of other shapes: {_HINT}")
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


def write_tables(found: StageStatistics, folder: Path) -> list[Path]:
    """Write the tables of a result as CSV, with all digits, and as Parquet.

    Parameters
    ----------
    found : StageStatistics
        What was computed.
    folder : Path
        Gets ``statistics``, ``channels``, ``distributions`` and ``failed``.

    Returns
    -------
    list of Path
        The files.
    """
    tables = {
        "statistics": found.frame,
        "channels": found.channels,
        "distributions": found.distributions,
        "failed": found.failed,
    }
    kinds = ("csv", "parquet")
    return [
        _replace(folder / f"{name}.{kind}", table, kind)
        for name, table in tables.items()
        for kind in kinds
    ]


def read_statistics(folder: str | Path) -> StageStatistics:
    """Read back what ``describe(..., out=folder)`` or ``vizkit stats --out`` wrote.

    Parameters
    ----------
    folder : str or Path
        With ``statistics.parquet`` and ``manifest.json``; other tables may be missing.

    Returns
    -------
    StageStatistics
        To draw or compare without running a network.

    Raises
    ------
    InputError
        If there are no such results, or they cannot be read.
    """
    root = Path(folder).expanduser()
    try:
        options = json.loads((root / "manifest.json").read_text(encoding="utf-8"))["options"]
        tables = {
            name: pd.read_parquet(root / f"{name}.parquet")
            for name in TABLES
            if name == "statistics" or (root / f"{name}.parquet").exists()
        }
        images = int(options["counted"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{root} has no statistics that can be read ({error})") from error
    frame = tables.pop("statistics")
    known = [name for name in frame["statistic"].unique() if name in STATISTICS]
    empty = pd.DataFrame()
    return StageStatistics(
        frame=frame,
        channels=tables.get("channels", empty),
        images=images,
        failed=tables.get("failed", pd.DataFrame(columns=["file", "reason"])),
        units={name: options.get("units", STATISTICS).get(name, name) for name in known},
        distributions=tables.get("distributions", empty),
        sampling=options.get("sampling", {}),
    )


def _replace(path: Path, table: pd.DataFrame, kind: str) -> Path:
    with replacing(path) as partial:
        if kind == "csv":
            table.to_csv(partial, index=False)
        else:
            table.to_parquet(partial, index=False)
    return path


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
