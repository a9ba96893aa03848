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


def say_left_out(reasons: Iterable[tuple[str, str]]) -> None:
    """Name the files that could not be read, and why."""
    for file, reason in reasons:
        typer.echo(f"left out {file}: {reason}", err=True)


def write_csv(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table in one step."""
    from vizkit.files import replacing

    require_folders(path)
    with replacing(path) as partial:
        frame.to_csv(partial, index=False)
    return path


def print_table(frame: pd.DataFrame, as_json: bool, first: str | None = None) -> None:
    """Print a table, or JSON records; ``first`` names the column to begin with."""
    if first:
        frame = frame[[first, *frame.columns.drop(first)]]
    if as_json:
        # pandas' own writer rounds
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        typer.echo(json.dumps(records, indent=1, default=lambda value: value.item()))
    else:
        typer.echo(frame.to_string(index=False, na_rep="–", float_format=_number))


def _number(value: float) -> str:
    """Write whole numbers whole and others with four digits; --json has all."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.4g}"
