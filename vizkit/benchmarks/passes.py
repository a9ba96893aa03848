"""At a glance: what looking costs beside the plain passes."""

from __future__ import annotations

from functools import partial

from vizkit.benchmarks.attribution import Cams
from vizkit.benchmarks.capture import Places
from vizkit.benchmarks.registry import Effort, suite
from vizkit.benchmarks.rounds import timed
from vizkit.benchmarks.statistics import LIGHT, Counting
from vizkit.benchmarks.subject import Subject
from vizkit.benchmarks.tasks import BACKWARD, FORWARD, OWN, Outcome, Task
from vizkit.statistics.registry import DEFAULT


@suite("passes", label="Passes", in_all=False)
def passes_suite(subject: Subject, effort: Effort) -> list[Outcome]:
    """Look at one image: feature maps, statistics and Grad-CAM, without any other tool."""
    inputs = subject.photos()
    places = [Places(subject, inputs, at) for at in ("stages", "layers")]
    cams = Cams(subject, inputs)
    tasks = [
        Task(FORWARD, "PyTorch", partial(subject.forward, inputs)),
        Task(BACKWARD, "PyTorch", partial(subject.backward, inputs), BACKWARD),
        *(each.own_task() for each in places),
        Counting(subject, inputs).own_task(LIGHT, list(DEFAULT)),
        Task(cams.name, OWN, cams.own, BACKWARD),
    ]
    return timed(tasks, subject.device, effort)
