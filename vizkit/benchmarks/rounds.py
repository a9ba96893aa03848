"""Run tasks in rounds, each judged in its first run and timed in the others."""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Callable, Sequence

import torch

from vizkit.benchmarks.registry import Effort
from vizkit.benchmarks.tasks import Outcome, Task
from vizkit.interrupts import surely
from vizkit.speed import interleaved, thread_limit

# seconds from which on a first run on a CPU is like any other
SLOW = 2.0
_MOST = 3
_PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?(?:[/\\][^\s/\\'\":]+)+[/\\]")


def timed(
    tasks: Sequence[Task], device: torch.device, effort: Effort, what: str = "rounds"
) -> list[Outcome]:
    """Time tasks, interleaved in this process.

    Every task runs once in a first round, where its result is judged. It then takes part in as
    many rounds as its speed allows; see `rounds_of`. On a CPU the first run of a slow task
    counts: warming up is little of it. A task that fails is left out from then on.

    Parameters
    ----------
    tasks : sequence of Task
        In the order in which they take turns.
    device : torch.device
        Where they run.
    effort : Effort
        How long to measure.
    what : str
        Name of the progress bar.

    Returns
    -------
    list of Outcome
        In the same order.
    """
    trials = [_Trial(task, device, effort.runs) for task in tasks]
    steps: list[Callable[[], None]] = []
    for trial in trials:
        steps += [trial.ready, trial, trial.tidy]
    with thread_limit(effort.threads), surely(warnings.catch_warnings()):
        # what is timed is not judged by its warnings
        warnings.simplefilter("ignore")
        times = interleaved(steps, [device] * len(steps), _MOST * effort.runs, what=what)
    # of a task's three steps, the one in the middle
    return [trial.outcome(own) for trial, own in zip(trials, times[1::3], strict=True)]


def rounds_of(seconds: float, runs: int) -> int:
    """Choose in how many rounds a task takes part.

    With the square root of its speed: that makes the errors of all medians together least, for
    the time that all take together.

    Parameters
    ----------
    seconds : float
        Of its first run.
    runs : int
        Rounds of a task that takes a second.

    Returns
    -------
    int
        From 1 to three times ``runs``.
    """
    return max(1, min(_MOST * runs, round(runs / math.sqrt(max(seconds, 1e-6)))))


class _Trial:
    """A task on its way through the rounds."""

    def __init__(self, task: Task, device: torch.device, runs: int) -> None:
        self.task, self.device, self.runs = task, device, runs
        self.left: int | None = None
        self.counted = 0
        self.is_ready = False
        self.first: float | None = None
        self.error = math.nan
        self.failure = ""

    def ready(self) -> None:
        """Do what must be done before; not timed."""
        if self.left != 0 and self.task.before:
            self.is_ready = True
            self._attempt(self.task.before)

    def __call__(self) -> None:
        """Run once, if it is to take part in this round."""
        if self.left is None:
            self._attempt(self._begin)
        elif self.left:
            self._attempt(self.task.run)
            self.left -= 0 if self.failure else 1
            self.counted += 1

    def tidy(self) -> None:
        """Do what must be done afterwards; not timed."""
        if self.is_ready and self.task.after:
            self.is_ready = False
            self.task.after()

    def outcome(self, times: Sequence[float]) -> Outcome:
        """Sum up; ``times`` are of all rounds but the first."""
        if self.failure:
            return Outcome(self.task, failure=self.failure)
        seconds = {} if self.first is None else {0: self.first}
        seconds |= dict(enumerate(times[: self.counted], 1))
        return Outcome(self.task, seconds, self.error)

    def _begin(self) -> None:
        started = time.perf_counter()
        result = self.task.run()
        took = time.perf_counter() - started
        self.left = rounds_of(took, self.runs)
        if took >= SLOW and self.device.type == "cpu":
            self.first = took
            self.left -= 1
        if self.task.check:
            self.error = float(self.task.check.error(result))

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:  # others' tools fail in any way
            self.left = 0
            self.failure = failure_words(error)


def failure_words(error: Exception) -> str:
    """Write an error on one line, without the places of files."""
    line = str(error).strip().partition("\n")[0].partition(". ")[0]
    return _PATH.sub("", f"{type(error).__name__}: {line}"[:200]).strip(" :")
