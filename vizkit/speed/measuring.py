"""Throughput and peak memory of networks, in one setting or in many."""

from __future__ import annotations

import math
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from vizkit.errors import whole
from vizkit.hooks import evaluating
from vizkit.interrupts import nested
from vizkit.models import Classifier, as_classifiers
from vizkit.speed.memory import MemoryUnknownError, peak_of, weights_of
from vizkit.speed.published import published_rows
from vizkit.speed.settings import LAYOUTS, PRECISIONS, Setting, grid
from vizkit.speed.timing import interleaved, thread_limit

RUNS = 7
BATCH = 8


def measure(
    classifiers: Sequence[Classifier], runs: int = RUNS, batch: int = BATCH
) -> pd.DataFrame:
    """Time the forward passes of networks as they are, interleaved in one process.

    Parameters
    ----------
    classifiers : sequence of Classifier
        The networks, each on inputs of its own size, on its own device.
    runs : int
        Repetitions, after one that is not counted.
    batch : int
        Images in a pass.

    Returns
    -------
    DataFrame
        model, ms (milliseconds per image, median), fastest, slowest, batch, runs, size (of the
        input, in pixels), device, threads.
    """
    way = Setting(batch=batch)
    inputs = [way.inputs(_size(each), each.device).to(each.dtype) for each in classifiers]
    tasks = [partial(each.module, given) for each, given in zip(classifiers, inputs, strict=True)]
    # taken in one order by every thread, so that none waits for ever
    modules = sorted((each.module for each in classifiers), key=id)
    # the mode inside of them: each puts back the one that it found
    with nested([evaluating(module) for module in modules]), torch.no_grad():
        seconds = interleaved(tasks, [each.device for each in classifiers], runs, what="speed")
    times = [[each * 1000 / batch for each in own] for own in seconds]
    return pd.DataFrame(
        {
            "model": [each.name for each in classifiers],
            "ms": [round(statistics.median(own), 4) for own in times],
            "fastest": [round(min(own), 4) for own in times],
            "slowest": [round(max(own), 4) for own in times],
            "batch": batch,
            "runs": runs,
            "size": [f"{given.shape[-1]} x {given.shape[-2]}" for given in inputs],
            "device": [_device(each) for each in classifiers],
            "threads": torch.get_num_threads(),
        }
    )


def throughput(
    models: str | Classifier | Sequence[str | Classifier],
    *,
    batches: Sequence[int] = (1, BATCH),
    precisions: Sequence[str] = PRECISIONS,
    layouts: Sequence[str] = LAYOUTS,
    compiled: bool = False,
    runs: int = RUNS,
    threads: int = 1,
    memory: bool = True,
) -> pd.DataFrame:
    """Measure images per second and peak memory, beside what timm publishes.

    Parameters
    ----------
    models : model or sequence of models
        One after the other; the settings of each are interleaved in one process.
    batches : sequence of int
        Images in a pass.
    precisions : sequence of "float32" or "bfloat16"
        Types to which weights and inputs are cast.
    layouts : sequence of "contiguous" or "channels_last"
        How maps lie in memory.
    compiled : bool
        Measure each setting with ``torch.compile``, too; on a CPU this takes minutes.
    runs : int
        Repetitions, after two passes that are not counted.
    threads : int
        CPU threads.
    memory : bool
        Measure peak memory; on a CPU, in a process of its own for each setting.

    Returns
    -------
    DataFrame
        One row per model and setting: model, source ("here"; "timm" for published figures of
        other hardware), device, precision, layout, compiled, batch, size (of the input, in
        pixels), images_per_second (median), low and high (quartiles), weights_mb and peak_mb
        (1e6 bytes; peak includes weights), runs, threads, note (why something is missing).

    Raises
    ------
    InputError
        If a precision or layout is unknown, or a number is not positive.
    """
    whole("runs", runs)
    whole("threads", threads)
    settings = grid(precisions, layouts, batches, compiled)
    rows: list[dict[str, Any]] = []
    for classifier in as_classifiers(models):
        rows += _measured(classifier, settings, runs, threads, memory)
        rows += _published(classifier)
    # whole numbers stay whole beside what is missing
    return pd.DataFrame(rows).astype({"runs": "Int64", "threads": "Int64"})


