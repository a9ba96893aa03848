"""What was measured, with all that a reader must know; as a file, and back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vizkit.benchmarks.peers import missing_words
from vizkit.benchmarks.rows import COLUMNS, frame_of
from vizkit.errors import InputError
from vizkit.files import replacing

WHAT = "vizkit bench"
FORMAT = 1
_NUMBERS = (
    "milliseconds",
    "ms_low",
    "ms_high",
    "ratio",
    "low",
    "high",
    "error",
    "limit",
    "reached",
)
_FLAGS = ("correct", "met")
_WORDS = ("suite", "model", "device", "task", "tool", "floor", "note")
_TYPES: dict[str, type] = {
    "date": str, "machine": dict, "versions": dict, "runs": int, "threads": int, "missing": list,
    "rows": list,
}  # fmt: skip


@dataclass(frozen=True)
class Record:
    """A benchmark.

    Attributes
    ----------
    date : str
        The day, in UTC.
    machine : dict
        See `vizkit.benchmarks.machine.machine`.
    versions : dict of str to str
        Of every tool that took part.
    runs, threads : int
        What it was told.
    missing : list of str
        Tools that are not installed.
    rows : list of dict
        See `vizkit.benchmarks.rows.COLUMNS`.
    """

    date: str
    machine: dict[str, Any]
    versions: dict[str, str]
    runs: int
    threads: int
    missing: list[str]
    rows: list[dict[str, Any]]

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a table."""
        return frame_of(self.rows)

    @property
    def missing_words(self) -> str:
        """Which tools are left out and how to install them; empty for none."""
        return missing_words(self.missing)


def write_record(record: Record, path: Path) -> Path:
    """Write a record as JSON, in one step."""
    facts = {"what": WHAT, "format": FORMAT, **asdict(record)}
    with replacing(path) as partial:
        partial.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def read_record(path: Path) -> Record:
    """Read a record.

    Parameters
    ----------
    path : Path
        A file of `write_record`.

    Returns
    -------
    Record
        As it was.

    Raises
    ------
    InputError
        If it is no such file.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    reason = _wrong(facts)
    if reason:
        raise InputError(f"{path} is no file of {WHAT}: {reason}")
    return Record(**{name: facts[name] for name in _TYPES})


def _wrong(facts: Any) -> str:
    """Say what is wrong with a file's contents; empty for nothing."""
    if not isinstance(facts, dict) or facts.get("what") != WHAT:
        return "it does not say that it is"
    if facts.get("format") != FORMAT:
        return f"its format is {facts.get('format')}, not {FORMAT}"
    for name, kind in _TYPES.items():
        if not isinstance(facts.get(name), kind):
            return f"{name} is missing or of another kind"
    return next(filter(None, map(_wrong_row, facts["rows"])), "")


def _wrong_row(row: Any) -> str:
    if not isinstance(row, dict) or set(row) != set(COLUMNS):
        return "a row has other columns"
    for names, kinds in ((_NUMBERS, (int, float)), (_FLAGS, (bool,)), (_WORDS, (str,))):
        for name in names:
            optional = kinds != (str,) and row[name] is None
            if not optional and (not isinstance(row[name], kinds) or _is_flag(row[name], kinds)):
                return f"{name} of a row is {row[name]!r}"
    return ""


def _is_flag(value: Any, kinds: tuple[type, ...]) -> bool:
    """Tell whether a number is none: True counts as 1 in Python."""
    return isinstance(value, bool) and bool not in kinds
