"""Statistics as files: tables, written and read back."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from vizkit.errors import InputError, path_of
from vizkit.files import replacing
from vizkit.results import StageStatistics
from vizkit.statistics.registry import STATISTICS

TABLES = ("statistics", "channels", "distributions", "failed")


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
    root = path_of("folder", folder)
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
