"""Measure what looking costs: side by side with the plain passes, interleaved, as ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pandas as pd
import torch
from torch import Tensor

from vizkit.attribution import attribute
from vizkit.forward import capture
from vizkit.models import Classifier, as_classifier
from vizkit.statistics import describe

CLASSES = 5


def benchmark(model: str | Classifier, *, runs: int = 15, threads: int = 1) -> pd.DataFrame:
    """Time vizkit's passes against the plain ones and captum, in one process, interleaved.

    Parameters
    ----------
    model : str or Classifier
        The network.
    runs : int
        Repetitions; medians are reported.
    threads : int
        CPU threads for PyTorch.

    Returns
    -------
    DataFrame
        task, milliseconds (median), floor (what it is compared with), ratio to the floor.
    """
    classifier = as_classifier(model)
    size = getattr(classifier.transform, "size", (224, 224))
    inputs = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    inputs = inputs.to(classifier.device, classifier.dtype)
    targets = list(range(CLASSES))
    stages = f"{len(classifier.stages)} stages"
    cam = f"Grad-CAM, {stages} x {CLASSES} classes"
    tasks: dict[str, tuple[str, Callable[[], object]]] = {
        "forward": ("forward", lambda: _forward(classifier, inputs)),
        f"capture, {stages}": ("forward", lambda: capture(classifier, inputs)),
        "capture, all layers": ("forward", lambda: capture(classifier, inputs, "layers")),
        f"statistics, {stages}": ("forward", lambda: describe(classifier, inputs)),
        "forward + backward": ("forward + backward", lambda: _backward(classifier, inputs)),
        cam: ("forward + backward", lambda: attribute(classifier, inputs, targets=targets)),
        f"{cam}, captum": ("forward + backward", lambda: _captum(classifier, inputs, targets)),
    }
    with _threads(threads):
        times: dict[str, list[float]] = {name: [] for name in tasks}
        for repetition in range(runs + 1):
            for name, (_, task) in tasks.items():
                started = time.perf_counter()
                task()
                if classifier.device.type == "cuda":
                    torch.cuda.synchronize()
                if repetition:  # the first round warms up
                    times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) * 1000 for name, values in times.items()}
    rows = [
        {
            "task": name,
            "milliseconds": medians[name],
            "floor": floor,
            "ratio": medians[name] / medians[floor],
        }
        for name, (floor, _) in tasks.items()
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


def _captum(classifier: Classifier, inputs: Tensor, targets: list[int]) -> list[Tensor]:
    from captum.attr import LayerGradCam

    modules = dict(classifier.module.named_modules())
    return [
        LayerGradCam(classifier.module, modules[tap.module]).attribute(
            inputs, target=target, relu_attributions=True
        )
        for tap in classifier.stages
        for target in targets
    ]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