@dataclass
class _Attempt:
    """A setting, how it runs if it does, and what came out."""

    setting: Setting
    run: Callable[[], Tensor] | None = None
    weights: float = math.nan
    seconds: Sequence[float] = ()
    peak: float = math.nan
    note: str = ""


def _measured(
    classifier: Classifier, settings: Sequence[Setting], runs: int, threads: int, memory: bool
) -> list[dict[str, Any]]:
    with evaluating(classifier.module), thread_limit(threads), torch.no_grad():
        attempts = [
            _attempt(classifier, setting)
            for setting in tqdm(settings, desc=f"{classifier.name}: first passes", leave=False)
        ]
        running = [(each, each.run) for each in attempts if each.run is not None]
        tasks = [run for _, run in running]
        devices = [classifier.device] * len(tasks)
        times = interleaved(tasks, devices, runs, what=f"{classifier.name}: rounds")
        for (attempt, _), seconds in zip(running, times, strict=True):
            attempt.seconds = seconds
        if memory:
            for attempt, run in tqdm(running, desc=f"{classifier.name}: memory", leave=False):
                _weigh(attempt, classifier, run, threads)
    same = {
        "model": classifier.name,
        "source": "here",
        "device": _device(classifier),
        "size": "{1} x {0}".format(*_size(classifier)),
        "runs": runs,
        "threads": threads,
    }
    return [_row(same, attempt) for attempt in attempts]


def _attempt(classifier: Classifier, setting: Setting) -> _Attempt:
    """Run a setting once: what a device or compiler cannot do becomes a reason."""
    try:
        # a batch of its own has a network of its own, so that each is compiled for its size
        module = setting.copy(classifier.module)
        run = partial(module, setting.inputs(_size(classifier), classifier.device))
        run()
    except Exception as error:  # compilers fail in any way
        return _Attempt(setting, note=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    share = setting.dtype.itemsize / classifier.dtype.itemsize
    return _Attempt(setting, run, weights_of(classifier.module) * share)


def _weigh(
    attempt: _Attempt, classifier: Classifier, run: Callable[[], Tensor], threads: int
) -> None:
    try:
        attempt.peak = peak_of(classifier, attempt.setting, run, threads)
    except MemoryUnknownError as error:
        attempt.note = str(error)


def _row(same: dict[str, Any], attempt: _Attempt) -> dict[str, Any]:
    rates = [attempt.setting.batch / each for each in attempt.seconds] or [math.nan]
    low, middle, high = pd.Series(rates).quantile([0.25, 0.5, 0.75])
    found = {
        "images_per_second": middle,
        "low": low,
        "high": high,
        "weights_mb": attempt.weights / 1e6,
        "peak_mb": attempt.peak / 1e6,
        "note": attempt.note,
    }
    row = same | asdict(attempt.setting) | found
    return {name: row[name] for name in _COLUMNS}


def _published(classifier: Classifier) -> list[dict[str, Any]]:
    size = "{1} x {0}".format(*_size(classifier))
    same = {"model": classifier.name, "source": "timm", "size": size, "note": ""}
    missing = dict.fromkeys(("low", "high", "weights_mb", "peak_mb", "runs", "threads"), math.nan)
    rows = [missing | same | row for row in published_rows(classifier)]
    return [{name: row[name] for name in _COLUMNS} for row in rows]


_COLUMNS = (
    "model", "source", "device", "precision", "layout", "compiled", "batch", "size",
    "images_per_second", "low", "high", "weights_mb", "peak_mb", "runs", "threads", "note",
)  # fmt: skip


def _size(classifier: Classifier) -> tuple[int, int]:
    height, width = getattr(classifier.transform, "size", (224, 224))
    return int(height), int(width)


def _device(classifier: Classifier) -> str:
    if classifier.device.type == "cuda":
        return torch.cuda.get_device_name(classifier.device)
    return f"{classifier.device.type} ({platform.machine()})"
