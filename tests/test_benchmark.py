"""The benchmark runs and reports ratios to its floors."""

import torch

from vizkit.benchmark import benchmark


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
