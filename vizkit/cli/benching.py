"""What `vizkit bench` does with what it was told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vizkit.cli.parsing import require_folders, split
from vizkit.cli.printing import print_table, write_csv

if TYPE_CHECKING:
    import pandas as pd

    from vizkit.benchmarks import Record
    from vizkit.models import Classifier

SPEED = "speed"
_SPEED_RUNS = 15


@dataclass(frozen=True)
class Shown:
    """Where results go.

    Attributes
    ----------
    out : Path or None
        A file with all numbers.
    picture : Path or None
        A figure.
    theme : str
        Its colours.
    as_json : bool
        Whether JSON is printed instead of tables.
    """

    out: Path | None
    picture: Path | None
    theme: str
    as_json: bool


def suites_of(text: str, files: Sequence[Path]) -> list[str] | str:
    """Read which suites to run: one, several with commas, all, or speed alone."""
    from vizkit.benchmarks import ALL, SUITES
    from vizkit.errors import InputError, unknown

    if files:
        raise InputError(f"{text} reads no files such as {files[0]}: page does")
    names = split(text)
    if names in ([SPEED], [ALL]):
        return names[0]
    for name in names or [text]:
        if name not in SUITES:
            raise unknown("suite", name, [*SUITES, ALL, SPEED, "page"])
    return names


def need_models(names: list[str] | str) -> bool:
    """Tell whether any of some suites is of a model."""
    from vizkit.benchmarks import suites_of as suites_named

    return any(each.by_model for each in suites_named(names))


def run_suites(
    classifiers: list[Classifier],
    names: list[str] | str,
    runs: int | None,
    threads: int,
    shown: Shown,
) -> None:
    """Measure suites; print, write and draw them."""
    from vizkit.benchmarks import RUNS, benchmark, write_record

    record = benchmark(
        classifiers, names, runs=RUNS if runs is None else runs, threads=threads, say=_say
    )
    if shown.out:
        write_record(record, shown.out)
    if shown.picture:
        _draw(record, shown.picture, shown.theme)
    if shown.as_json:
        print_table(record.table, as_json=True)
    else:
        _print(record)
    if record.missing_words:
        _say(record.missing_words)


def run_speed(
    classifiers: list[Classifier],
    grid: dict[str, Any],
    runs: int | None,
    threads: int,
    shown: Shown,
) -> None:
    """Measure how fast the models themselves are; print, write and draw it."""
    from vizkit.plots import plot_speed
    from vizkit.speed import throughput

    rounds = _SPEED_RUNS if runs is None else runs
    table = throughput(classifiers, **grid, runs=rounds, threads=threads)
    if shown.out:
        write_csv(table, shown.out)
    if shown.picture:
        plot_speed(table, theme=shown.theme).save(shown.picture)
    hidden = [] if shown.as_json else ["runs", "threads"]
    print_table(table.drop(columns=hidden), shown.as_json)
    if not shown.as_json:
        typer.echo(
            f"\nmedians of {rounds} rounds with quartiles, {threads} CPU thread(s); peak_mb "
            "includes weights; rows of timm are published figures of other hardware"
        )


def page(files: Sequence[Path], out: Path | None) -> Path:
    """Make a page of what was measured earlier."""
    from vizkit.benchmarks import read_record, write_page
    from vizkit.errors import InputError

    if not files or out is None:
        raise InputError("page takes the files that --out wrote earlier, and --out PAGE.md")
    require_folders(out)
    return write_page([read_record(file) for file in files], out, files)


def _say(words: str) -> None:
    typer.echo(words, err=True)


def _draw(record: Record, picture: Path, theme: str) -> None:
    from vizkit.plots import plot_benchmark

    suites = list(record.table.groupby("suite", sort=False))
    for name, own in suites:
        file = picture if len(suites) == 1 else picture.with_stem(f"{picture.stem}-{name}")
        plot_benchmark(own, theme=theme).save(file)


def _print(record: Record) -> None:
    for (suite, model), rows in record.table.groupby(["suite", "model"], sort=False):
        typer.echo(f"\n{suite}{', ' if model else ''}{model}")
        print_table(_columns(rows), as_json=False)
        for line in _meanings(rows):
            typer.echo(line)


def _columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Choose what fits on a line: what else there is, JSON has."""
    import pandas as pd

    chosen = ["task", "tool", "milliseconds", "ratio", "low", "high", "runs", "error", "correct"]
    if rows["goal"].notna().any():
        chosen += ["goal", "reached", "met"]
    table = rows[chosen].astype(object)
    for column in {"correct", "met"} & set(chosen):
        table[column] = ["–" if pd.isna(each) else "yes" if each else "NO" for each in rows[column]]
    return table


def _meanings(rows: pd.DataFrame) -> list[str]:
    """Say what the ratios are to, what the errors measure, and what is noted."""
    from vizkit.benchmarks.page import notes_of

    floors = " or ".join(dict.fromkeys(rows["floor"]))
    checks = rows.loc[rows["tool"] == "vizkit", "check"].dropna().unique()
    return [
        f"ratio: times {floors}, with quartiles",
        *(f"error: {check}" for check in checks),
        *notes_of(rows),
    ]
