"""Measure what looking costs: side by side with the plain passes, interleaved, as ratios."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from vizkit.attribution import attribute
from vizkit.errors import ConvergenceWarning, unknown
from vizkit.forward import capture
from vizkit.models import Classifier, as_classifier
from vizkit.peers import attribution_tasks, statistics_tasks
from vizkit.speed import interleaved, thread_limit
from vizkit.statistics import describe

CLASSES = 5
SUITES = ("passes", "attribution", "statistics")
# images in the statistics suite: a batch, as a folder is read
BATCH = 8


@dataclass(frozen=True)
class Task:
    """Something to time.

    Attributes
    ----------
    name : str
        What is done.
    tool : str
        By what.
    floor : str
        Name of the task that it is compared with.
    run : callable
        Does it once.
    """

    name: str
    tool: str
    floor: str
    run: Callable[[], object]


def benchmark(
    model: str | Classifier, suite: str = "passes", *, runs: int = 15, threads: int = 1
) -> pd.DataFrame:
    """Time vizkit against the plain passes and its peers, in one process, interleaved.

    Parameters
    ----------
    model : str or Classifier
        The network.
    suite : "passes", "attribution" or "statistics"
        What capture, statistics and Grad-CAM cost beside the plain passes; or attribution
        methods beside captum, pytorch-grad-cam and torchcam, as far as they are installed; or
        statistics of eight images beside the obvious hooks and stored maps in NumPy.
    runs : int
        Repetitions; medians are reported.
    threads : int
        CPU threads for PyTorch.

    Returns
    -------
    DataFrame
        task, tool, milliseconds (median), floor (what it is compared with), ratio to the floor.

    Raises
    ------
    InputError
        If the suite is unknown.
    """
    if suite not in SUITES:
        raise unknown("suite", suite, SUITES)
    classifier = as_classifier(model)
    size = getattr(classifier.transform, "size", (224, 224))
    count = BATCH if suite == "statistics" else 1
    inputs = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))
    inputs = inputs.to(classifier.device, classifier.dtype)
    tasks = [
        Task("forward", "PyTorch", "forward", lambda: _forward(classifier, inputs)),
        Task(
            "forward + backward", "PyTorch", "forward + backward",
            lambda: _backward(classifier, inputs),
        ),
    ]  # fmt: skip
    if suite == "passes":
        tasks += _passes(classifier, inputs)
    elif suite == "statistics":
        del tasks[1]  # nothing here goes backward
        peers = statistics_tasks(classifier, inputs)
        tasks += [Task(name, tool, "forward", run) for name, tool, run in peers]
    else:
        peers = attribution_tasks(classifier, inputs, list(range(CLASSES)))
        tasks += [Task(name, tool, "forward + backward", run) for name, tool, run in peers]
    return _timed(tasks, runs, threads, classifier.device)


def _passes(classifier: Classifier, inputs: Tensor) -> list[Task]:
    stages = f"{len(classifier.stages)} stages"
    cam = f"Grad-CAM, {stages} x {CLASSES} classes"
    targets = list(range(CLASSES))
    both = "forward + backward"
    return [
        Task(f"capture, {stages}", "vizkit", "forward", lambda: capture(classifier, inputs)),
        Task(
            "capture, all layers", "vizkit", "forward",
            lambda: capture(classifier, inputs, "layers"),
        ),
        Task(f"statistics, {stages}", "vizkit", "forward", lambda: describe(classifier, inputs)),
        Task(cam, "vizkit", both, lambda: attribute(classifier, inputs, targets=targets)),
    ]  # fmt: skip


def _timed(tasks: list[Task], runs: int, threads: int, device: torch.device) -> pd.DataFrame:
    with thread_limit(threads), warnings.catch_warnings():
        # what is timed is not judged here
        warnings.simplefilter("ignore", ConvergenceWarning)
        times = interleaved([task.run for task in tasks], [device] * len(tasks), runs)
    medians = [statistics.median(own) * 1000 for own in times]
    floors = {task.name: median for task, median in zip(tasks, medians, strict=True)}
    rows = [
        {
            "task": task.name,
            "tool": task.tool,
            "milliseconds": median,
            "floor": task.floor,
            "ratio": median / floors[task.floor],
        }
        for task, median in zip(tasks, medians, strict=True)
    ]
    return pd.DataFrame(rows)


def _forward(classifier: Classifier, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = classifier.module(inputs)
    return logits


def _backward(classifier: Classifier, inputs: Tensor) -> Tensor:
    pixels = inputs.clone().requires_grad_()
    logits = classifier.module(pixels)
    return torch.autograd.grad(logits[0, 0], pixels)[0]
