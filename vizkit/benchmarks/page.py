"""The page of results: goals, then each suite with its figure and tables, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from vizkit.benchmarks.machine import machine_words
from vizkit.benchmarks.record import Record
from vizkit.benchmarks.registry import SUITES, Suite
from vizkit.benchmarks.rows import frame_of
from vizkit.benchmarks.tasks import OWN
from vizkit.errors import InputError
from vizkit.files import make_folder, replacing
from vizkit.plots import plot_benchmark

IMAGES = "images"
_INTRODUCTION = """\
# What looking costs

Every task is timed beside the plain passes through the same network (its floor) and beside
other tools, all in turn in one process, round after round, so that a slow minute is everybody's.
**Times are ratios to the floor** of the same round: medians, with quartiles. Every result is also
judged in the same run: the error says against what. Slow tasks take part in fewer rounds; with
one, there are no quartiles. `vizkit bench all` measures what takes long on the first network of a
class alone.

`make bench` measures everything again and writes this page."""


def write_page(records: Sequence[Record], out: Path, files: Sequence[Path] = ()) -> Path:
    """Write records as one page, with figures in the folder ``images`` beside it.

    Parameters
    ----------
    records : sequence of Record
        Where several measured a suite on a model, the last one counts.
    out : Path
        Of the Markdown file.
    files : sequence of Path
        Where the records lie; the page links to those in or below its folder.

    Returns
    -------
    Path
        The same.

    Raises
    ------
    InputError
        If there is nothing to show.
    """
    if not any(record.rows for record in records):
        raise InputError("no rows: nothing was measured")
    table = _merged(records)
    folder = out.parent / IMAGES
    make_folder(folder)
    parts = [_INTRODUCTION, *_facts(records), *_links(out, files), *_goals(table)]
    for name in [each for each in SUITES if each in set(table["suite"])]:
        own = table[table["suite"] == name]
        parts += _section(SUITES[name], own, _draw(own, name, folder))
    with replacing(out) as partial:
        partial.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return out


def _merged(records: Sequence[Record]) -> pd.DataFrame:
    """Put all rows together; of a suite and model, those of the last record."""
    last: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        own: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in record.rows:
            own.setdefault((row["suite"], row["model"]), []).append(row)
        last |= own
    return frame_of([row for rows in last.values() for row in rows])


def _facts(records: Sequence[Record]) -> Iterator[str]:
    for record in records:
        suites = ", ".join(dict.fromkeys(row["suite"] for row in record.rows))
        used = ", ".join(f"{tool} {number}" for tool, number in record.versions.items())
        yield (
            f"{record.date}: {suites}. {machine_words(record.machine)}; {record.threads} CPU "
            f"thread(s). {used}."
        )
        if record.missing:
            yield f"Not measured: {record.missing_words}."


def _links(out: Path, files: Sequence[Path]) -> Iterator[str]:
    folder = out.parent.resolve()
    inside = [each.resolve() for each in files if each.resolve().is_relative_to(folder)]
    links = [f"[{each.name}]({quote(each.relative_to(folder).as_posix())})" for each in inside]
    if links:
        yield f"All numbers: {', '.join(links)}."


def _goals(table: pd.DataFrame) -> Iterator[str]:
    own = table[table["goal"].notna()]
    if own.empty:
        return
    rows = [
        [row["task"], row["model"] or "–", row["goal"], _number(row["reached"]), _met(row["met"])]
        for _, row in own.iterrows()
    ]
    yield "## Goals"
    yield _markdown(["task", "model", "goal", "reached", "met"], rows)


def _section(suite: Suite, own: pd.DataFrame, picture: str) -> Iterator[str]:
    yield f"## {suite.label}"
    yield suite.about
    yield picture
    for model, rows in own.groupby("model", sort=False):
        if model:
            yield f"### {model!s}"
        yield _rows(rows)
        yield from _footnotes(rows)


def _rows(rows: pd.DataFrame) -> str:
    columns = ["task", "tool", "ms", "ratio", "quartiles", "rounds", "error", "right"]
    return _markdown(columns, [_cells(row) for _, row in rows.iterrows()])


def _cells(row: pd.Series) -> list[str]:
    ratio = _ratio(row["ratio"])
    spread = f"{_ratio(row['low'])} – {_ratio(row['high'])}" if row["runs"] > 1 else "–"
    own = row["tool"] == OWN and row["runs"] > 0
    return [
        row["task"],
        f"**{row['tool']}**" if own else row["tool"],
        _number(row["milliseconds"]),
        f"**{ratio}**" if own else ratio,
        spread,
        str(row["runs"]),
        _number(row["error"]),
        _met(row["correct"]),
    ]


def _footnotes(rows: pd.DataFrame) -> Iterator[str]:
    """Say what floors and errors are, and what must be known of single rows."""
    timed = rows[rows["task"] != rows["floor"]]
    lines = [f"- Ratio to *{floor}*: {'; '.join(tasks)}" for floor, tasks in _by(timed, "floor")]
    own = rows[(rows["tool"] == OWN) & rows["check"].notna()]
    lines += [f"- Error: {what}: {'; '.join(tasks)}" for what, tasks in _by(own, "check")]
    lines += [f"- {line}" for line in notes_of(rows)]
    if lines:
        yield "\n".join(lines)


def notes_of(rows: pd.DataFrame) -> list[str]:
    """Write what must be known of single rows, each once."""
    found: dict[tuple[str, str], list[str]] = {}
    for tool, note, task in zip(rows["tool"], rows["note"], rows["task"], strict=True):
        if note:
            found.setdefault((tool, note), []).append(task)
    return [
        f"{tool}, {tasks[0]}: {note}" if len(tasks) == 1 else f"{tool}: {note}"
        for (tool, note), tasks in found.items()
    ]


def _by(rows: pd.DataFrame, column: str) -> list[tuple[str, list[str]]]:
    """List the tasks of each value of a column."""
    found: dict[str, dict[str, None]] = {}
    for value, task in zip(rows[column], rows["task"], strict=True):
        found.setdefault(value, {})[task] = None
    return [(value, list(tasks)) for value, tasks in found.items()]


def _draw(own: pd.DataFrame, name: str, folder: Path) -> str:
    files = {theme: f"benchmark-{name}{end}.png" for theme, end in _ENDS.items()}
    for theme, file in files.items():
        plot_benchmark(own, theme=theme).save(folder / file)
    return (
        "<picture>\n"
        f'  <source media="(prefers-color-scheme: dark)" srcset="{IMAGES}/{files["dark"]}">\n'
        f'  <img alt="{SUITES[name].label}: ratios to the floor" src="{IMAGES}/{files["light"]}">\n'
        "</picture>"
    )


_ENDS = {"light": "", "dark": "-dark"}


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_cell(each) for each in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _number(value: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3g}"


def _ratio(value: float) -> str:
    """Write three digits, also where they are zeros."""
    return _number(value) if pd.isna(value) or value >= 100 else f"{value:#.3g}"


def _met(value: Any) -> str:
    return "–" if pd.isna(value) else ("yes" if value else "**no**")
