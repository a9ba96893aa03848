"""What a report costs, beside the passes through the networks that it needs."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vizkit.benchmarks.importing import python
from vizkit.benchmarks.registry import Effort, suite
from vizkit.benchmarks.subject import Subject
from vizkit.benchmarks.tasks import OWN, Check, Outcome, Task
from vizkit.models import Classifier, load

NEEDED = "the passes it needs"
_CHILD = "from vizkit.benchmarks.reporting import child; child()"
_PARTS = {
    "start": f"{OWN}: start, weights",
    "computing": f"{OWN}: computing",
    "drawing": f"{OWN}: drawing, writing",
    "all": OWN,
}
_PASSES = 3


@suite("report", label="Report", by_model=False)
def report_suite(_: None, effort: Effort) -> list[Outcome]:
    """Write the report of the bundled models and photos once, in a process of its own.

    The floor is the time of the same number of images forward and backward through the same
    networks, in batches of the bundled photos. No other tool writes such a page. The error counts
    the models that are missing on it.
    """
    return reported([], effort)


def reported(models: Sequence[str], effort: Effort, **options: Any) -> list[Outcome]:
    """Measure one report.

    Parameters
    ----------
    models : sequence of str
        Their names; empty for the bundled ones.
    effort : Effort
        How many threads.
    **options
        As for `vizkit.report`.

    Returns
    -------
    list of Outcome
        The passes it needs, its parts, and all of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = {
            "models": list(models), "options": options, "out": folder, "started": time.time(),
            "threads": effort.threads,
        }  # fmt: skip
        found = json.loads(python(_CHILD, effort.threads, json.dumps(wanted)).splitlines()[-1])
    name = ", ".join(["report", *options])
    check = Check(f"models missing on the page, of {found['models']}", 0.0, float)
    floor = Task(NEEDED, "PyTorch", _nothing, NEEDED, note=found["passes"])
    parts = [
        Outcome(Task(name, tool, _nothing, NEEDED), {0: found[part]})
        for part, tool in _PARTS.items()
        if part != "all"
    ]
    whole = Task(name, OWN, _nothing, NEEDED, check)
    return [
        Outcome(floor, {0: found["needed"]}),
        Outcome(whole, {0: found["all"]}, check.error(found["missing"])),
        *parts,
    ]


def _nothing() -> None:
    """Stand for what ran elsewhere."""


def child() -> None:
    """Write a report and print what it cost: the program of the other process."""
    wanted = json.loads(sys.argv[1])
    torch.set_num_threads(wanted["threads"])
    from vizkit.reports import report, writing
    from vizkit.reports.study import study

    names = wanted["models"] or list(writing.MODELS)
    classifiers = [load(name, device="cpu") for name in names]
    clock = Clock(classifiers)
    began = time.time()
    # the one place where computing ends and drawing begins
    setattr(writing, "study", clock.around(study))  # noqa: B010  (it is imported there)
    page = report(classifiers, out=Path(wanted["out"]) / "report", **wanted["options"])
    ended = time.time()
    text = page.read_text(encoding="utf-8")
    found = {
        "start": began - wanted["started"],
        "computing": clock.seconds,
        "drawing": ended - began - clock.seconds,
        "all": ended - wanted["started"],
        "models": len(names),
        "missing": sum(name not in text for name in names),
        "needed": clock.needed(),
        "passes": clock.words,
    }
    print(json.dumps(found))  # noqa: T201  (this is how the other process is told)


@dataclass
class _Count:
    """Images that went through one network."""

    forward: int = 0
    backward: int = 0


@dataclass(eq=False)
class Clock:
    """Counts images through networks, and times one function.

    Attributes
    ----------
    classifiers : sequence of Classifier
        The networks.
    seconds : float
        Time spent in the function.
    """

    classifiers: Sequence[Classifier]
    seconds: float = 0.0
    counts: list[_Count] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [_Count() for _ in self.classifiers]
        self.handles = [
            each.module.register_forward_hook(partial(_counted, own))
            for each, own in zip(self.classifiers, self.counts, strict=True)
        ]

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Time a function whenever it runs."""

        def run(*args: Any, **options: Any) -> Any:
            started = time.time()
            try:
                return function(*args, **options)
            finally:
                self.seconds += time.time() - started

        return run

    def needed(self) -> float:
        """Seconds that as many images take plainly, forward and backward."""
        for handle in self.handles:
            handle.remove()
        return sum(_plain(*pair) for pair in zip(self.classifiers, self.counts, strict=True))

    @property
    def words(self) -> str:
        """How many images went through."""
        forward = sum(each.forward for each in self.counts)
        backward = sum(each.backward for each in self.counts)
        return f"{forward:,} images forward, {backward:,} backward"


def _counted(count: _Count, _module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    if not isinstance(output, Tensor) or output.is_meta:
        return
    images = len(inputs[0])
    count.forward += images
    if output.requires_grad:

        def passed(_gradient: Tensor) -> None:
            count.backward += images

        output.register_hook(passed)  # type: ignore[no-untyped-call]


def _plain(classifier: Classifier, count: _Count) -> float:
    """Time plain passes of one batch, and scale them up."""
    subject = Subject(classifier)
    inputs = subject.photos(5)
    forward = _median(partial(subject.forward, inputs)) / len(inputs)
    both = _median(partial(subject.backward, inputs)) / len(inputs)
    return count.forward * forward + count.backward * max(both - forward, 0.0)


def _median(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(_PASSES):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)
