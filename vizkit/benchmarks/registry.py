"""The registry of suites: a suite is data and one function that measures."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vizkit.benchmarks.tasks import Outcome


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    runs : int
        Rounds of a task that takes a second; see `vizkit.benchmarks.rounds.rounds_of`.
    threads : int
        CPU threads.
    """

    runs: int
    threads: int = 1


Measure = Callable[[Any, Effort], list[Outcome]]


@dataclass(frozen=True)
class Suite:
    """A registered suite.

    Attributes
    ----------
    name : str
        What users type.
    label : str
        What pages and figures print.
    measure : callable
        From a `Subject` (None where the suite is of no model) and an `Effort` to outcomes.
    peers : tuple of str
        Tools that it can measure if they are installed.
    by_model : bool
        Whether it is measured for each model.
    in_all : bool
        Whether ``vizkit bench all`` runs it.
    """

    name: str
    label: str
    measure: Measure
    peers: tuple[str, ...] = ()
    by_model: bool = True
    in_all: bool = True

    @property
    def about(self) -> str:
        """What is measured, and how it is judged: the function's own description."""
        return inspect.getdoc(self.measure) or ""

    @property
    def summary(self) -> str:
        """Its first line."""
        return self.about.partition("\n")[0]


SUITES: dict[str, Suite] = {}


def suite(
    name: str,
    *,
    label: str,
    peers: tuple[str, ...] = (),
    by_model: bool = True,
    in_all: bool = True,
) -> Callable[[Measure], Measure]:
    """Register a suite.

    Parameters
    ----------
    name : str
        What users type.
    label : str
        What pages and figures print.
    peers : tuple of str
        Tools, of `vizkit.benchmarks.peers.PEERS`, that it measures if they are installed.
    by_model : bool
        Whether it is measured for each model.
    in_all : bool
        Whether ``vizkit bench all`` runs it.

    Returns
    -------
    callable
        A decorator that leaves the function as it is.
    """

    def register(measure: Measure) -> Measure:
        SUITES[name] = Suite(name, label, measure, peers, by_model, in_all)
        return measure

    return register
