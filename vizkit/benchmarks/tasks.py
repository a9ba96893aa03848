"""What is timed: a task, how its result is judged, and the goal its time shall keep."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# names of the floors
FORWARD = "forward"
BACKWARD = "forward + backward"
OWN = "vizkit"
IS_REFERENCE = "the others are compared with it"


@dataclass(frozen=True)
class Check:
    """How wrong a result is.

    Attributes
    ----------
    what : str
        What the error measures, in words.
    limit : float
        The most that is still right.
    error : callable
        From a task's result to its error; NaN where it cannot be told.
    """

    what: str
    limit: float
    error: Callable[[Any], float]


@dataclass(frozen=True)
class Goal:
    """How fast a task shall be.

    Attributes
    ----------
    kind : "ratio", "faster" or "extra"
        At most ``limit`` times its floor; at least ``limit`` times as fast as another tool; or
        at most ``limit`` milliseconds more than its floor.
    limit : float
        The bound.
    than : str
        The other tool.
    """

    kind: str
    limit: float
    than: str = ""

    def words(self, floor: str) -> str:
        """Write it down."""
        if self.kind == "faster":
            return f"≥ {self.limit:g}x as fast as {self.than}"
        unit = "x" if self.kind == "ratio" else " ms more than"
        return f"≤ {self.limit:g}{unit} {floor}"

    def met(self, reached: float) -> bool:
        """Tell whether a value keeps it."""
        return reached >= self.limit if self.kind == "faster" else reached <= self.limit


@dataclass(frozen=True)
class Task:
    """Something to time.

    Attributes
    ----------
    name : str
        What is done.
    tool : str
        By what.
    run : callable
        Does it once, and returns what came out.
    floor : str
        Name of the task it is compared with.
    check : Check, optional
        Judges what came out.
    goal : Goal, optional
        Of its time.
    before, after : callable, optional
        Make ready and tidy up; not timed.
    note : str
        What a reader must know to compare it.
    """

    name: str
    tool: str
    run: Callable[[], Any]
    floor: str = FORWARD
    check: Check | None = None
    goal: Goal | None = None
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None
    note: str = ""


@dataclass
class Outcome:
    """What came of a task.

    Attributes
    ----------
    task : Task
        Which.
    seconds : dict of int to float
        By round; round 0 is the first run, which is kept only where it counts.
    error : float
        Of the first run, as the task's check measures it; NaN without one.
    failure : str
        Why there are no times; empty where there are.
    """

    task: Task
    seconds: dict[int, float] = field(default_factory=dict)
    error: float = math.nan
    failure: str = ""


class Reference:
    """The result of a peer that others are compared with; list its task before theirs."""

    def __init__(self) -> None:
        self.value: Any = None

    def keep(self) -> Check:
        """Make the peer's own check: it keeps the result, and has no error to tell."""

        def error(found: Any) -> float:
            self.value = found
            return math.nan

        return Check(IS_REFERENCE, 0.0, error)

    def compare(self, what: str, limit: float, difference: Callable[[Any, Any], float]) -> Check:
        """Make the check of another: its difference from what was kept."""

        def error(found: Any) -> float:
            return math.nan if self.value is None else difference(found, self.value)

        return Check(what, limit, error)
