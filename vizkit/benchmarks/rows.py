"""From times to rows: medians, quartiles, ratios, errors and goals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from vizkit.benchmarks.tasks import IS_REFERENCE, OWN, Check, Goal, Outcome

COLUMNS = (
    "suite", "model", "device", "task", "tool", "milliseconds", "ms_low", "ms_high", "runs",
    "floor", "ratio", "low", "high", "check", "error", "limit", "correct", "goal", "reached",
    "met", "note",
)  # fmt: skip
_KINDS = {"runs": "Int64", "correct": "boolean", "met": "boolean"}


def rows_of(outcomes: Sequence[Outcome], goals: bool, **same: str) -> list[dict[str, Any]]:
    """Sum up what was measured together.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Of one suite and model, floors among them.
    goals : bool
        Whether the goals are about this model and machine.
    **same : str
        What all rows share: suite, model, device.

    Returns
    -------
    list of dict
        Keys are `COLUMNS`; None for what there is not. Of each task, vizkit comes first.
    """
    floors = {outcome.task.name: outcome for outcome in outcomes}
    rows = [{**same, **_row(outcome, floors[outcome.task.floor])} for outcome in outcomes]
    for row, outcome in zip(rows, outcomes, strict=True):
        row.update(_against(outcome.task.goal if goals else None, row, rows))
    places = {name: n for n, name in enumerate(dict.fromkeys(row["task"] for row in rows))}
    rows.sort(key=lambda row: (places[row["task"]], row["tool"] != OWN))
    return [{name: row[name] for name in COLUMNS} for row in rows]


def frame_of(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Make a table of rows."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(_KINDS)


def _row(outcome: Outcome, floor: Outcome) -> dict[str, Any]:
    task, check = outcome.task, outcome.task.check
    low, middle, high = _quartiles([1000 * each for each in outcome.seconds.values()])
    least, ratio, most = _quartiles(_ratios(outcome, floor))
    error = math.nan if outcome.failure else outcome.error
    return {
        "task": task.name,
        "tool": task.tool,
        "milliseconds": middle,
        "ms_low": low,
        "ms_high": high,
        "runs": len(outcome.seconds),
        "floor": task.floor,
        "ratio": ratio,
        "low": least,
        "high": most,
        "check": check.what if check else None,
        # what is infinitely wrong has no number, and is wrong
        "error": error if math.isfinite(error) else None,
        "limit": check.limit if check else None,
        "correct": None if check is None or math.isnan(error) else error <= check.limit,
        "note": "; ".join(filter(None, [_role(check), task.note, outcome.failure])),
    }


def _role(check: Check | None) -> str:
    return IS_REFERENCE if check and check.what == IS_REFERENCE else ""


def _ratios(outcome: Outcome, floor: Outcome) -> list[float]:
    """Divide each time by the floor's in the same round: a slow minute is both's."""
    if not floor.seconds:
        return []
    usual = statistics.median(floor.seconds.values())
    return [own / floor.seconds.get(turn, usual) for turn, own in outcome.seconds.items()]


def _quartiles(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    if not values:
        return None, None, None
    low, middle, high = pd.Series(values).quantile([0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def _against(
    goal: Goal | None, row: dict[str, Any], rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    if goal is None:
        return {"goal": None, "reached": None, "met": None}
    reached = _reached(goal, row, rows)
    met = None if reached is None else goal.met(reached)
    return {"goal": goal.words(row["floor"]), "reached": reached, "met": met}


def _reached(goal: Goal, row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> float | None:
    if row["ratio"] is None:
        return None
    if goal.kind == "ratio":
        return float(row["ratio"])
    other = (
        [each for each in rows if each["task"] == row["task"] and each["tool"] == goal.than]
        if goal.kind == "faster"
        else [each for each in rows if each["task"] == row["floor"]]
    )
    if not other or other[0]["ratio"] is None:
        return None
    if goal.kind == "faster":
        return float(other[0]["ratio"] / row["ratio"])
    return float(row["milliseconds"] - other[0]["milliseconds"])
