"""Occlusion: the network's score with one window after the other hidden."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from vizkit.benchmarks.attribution import LIMIT, pixel_map
from vizkit.benchmarks.registry import Effort, suite
from vizkit.benchmarks.rounds import timed
from vizkit.benchmarks.subject import Subject
from vizkit.benchmarks.tasks import FORWARD, OWN, Goal, Outcome, Reference, Task
from vizkit.benchmarks.truth import difference

# windows along each side
WINDOWS = 7


@suite("occlusion", label="Occlusion", peers=("captum",))
def occlusion_suite(subject: Subject, effort: Effort) -> list[Outcome]:
    """Hide each of 49 windows of one image in turn: 32 pixels wide at 224.

    vizkit computes again only what a window changes, where the network is a plain chain of
    layers; elsewhere it runs the network as captum does, some windows at a time.
    """
    if subject.brief:
        return []
    inputs = subject.photos()
    side = round(min(inputs.shape[-2:]) / WINDOWS)
    name, right = f"occlusion, {WINDOWS * WINDOWS} windows", Reference()

    def peer() -> Tensor:
        from captum.attr import Occlusion

        window = (3, side, side)
        found: Tensor = Occlusion(subject.network).attribute(
            inputs, window, strides=window, target=0
        )
        return found[:, 0].detach()

    own = partial(pixel_map, subject, inputs, "occlusion", window=side)
    same = right.compare(
        "largest difference from captum's, of the largest value",
        LIMIT,
        lambda found, other: difference([found], [other]),
    )
    tasks = [
        Task(FORWARD, "PyTorch", partial(subject.forward, inputs)),
        Task(name, "captum", peer, check=right.keep()),
        Task(name, OWN, own, check=same, goal=Goal("faster", 5, "captum")),
    ]
    return timed(tasks, subject.device, effort)
