"""Statistics of feature maps: what each image costs, not the tables at the end."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizkit.benchmarks.registry import Effort, suite
from vizkit.benchmarks.rounds import timed
from vizkit.benchmarks.subject import Subject
from vizkit.benchmarks.tasks import FORWARD, OWN, Check, Goal, Outcome, Task
from vizkit.benchmarks.truth import difference, true_maps
from vizkit.forward import capture
from vizkit.statistics import ACCUMULATORS, STATISTICS
from vizkit.statistics.gradients import GradientNorm
from vizkit.statistics.normalisation import BatchNormalisation
from vizkit.statistics.registry import DEFAULT
from vizkit.statistics.run import Run, prepared
from vizkit.statistics.selectivity import ClassSelectivity

# a batch, as a folder is read
IMAGES = 8
LIMIT = 1e-4
NAMES = ("mean", "std", "min", "max", "sparsity")
LIGHT = "mean, std, range, zeros of the stages"
_OVER = (0, 2, 3)


@suite("statistics", label="Statistics")
def statistics_suite(subject: Subject, effort: Effort) -> list[Outcome]:
    """Count statistics of every channel of every stage, over eight images.

    The error is that of mean, standard deviation, smallest and largest value and share of zeros
    of each channel, beside NumPy in float64.
    """
    counting = Counting(subject, subject.photos(IMAGES))
    tasks = [
        Task(FORWARD, "PyTorch", partial(subject.forward, counting.inputs)),
        counting.own_task(LIGHT, list(DEFAULT), Goal("ratio", 1.05)),
        counting.peer("hooks with mean(), std()", counting.hooked),
        counting.peer("stored maps, NumPy", counting.stored),
        counting.own_task("also quantiles, covariance, entropy, lifetime", _without_labels()),
    ]
    return timed(tasks, subject.device, effort)


class Counting:
    """Statistics of some images, by vizkit and as one writes them first.

    Parameters
    ----------
    subject : Subject
        The network.
    inputs : Tensor of shape (N, 3, H, W)
        What goes in.
    """

    def __init__(self, subject: Subject, inputs: Tensor) -> None:
        self.subject, self.inputs = subject, inputs

    @cached_property
    def truth(self) -> list[np.ndarray]:
        """Each statistic, (5, C), of each stage, in float64."""
        module, stages = self.subject.classifier.module, self.subject.classifier.stages
        maps = true_maps(module, stages, self.inputs)
        return [_counted(each.cpu().numpy().astype(np.float64)) for each in maps]

    @property
    def _what(self) -> str:
        return "largest difference from NumPy's in float64, of the statistic's largest value"

    def own_task(self, name: str, wanted: list[str], goal: Goal | None = None) -> Task:
        """Count by vizkit."""

        def count() -> Run:
            run = prepared(self.subject.classifier, self.inputs, wanted)
            run.go(workers=0)
            return run

        check = Check(self._what, LIMIT, lambda run: self._error(_channels(run)))
        return Task(name, OWN, count, check=check, goal=goal)

    def peer(self, tool: str, count: Any) -> Task:
        """Count in another way, which gives (5, C) for each stage."""
        return Task(LIGHT, tool, count, check=Check(self._what, LIMIT, self._error))

    def hooked(self) -> list[np.ndarray]:
        """Count in forward hooks with PyTorch's own reductions."""
        found: list[Tensor] = []

        def hook(_module: nn.Module, _inputs: Any, maps: Tensor) -> None:
            parts = (
                maps.mean(_OVER), maps.std(_OVER, correction=0), maps.amin(_OVER),
                maps.amax(_OVER), (maps == 0).float().mean(_OVER),
            )  # fmt: skip
            found.append(torch.stack(parts))

        module = self.subject.classifier.module
        places = [module.get_submodule(tap.module) for tap in self.subject.classifier.stages]
        handles = [place.register_forward_hook(hook) for place in places]
        try:
            self.subject.forward(self.inputs)
        finally:
            for handle in handles:
                handle.remove()
        return [each.cpu().numpy() for each in found]

    def stored(self) -> list[np.ndarray]:
        """Keep all maps, and count afterwards."""
        maps = capture(self.subject.classifier, self.inputs)
        return [_counted(each.cpu().numpy()) for each in maps.values()]

    def _error(self, found: list[np.ndarray]) -> float:
        pairs = zip(found, self.truth, strict=True)
        return max(difference(list(own), list(right)) for own, right in pairs)


def _counted(maps: np.ndarray) -> np.ndarray:
    """Count with NumPy: (5, C)."""
    parts = (
        maps.mean(_OVER), maps.std(_OVER), maps.min(_OVER), maps.max(_OVER),
        (maps == 0).mean(_OVER),
    )  # fmt: skip
    return np.stack(parts)


def _channels(run: Run) -> list[np.ndarray]:
    """Take the same out of vizkit's table, stage by stage."""
    table = run.result().channels
    stages = table.groupby(["stride", "layer", "role"], sort=False)
    return [rows[list(NAMES)].to_numpy().T for _, rows in stages]


def _without_labels() -> list[str]:
    """Name every statistic that needs neither classes nor gradients nor a norm to read behind."""
    others = {ClassSelectivity, BatchNormalisation, GradientNorm}
    return [name for name in STATISTICS if ACCUMULATORS[name] not in others]
