"""How long a forward pass takes: measured once, and kept with the report."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Sequence

import pandas as pd
import torch
from tqdm.auto import tqdm

from vizkit.hooks import evaluating
from vizkit.models import Classifier

RUNS = 7
BATCH = 8


def measure(
    classifiers: Sequence[Classifier], runs: int = RUNS, batch: int = BATCH
) -> pd.DataFrame:
    """Time the forward passes of networks, interleaved in one process.

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
    inputs = [_input(each, batch) for each in classifiers]
    times: list[list[float]] = [[] for _ in classifiers]
    for run in tqdm(range(runs + 1), desc="speed", leave=False):
        for n, (classifier, given) in enumerate(zip(classifiers, inputs, strict=True)):
            with evaluating(classifier.module), torch.no_grad():
                _wait(classifier)
                start = time.perf_counter()
                classifier.module(given)
                _wait(classifier)
                if run:
                    times[n].append((time.perf_counter() - start) * 1000 / batch)
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


def _input(classifier: Classifier, batch: int) -> torch.Tensor:
    height, width = getattr(classifier.transform, "size", (224, 224))
    noise = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))
    return noise.to(device=classifier.device, dtype=classifier.dtype)


def _wait(classifier: Classifier) -> None:
    if classifier.device.type == "cuda":
        torch.cuda.synchronize(classifier.device)


def _device(classifier: Classifier) -> str:
    if classifier.device.type == "cuda":
        return torch.cuda.get_device_name(classifier.device)
    return f"{classifier.device.type} ({platform.machine()})"
