"""The benchmark runs and reports ratios to its floors."""

import pytest
import torch

from vizkit.benchmark import benchmark
from vizkit.errors import InputError


def test_benchmark_reports_each_task_beside_its_floor():
    threads = torch.get_num_threads()
    table = benchmark("demo/vgg11", runs=2)
    assert torch.get_num_threads() == threads
    floors = table[table["task"] == table["floor"]]
    assert set(floors["task"]) == {"forward", "forward + backward"}
    assert (floors["ratio"] == 1).all()
    assert (table["milliseconds"] > 0).all()
    times = table.set_index("task")["milliseconds"]
    expected = table["milliseconds"] / table["floor"].map(times)
    assert ((table["ratio"] - expected).abs() < 1e-9).all()


def test_peers_are_timed_beside_vizkit():
    table = benchmark("demo/vgg11", "attribution", runs=1)
    cam = table[table["task"].str.startswith("Grad-CAM")]
    assert list(cam["tool"]) == ["vizkit", "captum", "grad-cam", "torchcam"]
    others = table[~table["task"].str.startswith(("Grad-CAM", "forward"))]
    assert list(others["tool"]) == ["vizkit", "captum"] * 3
    assert (table["milliseconds"] > 0).all()


def test_unknown_suite():
    with pytest.raises(InputError, match="unknown suite 'attributions'; did you mean"):
        benchmark("demo/vgg11", "attributions")


def test_statistics_are_timed_beside_the_obvious_ways():
    table = benchmark("demo/vgg11", "statistics", runs=1)
    assert list(table["floor"].unique()) == ["forward"]
    assert list(table["tool"]) == [
        "PyTorch", "vizkit", "hooks with mean, std, ==", "stored maps, NumPy", "vizkit", "vizkit",
    ]  # fmt: skip
    assert (table["milliseconds"] > 0).all()
