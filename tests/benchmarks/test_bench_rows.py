"""Ratios, quartiles and goals, from times that are known."""

import numpy as np
import pytest

from vizkit.benchmarks.rows import COLUMNS, frame_of, rows_of
from vizkit.benchmarks.tasks import Goal, Outcome, Task


def rows(*outcomes, goals=True):
    found = rows_of(outcomes, goals, suite="s", model="m", device="cpu")
    assert all(tuple(row) == COLUMNS for row in found)
    return frame_of(found).set_index("tool")


def outcome(tool, seconds, name="task", goal=None):
    return Outcome(Task(name, tool, int, "floor", goal=goal), dict(seconds))


FLOOR = outcome("PyTorch", enumerate([1.0, 2.0, 4.0], 1), "floor")


def test_each_time_is_divided_by_the_floors_of_its_round():
    own = outcome("vizkit", enumerate([3.0, 8.0, 8.0], 1))
    row = rows(FLOOR, own).loc["vizkit"]
    # 3/1, 8/2, 8/4: dividing medians would give 4
    assert row["ratio"] == 3.0
    assert (row["low"], row["high"]) == tuple(np.percentile([2, 3, 4], [25, 75]))
    assert row["milliseconds"] == 8000
    assert (row["ms_low"], row["ms_high"]) == (5500, 8000)
    assert row["runs"] == 3


def test_a_round_without_the_floor_is_divided_by_its_median():
    slow = outcome("captum", {0: 10.0, 1: 10.0})
    row = rows(FLOOR, slow).loc["captum"]
    # 10/2 in the first run, whose floor is not counted, and 10/1
    assert row["ratio"] == 7.5
    assert row["runs"] == 2


def test_floors_are_one():
    row = rows(FLOOR).loc["PyTorch"]
    assert (row["ratio"], row["low"], row["high"]) == (1, 1, 1)


def test_vizkit_comes_first_in_every_task():
    others = [
        outcome("b", {1: 1.0}, "one"), outcome("vizkit", {1: 1.0}, "one"),
        outcome("a", {1: 1.0}, "two"), outcome("vizkit", {1: 1.0}, "two"),
    ]  # fmt: skip
    found = rows(FLOOR, *others).reset_index()
    assert list(found["tool"]) == ["PyTorch", "vizkit", "b", "vizkit", "a"]


def test_goals_are_compared():
    captum = outcome("captum", {1: 30.0})
    found = rows(
        FLOOR, captum,
        outcome("at most", {1: 1.05}, goal=Goal("ratio", 1.03)),
        outcome("faster", {1: 1.5}, goal=Goal("faster", 20, "captum")),
        outcome("slower", {1: 1.6}, goal=Goal("faster", 20, "captum")),
        outcome("extra", {1: 2.02}, goal=Goal("extra", 25)),
        outcome("unknown", {1: 1.0}, goal=Goal("faster", 5, "torchlens")),
    )  # fmt: skip
    assert found["reached"].drop(["PyTorch", "captum"]).to_dict() == pytest.approx(
        {"at most": 1.05, "faster": 20, "slower": 18.75, "extra": 20, "unknown": np.nan},
        nan_ok=True,
    )
    met = found["met"].astype(object).where(found["met"].notna(), None).to_dict()
    assert met == {
        "PyTorch": None, "captum": None, "at most": False, "faster": True, "slower": False,
        "extra": True, "unknown": None,
    }  # fmt: skip
    assert found.loc["at most", "goal"] == "≤ 1.03x floor"
    assert found.loc["faster", "goal"] == "≥ 20x as fast as captum"
    assert found.loc["extra", "goal"] == "≤ 25 ms more than floor"


def test_goals_of_other_networks_are_left_out():
    own = outcome("vizkit", {1: 9.0}, goal=Goal("ratio", 1.03))
    found = rows(FLOOR, own, goals=False)
    assert found[["goal", "reached", "met"]].isna().all(axis=None)


def test_what_failed_reaches_no_goal():
    goal = Goal("faster", 20, "captum")
    failed = Outcome(Task("task", "captum", int, "floor"), failure="no memory")
    row = rows(FLOOR, failed, outcome("vizkit", {1: 1.0}, goal=goal)).loc["vizkit"]
    assert row[["reached", "met"]].isna().all()
    assert row["goal"] == "≥ 20x as fast as captum"
