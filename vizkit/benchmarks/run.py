"""Measure suites on models, one after the other, and put everything into one record."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence

from vizkit.benchmarks.machine import machine
from vizkit.benchmarks.peers import missing, versions
from vizkit.benchmarks.record import Record
from vizkit.benchmarks.registry import SUITES, Effort, Suite
from vizkit.benchmarks.rows import rows_of
from vizkit.benchmarks.subject import Subject
from vizkit.errors import InputError, unknown, whole
from vizkit.models import Classifier, as_classifiers

RUNS = 3
ALL = "all"


def benchmark(
    models: str | Classifier | Sequence[str | Classifier] = (),
    suites: str | Sequence[str] = "passes",
    *,
    runs: int = RUNS,
    threads: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Time vizkit beside the plain passes and its peers, and judge what came out.

    Parameters
    ----------
    models : model or sequence of models
        Suites of no model (import, report) are measured once, and need none.
    suites : str or sequence of str
        Names in `SUITES`, or ``"all"``: every suite with peers, and of networks of one class what
        takes long on the first alone.
    runs : int
        Rounds of a task that takes a second; faster ones take part in more, slower ones in fewer.
    threads : int
        CPU threads.
    say : callable
        Told what is measured next.

    Returns
    -------
    Record
        Rows, machine and versions.

    Raises
    ------
    InputError
        If a suite is unknown, or a number is not positive.
    """
    whole("runs", runs)
    whole("threads", threads)
    chosen = suites_of(suites)
    effort = Effort(runs, threads)
    rows = []
    needed = any(each.by_model for each in chosen)
    parts = list(_parts(chosen, as_classifiers(models) if needed else [], suites == ALL))
    for n, (each, subject) in enumerate(parts, 1):
        name = subject.classifier.name if subject else ""
        say(f"{n} of {len(parts)}: {each.name}{', ' if name else ''}{name}")
        device = subject.device.type if subject else "cpu"
        goals = subject.has_goals(threads) if subject else True
        outcomes = each.measure(subject, effort)
        rows += rows_of(outcomes, goals, suite=each.name, model=name, device=device)
    return Record(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=machine(),
        versions=versions(),
        runs=runs,
        threads=threads,
        missing=missing(list(dict.fromkeys(tool for each in chosen for tool in each.peers))),
        rows=rows,
    )


def suites_of(names: str | Sequence[str]) -> list[Suite]:
    """Find suites by name.

    Parameters
    ----------
    names : str or sequence of str
        One, several, or ``"all"``.

    Returns
    -------
    list of Suite
        Each once.

    Raises
    ------
    InputError
        If one is unknown, or there is none.
    """
    if names == ALL:
        return [each for each in SUITES.values() if each.in_all]
    wanted = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    for name in wanted:
        if name not in SUITES:
            raise unknown("suite", name, [*SUITES, ALL])
    if not wanted:
        raise InputError(f"no suites: choose from {', '.join([*SUITES, ALL])}")
    return [SUITES[name] for name in wanted]


def _parts(
    suites: Sequence[Suite], classifiers: Sequence[Classifier], brief: bool
) -> Iterator[tuple[Suite, Subject | None]]:
    """Pair suites with networks: model after model."""
    yield from ((each, None) for each in suites if not each.by_model)
    kinds = set()
    for classifier in classifiers:
        # a copy of its own for each network, made when first needed, for all suites
        subject = Subject(classifier, brief and type(classifier.module) in kinds)
        kinds.add(type(classifier.module))
        yield from ((each, subject) for each in suites if each.by_model)
