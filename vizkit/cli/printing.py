"""Results to stdout, what went wrong to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vizkit.cli.parsing import require_folders

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".csv", ".json", ".parquet")


def say_left_out(reasons: Iterable[tuple[str, str]]) -> None:
    """Name the files that could not be read, and why."""
    for file, reason in reasons:
        # most reasons begin with the file's name
        typer.echo(f"left out {file}: {reason.removeprefix(f'{file}: ')}", err=True)


def write_csv(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table in one step."""
    from vizkit.files import replacing

    require_folders(path)
    with replacing(path) as partial:
        frame.to_csv(partial, index=False)
    return path


def require_table(file: Path | None) -> None:
    """Refuse a kind of table that cannot be written, before the work begins."""
    from vizkit.errors import unknown

    if file is not None and file.suffix.lower() not in TABLES:
        raise unknown("kind of table", file.suffix or file.name, TABLES)
    require_folders(file)


def write_table(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table in one step, as its name ends: .csv, .json or .parquet."""
    from vizkit.files import replacing

    with replacing(path) as partial:
        if path.suffix.lower() == ".csv":
            frame.to_csv(partial, index=False)
        elif path.suffix.lower() == ".json":
            partial.write_text(_records(frame) + "\n", encoding="utf-8")
        else:
            frame.to_parquet(partial, index=False)
    return path


def print_table(frame: pd.DataFrame, as_json: bool, first: str | None = None) -> None:
    """Print a table, or JSON records; ``first`` names the column to begin with."""
    if first:
        frame = frame[[first, *frame.columns.drop(first)]]
    if as_json:
        typer.echo(_records(frame))
    else:
        typer.echo(frame.to_string(index=False, na_rep="–", float_format=_number))


def _records(frame: pd.DataFrame) -> str:
    # pandas' own writer rounds
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return json.dumps(records, indent=1, default=lambda value: value.item())


def _number(value: float) -> str:
    """Write whole numbers whole and others with four digits; --json has all."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.4g}"
