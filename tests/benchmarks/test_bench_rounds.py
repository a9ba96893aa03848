"""Rounds: each task is judged once, takes part as often as its speed allows, and may fail."""

import math
import time
from collections import Counter

import pytest
import torch

from vizkit.benchmarks import rounds
from vizkit.benchmarks.registry import Effort
from vizkit.benchmarks.rounds import failure_words, rounds_of, timed
from vizkit.benchmarks.rows import frame_of, rows_of
from vizkit.benchmarks.tasks import Check, Reference, Task
from vizkit.errors import VizkitError

CPU = torch.device("cpu")


def table(tasks, runs=2, goals=True):
    outcomes = timed(tasks, CPU, Effort(runs))
    return frame_of(rows_of(outcomes, goals, suite="s", model="m", device="cpu"))


def test_slow_tasks_take_part_in_fewer_rounds():
    assert rounds_of(1.0, 5) == 5
    assert rounds_of(4.0, 6) == 3
    assert rounds_of(0.25, 2) == 4
    assert rounds_of(1e-9, 5) == 15
    assert rounds_of(100.0, 5) == 1


def test_tasks_take_turns_and_are_judged_in_the_first_round(monkeypatch):
    monkeypatch.setattr(rounds, "rounds_of", lambda _seconds, runs: runs)
    order = []

    def task(name, floor):
        check = Check("wrong", 0.0, lambda _: order.append(f"judge {name}") or 0.0)
        return Task(name, "tool", lambda: order.append(name), floor, check)

    found = table([task("a", "a"), task("b", "a")])
    assert order == ["a", "judge a", "b", "judge b", "a", "b", "a", "b"]
    assert list(found["runs"]) == [2, 2]


def test_what_is_done_before_and_after_is_not_timed(monkeypatch):
    monkeypatch.setattr(rounds, "rounds_of", lambda seconds, runs: runs if seconds < 0.01 else 1)
    done = Counter()

    def prepare():
        done["before"] += 1
        time.sleep(0.02)

    def work():
        assert done["before"] == done["after"] + 1
        done["work"] += 1

    quick = Task(
        "a", "tool", work, "a", before=prepare, after=lambda: done.update(["after"])
    )  # fmt: skip
    slow = Task("b", "tool", lambda: time.sleep(0.012), "a", after=lambda: done.update(["slow"]))
    found = table([quick, slow], runs=3).set_index("task")
    # the first round, which is not counted, and three more
    assert done == {"before": 4, "work": 4, "after": 4}
    assert found.loc["a", "milliseconds"] < 10 < 12 <= found.loc["b", "milliseconds"]
    assert list(found["runs"]) == [3, 1]


def test_the_first_run_of_a_slow_task_counts(monkeypatch):
    monkeypatch.setattr(rounds, "SLOW", 0.02)
    calls = Counter()
    tasks = [
        Task("a", "t", lambda: calls.update("a"), "a"),
        Task("b", "t", lambda: (calls.update("b"), time.sleep(0.03)), "a"),
    ]
    monkeypatch.setattr(rounds, "rounds_of", lambda _seconds, _runs: 2)
    found = table(tasks)
    assert calls == {"a": 3, "b": 2}
    assert list(found["runs"]) == [2, 2]
    assert found["milliseconds"][1] >= 30


def test_a_task_that_fails_is_shown_and_the_others_go_on():
    def fail():
        raise RuntimeError("no /home/someone/models/vgg.pth. Ask somebody\nand more")

    calls = iter(range(9))

    def fail_later():
        if next(calls) == 2:
            raise ValueError("later")

    tasks = [
        Task("a", "PyTorch", int, "a"),
        Task("b", "broken", fail, "a", Check("wrong", 0.0, lambda _: 0.0)),
        Task("b", "tired", fail_later, "a"),
        Task("b", "vizkit", int, "a"),
    ]
    found = table(tasks).set_index("tool")
    assert found.loc["broken", "note"] == "RuntimeError: no vgg.pth"
    assert found.loc["tired", "note"] == "ValueError: later"
    assert found.loc[["broken", "tired"], "ratio"].isna().all()
    assert found.loc["broken", ["error", "correct"]].isna().all()
    assert list(found.loc[["broken", "tired", "vizkit"], "runs"]) == [0, 0, 6]


def test_a_wrong_result_is_told():
    right = Reference()

    def compared(found, other):
        return abs(found - other)

    tasks = [
        Task("a", "PyTorch", int, "a"),
        Task("b", "peer", lambda: 1.0, "a", right.keep()),
        Task("b", "vizkit", lambda: 1.0, "a", right.compare("off", 0.1, compared)),
        Task("b", "wrong", lambda: 1.5, "a", right.compare("off", 0.1, compared)),
        Task("b", "broken", lambda: math.inf, "a", right.compare("off", 0.1, compared)),
    ]
    found = table(tasks).set_index("tool")
    assert found.loc["vizkit", "correct"]
    assert not found.loc["wrong", "correct"]
    assert found.loc["wrong", "error"] == pytest.approx(0.5)
    # infinitely wrong is no number, and not unknown either
    assert not found.loc["broken", "correct"]
    assert found.loc["peer", "note"] == "the others are compared with it"
    assert found.loc[["peer", "PyTorch"], "correct"].isna().all()


def test_without_its_reference_nothing_is_called_right():
    def fail():
        raise RuntimeError

    right = Reference()
    tasks = [
        Task("a", "PyTorch", int, "a"),
        Task("b", "peer", fail, "a", right.keep()),
        Task("b", "vizkit", int, "a", right.compare("off", 0.1, lambda *_: 0.0)),
    ]
    assert table(tasks)["correct"].isna().all()


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("cannot open '/root/x/y.so'", "cannot open 'y.so'"),
        ("file C:\\Users\\me\\w.pt is gone", "file w.pt is gone"),
        ("ratio of forward/backward is 1/2", "ratio of forward/backward is 1/2"),
    ],
)
def test_failures_name_no_places(message, words):
    assert failure_words(VizkitError(message)) == f"VizkitError: {words}"
