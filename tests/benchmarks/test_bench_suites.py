"""The suites on a small network: all run, all tools are judged, and wrong results are told."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

import vizkit
from vizkit.benchmarks import SUITES, benchmark, capture, peers, run, statistics, suites_of
from vizkit.benchmarks.attribution import Cams
from vizkit.benchmarks.registry import Effort
from vizkit.benchmarks.rounds import timed
from vizkit.benchmarks.similarity import _hsic
from vizkit.benchmarks.subject import Subject
from vizkit.benchmarks.tasks import Check, Task
from vizkit.benchmarks.truth import count_wrong, difference, distance
from vizkit.errors import InputError
from vizkit.stages import find_stages

PEERS = ("capture", "attribution", "occlusion", "statistics", "similarity")


@pytest.fixture(scope="module")
def small():
    return vizkit.load("demo/vgg11", device="cpu")


@pytest.fixture(scope="module")
def record(small):
    return benchmark(small, PEERS, runs=1)


def of(record, suite):
    return record.table[record.table["suite"] == suite]


def test_every_suite_runs_and_vizkit_is_right(record):
    table = record.table
    assert list(dict.fromkeys(table["suite"])) == list(PEERS)
    assert (table["ratio"] > 0).all()
    assert ((table["low"] <= table["ratio"]) & (table["ratio"] <= table["high"])).all()
    floors = table[table["task"] == table["floor"]]
    assert (floors["ratio"] == 1).all()
    own = table[table["tool"] == "vizkit"]
    assert own["correct"].all()
    assert own["error"].notna().all()
    # the goals are about other networks
    assert table["goal"].isna().all()
    assert record.missing == []


def test_all_peers_take_part(record):
    tools = {name: set(of(record, name)["tool"]) - {"PyTorch", "vizkit"} for name in PEERS}
    assert tools == {
        "capture": {
            "hooks with clone()", "hooks without clone()", "torchlens", "torchvision extractor",
        },
        "attribution": {"captum", "grad-cam", "torchcam"},
        "occlusion": {"captum"},
        "statistics": {"hooks with mean(), std()", "stored maps, NumPy"},
        "similarity": {"stored maps, NumPy", "torch_cka"},
    }  # fmt: skip
    judged = record.table[~record.table["tool"].isin(["PyTorch"])]
    references = judged[judged["note"] == "the others are compared with it"]
    # Grad-CAM, integrated gradients, SmoothGrad, occlusion, CKA
    assert len(references) == 5
    assert judged.drop(references.index)["correct"].notna().all()


def test_overwritten_maps_are_counted(record, small):
    layers = of(record, "capture").set_index(["task", "tool"]).loc["capture, all layers"]
    inputs = Subject(small).photos()
    maps = vizkit.capture(small, inputs, "layers")
    convolved = [tap for tap in find_stages(small, "layers") if tap.role == "conv"]
    negative = sum(int((maps[tap] < -1e-5 * maps[tap].abs().max()).sum()) for tap in convolved)
    # what a ReLU works in place on is not what the convolution made
    for tool in ("hooks without clone()", "torchvision extractor"):
        assert layers.loc[tool, "error"] == negative > 100_000
        assert not layers.loc[tool, "correct"]
    assert layers.loc["hooks with clone()", "correct"]
    stages = of(record, "capture").set_index(["task", "tool"]).loc["capture, all stages"]
    assert stages["correct"].all()


def test_passes_are_vizkits_own(small):
    table = benchmark(small, runs=1).table
    assert set(table["tool"]) == {"PyTorch", "vizkit"}
    assert set(table["floor"]) == {"forward", "forward + backward"}
    assert table["correct"].sum() == 3


@pytest.fixture
def few_peers(monkeypatch):
    """As if some tools were not installed."""
    gone = {"torchlens", "pytorch_grad_cam", "torch_cka"}
    find = peers.find_spec
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name in gone else find(name))


@pytest.mark.usefixtures("few_peers")
def test_wrong_maps_are_told(small, monkeypatch):
    def changed(*given):
        maps = vizkit.capture(*given)
        first = next(iter(maps))
        maps[first].view(-1)[7] += 1
        return maps

    monkeypatch.setattr(capture, "capture", changed)
    own = benchmark(small, "capture", runs=1).table.query("tool == 'vizkit'")
    assert list(own["error"]) == [1, 1, 1]
    assert not own["correct"].any()


def test_wrong_statistics_are_told(small, monkeypatch):
    def shifted(self):
        found = self.stored()
        found[2][1] *= 1.01
        return found

    monkeypatch.setattr(statistics.Counting, "hooked", shifted)
    table = benchmark(small, "statistics", runs=1).table.set_index("tool")
    row = table.loc["hooks with mean(), std()"]
    assert row["error"] == pytest.approx(0.01, rel=1e-3)
    assert not row["correct"]


def test_classes_in_one_batch_give_captums_maps(small):
    cams = Cams(Subject(small), Subject(small).photos())
    assert difference(cams.batched(), cams.captum()) < 1e-4
    # other classes have other maps
    assert difference([each.flip(0) for each in cams.batched()], cams.captum()) > 0.1


@pytest.mark.usefixtures("few_peers")
def test_missing_tools_are_left_out_and_named(small):
    found = benchmark(small, "similarity", runs=1)
    assert set(found.table["tool"]) == {"PyTorch", "vizkit", "stored maps, NumPy"}
    assert found.missing == ["torch_cka"]
    assert peers.missing(SUITES["attribution"].peers) == ["grad-cam"]
    tools = {task.tool for task in Cams(Subject(small), Subject(small).photos()).tasks()}
    assert tools == {"captum", "vizkit", "torchcam"}
    assert peers.missing_words(["torchlens", "torch_cka"]) == (
        "torchlens, torch_cka are not installed and are left out: pip install 'vizkit[bench]'"
    )
    assert peers.missing_words(["torchcam"]).startswith("torchcam is not installed and is left")


def test_all_measures_slow_suites_on_one_network_of_a_kind(small):
    other = vizkit.load("demo/vovnet19b", device="cpu")
    parts = list(run._parts(suites_of("all"), [small, small, other], True))
    names = [each.name for each, subject in parts if subject is None]
    assert set(names) == {"import", "report"}
    brief = {subject.classifier.name: subject.brief for _, subject in parts if subject}
    assert brief == {"demo/vgg11": True, "demo/vovnet19b": False}
    assert [subject.brief for _, subject in parts if subject].count(False) == 2 * 5
    for name in ("occlusion", "similarity"):
        assert SUITES[name].measure(Subject(small, brief=True), Effort(1)) == []
    outcomes = SUITES["attribution"].measure(Subject(small, brief=True), Effort(1))
    assert {outcome.task.name.partition(",")[0] for outcome in outcomes} == {
        "forward + backward", "Grad-CAM",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "threads", "expected"),
    [("vgg16", 1, True), ("vgg19_bn.tv_in1k", 1, True), ("vgg16", 2, False), ("vgg13", 1, False)],
)
def test_goals_are_about_three_networks_on_one_thread(small, name, threads, expected):
    from dataclasses import replace

    assert Subject(replace(small, name=name)).has_goals(threads) is expected


def test_photos_are_always_the_same_and_all_different(small):
    photos = Subject(small).photos(12)
    assert torch.equal(photos, Subject(small).photos(12))
    assert len({each.numpy().tobytes() for each in photos}) == 12


def test_unbiased_hsic_is_the_mean_over_different_images():
    generator = np.random.default_rng(3)
    one, other = (a @ a.T for a in generator.normal(size=(2, 6, 4)))
    terms = [
        one[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q])
        for i, j, q, r in itertools.permutations(range(6), 4)
    ]
    assert _hsic(one, other) == pytest.approx(np.mean(terms))


def test_differences():
    right = torch.tensor([[0.0, -4.0], [1.0, 2.0]])
    assert count_wrong([right.clone()], [right]) == 0
    assert count_wrong([right + torch.tensor([[0, 1.0], [0, math.nan]])], [right]) == 2
    assert count_wrong([right[:1]], [right]) == 4
    assert difference([right + 1], [right]) == 0.25
    assert difference([right * math.nan], [right]) == math.inf
    assert difference([right[:1]], [right]) == math.inf
    assert distance(2 * right, right) == pytest.approx(1)
    assert distance(right[:1], right) == math.inf
    assert difference([torch.zeros(2)], [torch.zeros(2)]) == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"suites": "capure"}, "unknown suite 'capure'; did you mean 'capture'?"),
        ({"suites": []}, "no suites: choose from"),
        ({"runs": 0}, "runs must be a whole number of at least 1"),
        ({"threads": 0}, "threads must be a whole number of at least 1"),
    ],
)
def test_bad_input(small, given, words):
    with pytest.raises(InputError) as error:
        benchmark(small, **given)
    assert words in str(error.value)


def test_suites_describe_themselves():
    for each in SUITES.values():
        assert each.label
        assert len(each.summary) > 20
        assert set(each.peers) <= set(peers.PEERS)


def test_a_network_that_is_not_a_vgg_is_compared_with_itself_in_other_weights():
    from vizkit.benchmarks.similarity import _partner

    own = vizkit.load("demo/vovnet19b", device="cpu")
    state = torch.get_rng_state()
    other = _partner(own)
    assert torch.equal(torch.get_rng_state(), state)
    assert other.name == "demo/vovnet19b in other weights"
    assert not torch.equal(*(next(each.module.parameters()) for each in (own, other)))
    names = {name: _partner(vizkit.load(name, device="cpu")).name for name in ("demo/vgg11_bn",)}
    assert names == {"demo/vgg11_bn": "demo/vgg11"}


def test_threads_are_put_back():
    before = torch.get_num_threads()
    seen = Task("a", "t", torch.get_num_threads, "a", Check("threads", 0, float))
    (outcome,) = timed([seen], torch.device("cpu"), Effort(1, before + 1))
    assert outcome.error == before + 1
    assert torch.get_num_threads() == before


def test_tables_have_kinds(record):
    table = record.table
    assert table["runs"].dtype == pd.Int64Dtype()
    assert table["correct"].dtype == pd.BooleanDtype()
