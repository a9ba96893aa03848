"""Ctrl-C at the lines of everything public that runs a network: it is heard, and nothing stays.

A sample of the lines, the same every time, is struck; with VIZKIT_EVERY_LINE=1 every line, where
it is first and where it is last come to.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zlib import crc32

import matplotlib as mpl
import numpy as np
import pytest
import torch
from operations import LONGER, OPERATIONS, Scene, facts
from striking import steps_of, struck
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack
from torch.serialization import get_safe_globals
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import vizkit
from vizkit import forward, hooks, interrupts
from vizkit.checkpoints import reading

EVERY = os.environ.get("VIZKIT_EVERY_LINE") == "1"
PACKAGE = f"{Path(vizkit.__file__).parent}{os.sep}"
LINES = [PACKAGE, contextlib.__file__]
# whatever runs a network goes through these
CORE = {module.__file__ for module in (forward, hooks, interrupts)}
INSTRUCTIONS = [contextlib.__file__, *CORE]
# those that hold one network, a graph in it, and several at once
# and how many of their instructions are struck
NESTED = {"capture": 400, "attribute grad_cam": 40, "compare": 8}
MOST, MOST_OF_LONGER = 20, 4
GLOBAL_HOOKS = [n for n in vars(torch_module) if n.startswith("_global_") and "hooks" in n]
SIGNALS = [signal.SIGINT, *([signal.SIGCHLD] if hasattr(signal, "SIGCHLD") else [])]


@pytest.fixture(scope="module", autouse=True)
def handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def other_thread():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        yield pool


def settings():
    """What belongs to the process or to its main thread, and not to vizkit."""
    return {
        "signals": [signal.getsignal(number) for number in SIGNALS],
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "stacks": (_get_current_function_mode_stack(), _get_current_dispatch_mode_stack()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "hooks": {name: dict(getattr(torch_module, name)) for name in GLOBAL_HOOKS},
        "safe globals": set(get_safe_globals()),
        "warnings": list(warnings.filters),
        "errors": np.geterr(),
        "figures": dict(mpl.rcParams),
        "workers": [each.name for each in threading.enumerate() if each.name == "vizkit"],
        "processes": multiprocessing.active_children(),
        "directory": Path.cwd(),
    }


def free(lock):
    """Whether somebody else can have a lock at once."""
    if taken := lock.acquire(blocking=False):
        lock.release()
    return taken


def chosen(steps, name):
    """Choose where to strike: every line where it is first come to, and last, or some of them."""
    first, last = {}, {}
    for step in steps:
        first.setdefault(step.place, step)
        last[step.place] = step
    if EVERY:
        return sorted({*first.values(), *last.values()}, key=lambda step: step.number)
    # another choice for each operation, so that all of them together come to most lines
    order = sorted(first, key=lambda place: shuffled(name, Path(place[0]).name, place[1:]))
    most = MOST_OF_LONGER if name in LONGER else MOST
    core = [place for place in order if place[0] in CORE][: most // 2]
    others = [place for place in order if place[0] not in CORE][: most - len(core)]
    return [(first, last)[n % 2][place] for n, place in enumerate(core + others)]


def shuffled(*key):
    """Order by this: in no order, but the same every time."""
    return crc32(repr(key).encode())


@dataclass
class Witness:
    """Everything that an operation may touch, as it was before."""

    scene: Scene
    unchanged: Callable
    other_thread: ThreadPoolExecutor
    files: dict
    settings: dict = field(default_factory=lambda: settings())

    def problem(self, strike):
        """Strike; say what is not as it was while the traceback lives on, as in a notebook."""
        first, second = self.scene.nets
        try:
            with self.unchanged(first), self.unchanged(second):
                error, _ = strike()
                assert isinstance(error, KeyboardInterrupt), "Ctrl-C was not heard"
                assert settings() == self.settings
                assert all(self.other_thread.submit(free, each).result() for each in self.locks())
                assert not self.left_over()
                assert self.scene.written().items() <= self.files.items()
                # what hangs on the traceback goes with it, and does no more
                del error
                assert settings() == self.settings
        except (AssertionError, RuntimeError) as problem:
            return f"{type(problem).__name__}: {problem}"[:300]
        return ""

    def locks(self):
        return [
            *(each.lock for net in self.scene.nets for each in hooks._locks_of(net)),
            hooks._LOCKS_LOCK,
            reading._READING,
        ]

    def left_over(self):
        """Files that nobody asked for: half of one, or what lay beside one."""
        hidden = [path.name for path in self.scene.out.rglob(".*")]
        return [each for each in hidden if each[:7] != ".state-" or each.endswith(".partial")]


def prepared(name, scene, unchanged, other_thread):
    """Make ready to strike an operation: the work, what it gives, and who sees what is left."""
    operation = (OPERATIONS | LONGER)[name]

    def work():
        scene.clean()
        return operation(scene)

    work()  # what is imported or learnt once is not come to again
    return work, facts(work()), Witness(scene, unchanged, other_thread, scene.written())


@pytest.mark.parametrize("name", [*OPERATIONS, *LONGER])
def test_nothing_is_left(name, scene, unchanged, other_thread):
    work, expected, witness = prepared(name, scene, unchanged, other_thread)
    problems = {}
    for n, step in enumerate(chosen(steps_of(work, LINES), name)):
        problems[str(step)] = witness.problem(partial(struck, work, step, LINES))
        if n % 20 == 0:
            assert facts(work()) == expected
    assert not {step: words for step, words in problems.items() if words}


@pytest.mark.parametrize(("name", "most"), NESTED.items())
def test_within_a_line(name, most, scene, unchanged, other_thread):
    """At the instructions of whatever holds a network."""
    work, _, witness = prepared(name, scene, unchanged, other_thread)
    steps = steps_of(work, [], INSTRUCTIONS)
    places = {step.place: step for step in steps}.values()
    some = sorted(places, key=lambda step: shuffled(name, step.number))
    for step in some if EVERY else some[:most]:
        assert not witness.problem(partial(struck, work, step, [], INSTRUCTIONS)), step


@pytest.mark.parametrize(("name", "most"), NESTED.items())
def test_a_second_one_soon_after(name, most, scene, unchanged, other_thread):
    work, _, witness = prepared(name, scene, unchanged, other_thread)
    steps = steps_of(work, [], INSTRUCTIONS)
    some = sorted(steps, key=lambda step: shuffled(name, step.number))
    for n, step in enumerate(some[: 2000 if EVERY else min(most, 60)]):
        later = shuffled(n) % 300
        strike = partial(struck, work, step, [], INSTRUCTIONS, again=later)
        assert not witness.problem(strike), (step, later)


@pytest.mark.parametrize("again", [None, 7])
def test_within_pytorch(again, scene, unchanged, other_thread):
    """Where PyTorch takes a mode off for a moment, and Ctrl-C keeps it from putting it on."""
    files = [torch.overrides.__file__, contextlib.__file__]
    work, _, witness = prepared("attribute guided_backprop", scene, unchanged, other_thread)
    # where each instruction is first come to
    places = {step.place: step for step in steps_of(work, [], files)[::-1]}.values()
    own = [step for step in places if step.file == files[0]]
    assert len(own) > 20
    for step in own:
        assert not witness.problem(partial(struck, work, step, [], files, again)), step
