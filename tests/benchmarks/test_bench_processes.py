"""The suites that start processes of their own: imports and reports."""

import pytest
import torch
from torch import nn

import vizkit
from vizkit.benchmarks import benchmark, importing
from vizkit.benchmarks.importing import python
from vizkit.benchmarks.registry import Effort
from vizkit.benchmarks.reporting import Clock, reported
from vizkit.benchmarks.rows import frame_of, rows_of
from vizkit.errors import VizkitError


def test_imports_are_timed_beside_bare_python(monkeypatch):
    monkeypatch.setattr(importing, "PEERS", {})
    monkeypatch.setattr(importing, "_PACKAGES", {"vizkit": "vizkit", "none": "no_such_package"})
    table = benchmark(suites="import", runs=1).table.set_index("tool")
    assert table.loc["Python", "ratio"] == 1
    assert table.loc["vizkit", "milliseconds"] > 0
    assert table.loc["vizkit", "goal"] == "≤ 25 ms more than bare Python"
    extra = table.loc["vizkit", "milliseconds"] - table.loc["Python", "milliseconds"]
    assert table.loc["vizkit", "reached"] == pytest.approx(extra)
    failed = "VizkitError: ModuleNotFoundError: No module named 'no_such_package'"
    assert table.loc["none", "note"] == failed


def test_programs_run_elsewhere():
    assert python("import os, sys; print(os.environ['OMP_NUM_THREADS'], *sys.argv[1:])", 3, "a b")
    with pytest.raises(VizkitError, match=r"^ValueError: no$"):
        python("raise ValueError('no')", 1)


@pytest.fixture(scope="module")
def report():
    few = {"max_images": 1, "methods": "grad_cam", "speed": False, "quick": True}
    outcomes = reported(["demo/vgg11"], Effort(1), **few)
    return frame_of(rows_of(outcomes, True, suite="report", model="", device="cpu"))


def test_a_report_is_taken_apart(report):
    assert list(report["tool"]) == [
        "PyTorch", "vizkit", "vizkit: start, weights", "vizkit: computing",
        "vizkit: drawing, writing",
    ]  # fmt: skip
    assert report["task"][1] == "report, max_images, methods, speed, quick"
    seconds = report["milliseconds"]
    assert (seconds > 0).all()
    assert seconds[1] == pytest.approx(seconds[2:].sum())
    assert list(report["ratio"]) == pytest.approx(list(seconds / seconds[0]))
    assert report["error"][1] == 0
    assert report["correct"][1]
    words = report["note"][0].split()
    assert words[1:3] == ["images", "forward,"]
    assert int(words[0].replace(",", "")) > int(words[3].replace(",", "")) > 0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        return self.conv(x).mean(dim=(-2, -1))


def test_images_are_counted_forward_and_backward():
    net = Net().eval()
    clock = Clock([vizkit.wrap(net)])
    (count,) = clock.counts
    with torch.no_grad():
        net(torch.rand(3, 3, 8, 8))
    out = net(torch.rand(2, 3, 8, 8).requires_grad_())
    for n in range(2):
        out[:, n].sum().backward(retain_graph=True)
    assert (count.forward, count.backward) == (5, 4)
    vizkit.capture(clock.classifiers[0], torch.rand(4, 3, 8, 8))
    assert count.forward == 9
    assert clock.words == "9 images forward, 4 backward"
    assert clock.needed() > 0
    assert not net._forward_hooks


def test_a_function_is_timed():
    clock = Clock([])
    assert clock.around(lambda a, b=1: a + b)(2, b=3) == 5
    assert clock.seconds > 0
    with pytest.raises(ZeroDivisionError):
        clock.around(lambda: 1 / 0)()
