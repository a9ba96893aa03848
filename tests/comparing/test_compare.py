"""Comparisons against what each part gives when it is asked for alone."""

import threading
import time
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import vizkit
from vizkit.comparing.classes import shared_classes
from vizkit.errors import InputError
from vizkit.images import Transform, as_images
from vizkit.results import Comparison, Tap

NAMES = ["demo/vgg11", "demo/vgg11_bn", "demo/vovnet19b"]
SMALL = Transform(size=(32, 40), resize=(36, 44))
WORDS = ("cat", "dog", "fox", "owl")


def a_net(name="net", classes=(), transform=SMALL, outputs=4, seed=0, **more):
    """Four layers at strides 2 and 4, with what a pass could disturb: a norm and a dropout."""
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1),
        nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(),
        nn.Linear(8, outputs),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return vizkit.wrap(module, name=name, classes=classes, transform=transform, **more)


def permuted(classifier, order, name="permuted"):
    """The same network, whose outputs come in another order."""

    class Permuted(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = classifier.module

        def forward(self, inputs):
            return self.inner(inputs)[:, order]

    return vizkit.wrap(
        Permuted(),
        name=name,
        transform=classifier.transform,
        classes=[classifier.classes[n] for n in order],
        stages=[
            Tap(t.name, f"inner.{t.module}", t.role, t.stride, t.channels)
            for t in classifier.stages
        ],
    )


@pytest.fixture(scope="module")
def models():
    return [vizkit.load(name, device="cpu") for name in NAMES]


@pytest.fixture(scope="module")
def vggs():
    return [vizkit.load(f"demo/{name}", device="cpu") for name in ("vgg11", "vgg11_bn", "vgg19")]


@pytest.fixture(scope="module")
def photos():
    return vizkit.samples()


@pytest.fixture(scope="module")
def found(models, photos):
    """Five photos: more than one batch of what three networks hold at a time."""
    return vizkit.compare(models, list(photos.values()) + list(photos.values()))


@pytest.fixture(scope="module")
def rocket(models, photos):
    return vizkit.compare(models, {"rocket": photos["rocket"]})


@pytest.fixture
def folder(tmp_path):
    """Photos of many sizes and kinds, one of them damaged, in two class folders."""
    generator = np.random.default_rng(0)
    kinds = [("RGB", 3), ("L", None), ("RGBA", 4), ("LA", 2), ("RGB", 3), ("RGB", 3), ("L", None)]
    for n, (mode, bands) in enumerate(kinds):
        own = tmp_path / "photos" / ("cat", "dog")[n % 2]
        own.mkdir(parents=True, exist_ok=True)
        shape = (30 + 17 * n, 90 - 5 * n, bands) if bands else (30 + 17 * n, 90 - 5 * n)
        image = Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8), mode=None)
        assert image.mode == mode
        image.save(own / f"{n}.png")
    turned = Image.new("RGB", (60, 30), (200, 10, 10))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "photos" / "dog" / "turned.jpg", exif=exif)
    return tmp_path / "photos"


def predicted(found, model, image, rank=1):
    rows = found[model].predictions
    per = len(rows) // len(found.images)
    return rows.iloc[image * per + rank - 1]


# --- one result, equal to its parts -----------------------------------------------------------


def test_maps_are_those_of_capture(found, models, photos):
    for model in models:
        expected = vizkit.capture(model, list(photos.values()) + list(photos.values()))
        own = found.maps[model.name]
        assert own.taps == expected.taps == model.stages
        assert own.seen.names == expected.seen.names
        assert own.seen.transform == expected.seen.transform
        assert np.array_equal(own.seen.pixels, expected.seen.pixels)
        assert torch.equal(own.inputs, expected.inputs)
        assert torch.allclose(own.logits, expected.logits, atol=1e-5)
        for tap in expected:
            assert torch.allclose(own[tap], expected[tap], atol=1e-5)


def test_maps_and_attributions_of_one_image_are_the_same_to_the_last_bit(models, photos, rocket):
    for model in models:
        expected = vizkit.capture(model, photos["rocket"])
        for tap in expected:
            assert torch.allclose(rocket.maps[model.name][tap], expected[tap], atol=1e-6)
        assert not rocket.maps[model.name].logits.requires_grad
        assert not any(each.requires_grad for each in rocket.maps[model.name].values())


def test_attributions_are_those_of_attribute_for_the_class_explained(found, models, photos):
    everything = list(photos.values()) + list(photos.values())
    for model in models:
        own = found.attributions[model.name]
        expected = vizkit.attribute(model, everything, "grad_cam", own.targets)
        assert own.taps == expected.taps
        assert own.labels == expected.labels
        assert torch.allclose(own.probabilities, expected.probabilities, atol=1e-5)
        assert own.values["grad_cam"].keys() == expected.values["grad_cam"].keys()
        for key, values in expected.values["grad_cam"].items():
            scale = float(values.abs().max())
            assert torch.allclose(own.values["grad_cam"][key], values, atol=1e-4 * scale + 1e-9)


def test_the_class_is_the_most_probable_on_average(found, models, photos):
    shares = [
        vizkit.capture(model, list(photos.values()) + list(photos.values()))
        .logits.double()
        .softmax(dim=1)
        for model in models
    ]
    expected = torch.stack(shares).mean(dim=0).argmax(dim=1, keepdim=True)
    for each in found.attributions.values():
        assert torch.equal(each.targets, expected)
    assert found.same_classes


def test_predictions_are_those_of_predict(found, models, photos):
    for model in models:
        expected = vizkit.predict(model, list(photos.values()) + list(photos.values()))
        own = found[model.name].predictions
        assert own.columns[0] == "model"
        pd.testing.assert_frame_equal(own.drop(columns="model"), expected, atol=1e-5)
    assert list(found.predictions["model"].unique()) == NAMES


def test_statistics_are_those_of_describe(models, photos):
    everything = list(photos.values())
    names = ["mean", "std", "sparsity", "dead", "energy", "median", "effective_rank"]
    names = [name for name in names if name in vizkit.statistics.STATISTICS]
    found = vizkit.compare(models, everything, statistics=names).statistics
    expected = vizkit.describe(models, everything, names)
    assert found.images == expected.images == 5
    assert found.units == expected.units
    assert found.sampling == expected.sampling
    pd.testing.assert_frame_equal(found.frame, expected.frame, rtol=1e-4, atol=1e-6)
    pd.testing.assert_frame_equal(found.channels, expected.channels, rtol=1e-3, atol=1e-5)


def test_profile_and_agreement_are_those_of_their_functions(found, models):
    expected = pd.concat([vizkit.profile(model) for model in models], ignore_index=True)
    pd.testing.assert_frame_equal(found.profile, expected)
    every = vizkit.agreement(list(found.attributions.values()))
    same = every[(every["stage_a"] == every["stage_b"]) & (every["model_a"] != every["model_b"])]
    pd.testing.assert_frame_equal(found.agreement, same.reset_index(drop=True))
    pairs = set(zip(found.agreement["model_a"], found.agreement["model_b"], strict=True))
    assert len(pairs) == 3
    stages = found.agreement.groupby(["model_a", "model_b"]).size()
    assert stages[NAMES[0], NAMES[1]] == 6
    assert stages[NAMES[0], NAMES[2]] == 5


def test_a_folder_gives_what_each_part_gives(folder):
    nets = [a_net("a", WORDS), a_net("b", WORDS, seed=1)]
    found = vizkit.compare(nets, folder)
    assert len(found.images) == 8
    expected = vizkit.describe(nets, folder)
    pd.testing.assert_frame_equal(found.statistics.frame, expected.frame, rtol=1e-5)
    for net in nets:
        capture = vizkit.capture(net, folder)
        assert found.images == capture.seen.names
        assert torch.allclose(found.maps[net.name].logits, capture.logits, atol=1e-6)


def test_one_model_alone_agrees_with_nobody(models, photos):
    found = vizkit.compare(models[0], photos["rocket"])
    assert found.models == ("demo/vgg11",)
    assert found.agreement.empty
    assert "spearman" in found.agreement
    best = vizkit.predict(models[0], photos["rocket"], 1)["index"][0]
    assert found.attributions["demo/vgg11"].targets.tolist() == [[best]]


# --- one pass of each, and nothing left behind -------------------------------------------------


@contextmanager
def counted(models):
    """Images in each forward pass, and each gradient of the logits; dry runs do not count."""
    runs = {model.name: [] for model in models}
    backward = {model.name: [] for model in models}

    def follow(name, inputs, output):
        if not inputs[0].is_meta:
            runs[name].append(len(inputs[0]))
            output.register_hook(lambda gradient: backward[name].append(gradient.count_nonzero()))

    handles = [
        model.module.register_forward_hook(
            lambda _module, inputs, output, name=model.name: follow(name, inputs, output)
        )
        for model in models
    ]
    try:
        yield runs, backward
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize(("targets", "classes"), [(None, 1), ("top3", 3), ([0, 4], 2)])
def test_one_forward_pass_a_model_and_image_and_one_backward_pass_a_class(
    models, photos, targets, classes
):
    with counted(models) as (runs, backward):
        vizkit.compare(models, photos, targets=targets, methods=["grad_cam", "layer_cam"])
    assert all(own == [5] for own in runs.values()), runs
    # each is of one class of each of the five images
    assert all(own == [5] * classes for own in backward.values()), backward


def test_many_images_pass_once_each():
    nets = [a_net("a"), a_net("b", seed=1), a_net("c", seed=2)]
    images = torch.randn(23, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    with counted(nets) as (runs, backward):
        vizkit.compare(nets, images)
    assert all(sum(own) == 23 for own in runs.values())
    assert backward == runs


@pytest.mark.parametrize("training", [True, False])
def test_networks_are_left_as_they_were(unchanged, training):
    nets = [a_net("a"), a_net("b", seed=1)]
    for net in nets:
        net.module.train(training)
        net.module(torch.randn(2, 3, 32, 40)).sum().backward()
        next(net.module.parameters()).requires_grad_(False)
    with unchanged(nets[0].module), unchanged(nets[1].module):
        vizkit.compare(nets, vizkit.samples(), methods=["grad_cam", "saliency"])
        vizkit.compare(nets, vizkit.samples(), "layers", role="norm", statistics="mean")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, InputError])
@pytest.mark.parametrize("which", [0, 1])
def test_networks_are_left_as_they_were_after_an_exception(unchanged, error, which):
    nets = [a_net("a"), a_net("b", seed=1)]
    calls = []

    def fail(_module, inputs):
        if not inputs[0].is_meta:
            calls.append(1)
            if len(calls) == 2:
                raise error("inside")

    nets[which].module[3].register_forward_pre_hook(fail)
    images = torch.randn(20, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    kept = unchanged(nets[0].module), unchanged(nets[1].module)
    with kept[0], kept[1], pytest.raises(error, match="inside"):
        vizkit.compare(nets, images)
    assert len(calls) == 2


def test_networks_are_left_as_they_were_if_a_class_is_refused_while_they_are_held(unchanged):
    nets = [a_net("a"), a_net("b", seed=1, outputs=3)]
    kept = unchanged(nets[0].module), unchanged(nets[1].module)
    with kept[0], kept[1], pytest.raises(InputError, match="target 3: choose from 0 to 2"):
        vizkit.compare(nets, vizkit.samples(), targets=3)


def test_two_threads_in_opposite_order_do_not_wait_for_each_other():
    nets = [a_net("a"), a_net("b", seed=1)]
    for net in nets:
        # long enough for the other thread to take the other network meanwhile
        net.module.register_forward_hook(lambda *_: time.sleep(0.02))
    images = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    alone = vizkit.compare(nets, images)
    start, results = threading.Barrier(2), {}

    def work(order):
        start.wait()
        results[order] = [vizkit.compare(nets[::order], images) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(order,), daemon=True) for order in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads), "deadlock"
    for found in results[1] + results[-1]:
        for name in ("a", "b"):
            assert torch.equal(found.maps[name].logits, alone.maps[name].logits)
            own, expected = found.attributions[name].values, alone.attributions[name].values
            assert torch.equal(own["grad_cam"]["stride4"], expected["grad_cam"]["stride4"])


# --- the same class ----------------------------------------------------------------------------


def test_models_with_classes_in_another_order_explain_the_same_by_name(models, photos):
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3)).tolist()
    first = models[1]
    twin = permuted(first, order)
    found = vizkit.compare([first, twin], photos, targets="top3")
    assert found.same_classes
    own, other = (found.attributions[name] for name in (first.name, "permuted"))
    names = [[[each.classes[i] for i in row] for row in each.targets] for each in (own, other)]
    assert names[0] == names[1]
    assert not torch.equal(own.targets, other.targets)
    assert torch.allclose(own.probabilities, other.probabilities, atol=1e-6)
    for key, values in own.values["grad_cam"].items():
        assert torch.allclose(other.values["grad_cam"][key], values, atol=1e-6)


def test_models_with_partly_other_classes_explain_one_that_both_know():
    left = a_net("left", ["cat", "dog", "fox", "owl"])
    right = a_net("right", ["fox", "elk", "dog"], outputs=3, seed=1)
    found = vizkit.compare([left, right], vizkit.samples())
    assert found.same_classes
    shares = [
        found.maps["left"].logits.double()[:, [1, 2]].softmax(dim=1),
        found.maps["right"].logits.double()[:, [2, 0]].softmax(dim=1),
    ]
    best = torch.stack(shares).mean(dim=0).argmax(dim=1)
    assert found.attributions["left"].targets[:, 0].tolist() == [[1, 2][i] for i in best]
    assert found.attributions["right"].targets[:, 0].tolist() == [[2, 0][i] for i in best]
    with pytest.raises(InputError, match="unknown target 'top3': the models share 2"):
        vizkit.compare([left, right], vizkit.samples(), targets="top3")


def test_shared_classes_count_by_their_share_among_themselves():
    """Left is sure of a class that right lacks; of the others it prefers dog, right prefers fox."""
    models = [a_net("left", ["cat", "dog", "fox", "owl"]), a_net("right", ["fox", "dog"])]
    left = torch.tensor([[0.90, 0.09, 0.01, 0.0001]]).log()
    right = torch.tensor([[0.6, 0.4]]).log()
    shared = shared_classes(models, [4, 2])
    assert shared.names == ("dog", "fox")
    found = shared.probabilities([left, right])
    assert torch.allclose(found[:, 0], torch.tensor([[0.9, 0.1], [0.4, 0.6]]).double())
    assert [each.tolist() for each in shared.most_probable([left, right])] == [[[1]], [[1]]]
    assert [each.tolist() for each in shared.most_probable([left, right], 2)] == [
        [[1, 2]],
        [[1, 0]],
    ]


def test_models_that_share_no_class_explain_their_own_predictions():
    left, right = a_net("left", WORDS), a_net("right", ["elk", "bee"], outputs=2, seed=1)
    found = vizkit.compare([left, right], vizkit.samples())
    assert not found.same_classes
    for name in ("left", "right"):
        best = found.maps[name].logits.argmax(dim=1)
        assert found.attributions[name].targets[:, 0].tolist() == best.tolist()
    ranked = vizkit.compare([left, right], vizkit.samples(), targets="top2")
    assert not ranked.same_classes
    expected = ranked.maps["right"].logits.topk(2).indices
    assert torch.equal(ranked.attributions["right"].targets, expected)


def test_outputs_without_names_are_the_same_if_there_are_as_many():
    same = vizkit.compare([a_net("a"), a_net("b", seed=1)], vizkit.samples())
    assert same.same_classes
    assert torch.equal(same.attributions["a"].targets, same.attributions["b"].targets)
    other = vizkit.compare([a_net("a"), a_net("b", outputs=3)], vizkit.samples())
    assert not other.same_classes


def test_more_names_than_outputs_do_no_harm():
    left = a_net("left", [*WORDS, "elk", "bee"])
    right = a_net("right", ["bee", "owl", "elk", "cat"], seed=1)
    found = vizkit.compare([left, right], vizkit.samples())
    names = {found.attributions["left"].target_name(n, 0) for n in range(5)}
    assert names <= {"owl", "cat"}


@pytest.mark.parametrize(
    ("targets", "rows"),
    [
        (3, [[3]] * 5),
        (np.int64(3), [[3]] * 5),
        ("church", [[4]] * 5),
        ("CHURCH", [[4]] * 5),
        (["church", 0], [[4, 0]] * 5),
        (np.array([1, 2]), [[1, 2]] * 5),
        (torch.tensor([4, 3, 2, 1, 0]), [[4], [3], [2], [1], [0]]),
        (torch.tensor([[4, 0], [3, 0], [2, 0], [1, 9], [0, 9]]),
         [[4, 0], [3, 0], [2, 0], [1, 9], [0, 9]]),
    ],
)  # fmt: skip
def test_targets_are_those_of_attribute(models, photos, targets, rows):
    found = vizkit.compare(models[:2], photos, targets=targets)
    assert found.same_classes
    for model in models[:2]:
        assert found.attributions[model.name].targets.tolist() == rows
        expected = vizkit.attribute(model, photos, targets=targets)
        assert torch.equal(found.attributions[model.name].targets, expected.targets)


def test_ranked_targets_are_the_same_for_all(models, photos):
    found = vizkit.compare(models, photos, targets="top3")
    shares = [found.maps[name].logits.double().softmax(dim=1) for name in NAMES]
    expected = torch.stack(shares).mean(dim=0).topk(3, dim=1).indices
    for each in found.attributions.values():
        assert torch.equal(each.targets, expected)


def test_tensor_targets_go_with_their_images_over_many_batches():
    nets = [a_net("a"), a_net("b", seed=1)]
    images = torch.randn(21, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(21) % 4
    found = vizkit.compare(nets, images, targets=rows)
    for net in nets:
        assert found.attributions[net.name].targets[:, 0].tolist() == rows.tolist()
        expected = vizkit.attribute(net, images, targets=rows).values["grad_cam"]["stride4"]
        own = found.attributions[net.name].values["grad_cam"]["stride4"]
        assert torch.allclose(own, expected, atol=1e-6)


def test_a_number_that_means_different_classes_is_said(models, photos):
    order = [1, 0, *range(2, 10)]
    pair = [models[1], permuted(models[1], order)]
    assert not vizkit.compare(pair, photos["rocket"], targets=0).same_classes
    assert vizkit.compare(pair, photos["rocket"], targets=5).same_classes
    assert not vizkit.compare(pair, photos["rocket"], targets=torch.tensor([1])).same_classes
    assert vizkit.compare(pair, photos["rocket"], targets="church").same_classes


def test_one_number_of_many_that_means_different_classes_is_said():
    """The first images are explained in another batch than the last."""
    pair = [a_net("a", WORDS), a_net("b", ["dog", "cat", *WORDS[2:]], seed=1)]
    images = torch.randn(20, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    for n in (0, 19):
        rows = torch.full((20,), 2)
        rows[n] = 1
        assert not vizkit.compare(pair, images, targets=rows).same_classes
    assert vizkit.compare(pair, images, targets=torch.full((20,), 2)).same_classes


def test_against_is_that_of_attribute(models, photos):
    found = vizkit.compare(models[:2], photos["rocket"], targets="church", against="parachute")
    own = found.attributions[NAMES[1]]
    expected = vizkit.attribute(
        models[1], photos["rocket"], targets="church", against="parachute"
    )  # fmt: skip
    assert own.against == expected.against
    for key, values in expected.values["grad_cam"].items():
        assert torch.allclose(own.values["grad_cam"][key], values, atol=1e-6)


# --- the axis ----------------------------------------------------------------------------------


def test_a_stride_that_a_model_lacks_is_empty_and_nothing_is_shifted(rocket):
    assert rocket.axis == (1, 2, 4, 8, 16, 32)
    assert rocket.tap("demo/vovnet19b", 1) is None
    assert rocket.tap("demo/vovnet19b", 2).module == "stem.1"
    for name in NAMES:
        for place in rocket.axis:
            tap = rocket.tap(name, place)
            if tap is not None:
                assert rocket.maps[name][tap].shape[-1] == 128 // place
    table = rocket.to_frame().set_index("model")
    assert table.loc["demo/vovnet19b", "stride 1"] == ""
    assert table.loc["demo/vovnet19b", "stride 2"] == "32 x 64 x 64"
    assert table.loc["demo/vgg11", "stride 1"] == "16 x 128 x 128"


def test_layers_join_on_the_papers_names(vggs, photos):
    found = vizkit.compare(vggs, photos["rocket"], "layers")
    blocks = [2, 2, 4, 4, 4]
    expected = tuple(f"conv{b}_{n + 1}" for b, units in enumerate(blocks, 1) for n in range(units))
    assert found.axis == expected
    assert found.tap("demo/vgg11", "conv3_3") is None
    for place in found.axis:
        taps = [found.tap(model, place) for model in found.models]
        assert len({(tap.name, tap.stride) for tap in taps if tap}) == 1
        assert all(tap.role == "act" for tap in taps if tap)
        assert (taps[0] is None) == (taps[1] is None)
        assert taps[2] is not None


@pytest.mark.parametrize("role", ["conv", "norm", "act", "pool"])
def test_twins_line_up_in_every_role(vggs, photos, role):
    plain, twin = vggs[:2]
    found = vizkit.compare([plain, twin], photos["rocket"], "layers", role=role)
    expected = [t for t in vizkit.find_stages(twin, "layers") if t.role == role]
    assert found.axis == tuple(t.name for t in expected)
    for tap in expected:
        assert found.tap("demo/vgg11_bn", tap.name) == tap
        other = found.tap("demo/vgg11", tap.name)
        if role == "norm":
            assert other is None
        else:
            assert (other.name, other.role, other.stride) == (tap.name, role, tap.stride)
    if role == "norm":
        assert len(found.maps["demo/vgg11"]) == 0
        assert found.attributions["demo/vgg11"].values == {}
        assert found.agreement.empty
        assert set(found.statistics.frame["model"]) == {"demo/vgg11_bn"}
    else:
        assert len(found.agreement) == len(expected)


def test_a_named_layer_is_read_where_there_is_one(vggs, models, photos):
    found = vizkit.compare([vggs[0], vggs[2]], photos["rocket"], ["conv3_2", "conv3_3"])
    assert found.axis == ("conv3_2", "conv3_3")
    assert found.tap("demo/vgg11", "conv3_3") is None
    assert found.tap("demo/vgg19", "conv3_3").role == "conv"
    mixed = vizkit.compare([vggs[0], models[2]], photos["rocket"], "conv3_2")
    assert mixed.axis == ("conv3_2",)
    assert mixed.tap("demo/vovnet19b", "conv3_2") is None
    roles = vizkit.compare(vggs[:2], photos["rocket"], ["conv3_2", "conv4_1"], role="act")
    assert roles.axis == ("conv3_2", "conv4_1")
    assert {tap.role for own in roles.places.taps.values() for tap in own.values()} == {"act"}
    both = vizkit.compare(vggs[:2], photos["rocket"], ["conv3_2:conv", "conv3_2:norm"])
    assert both.axis == ("conv3_2:conv", "conv3_2:norm")
    assert both.tap("demo/vgg11", "conv3_2:norm") is None


def test_a_module_that_gives_no_maps_is_an_error_and_not_missing():
    a = a_net("a")
    module = nn.Sequential(*a.module[:5], nn.Identity(), nn.Identity(), *a.module[5:])
    b = vizkit.wrap(module, name="b", transform=SMALL)
    with pytest.raises(InputError, match=r"'6' gives shape \(1, 8\), not two-dimensional maps"):
        vizkit.compare([b, a], vizkit.samples()["rocket"], ["6"])


def test_agreement_is_between_maps_at_the_same_place():
    """Tap names are module paths here, and the same path lies at another stride."""
    a = a_net("a", stages=["2", "4"])
    module = nn.Sequential(nn.MaxPool2d(2), a.module[0], nn.Identity(), *a.module[2:])
    b = vizkit.wrap(module, name="b", transform=SMALL, stages=["0", "4"])
    found = vizkit.compare([a, b], vizkit.samples()["rocket"])
    assert found.axis == (2, 4, 8) or found.axis == (2, 4)
    shared = [p for p in found.axis if found.tap("a", p) and found.tap("b", p)]
    assert list(found.agreement["stage_a"]) == [f"stride{p}" for p in shared]
    assert (found.agreement["stage_a"] == found.agreement["stage_b"]).all()
    row = found.agreement.iloc[-1]
    taps = [found.tap(name, shared[-1]) for name in "ab"]
    alone = [
        found.attributions[name].select(stages=tap.name)
        for name, tap in zip("ab", taps, strict=True)
    ]
    expected = vizkit.agreement(alone).iloc[0]
    assert row["spearman"] == pytest.approx(expected["spearman"])


def test_two_stages_at_one_stride_join_on_names():
    net = a_net("twice", stages=["2", "3", "4"])
    found = vizkit.compare([net, a_net("once")], vizkit.samples()["rocket"])
    assert not found.places.by_stride
    assert [found.tap("twice", place).module for place in ("2", "3", "4")] == ["2", "3", "4"]
    assert len(found.maps["twice"]) == 3


def test_gates_and_a_single_stage():
    found = vizkit.compare("demo/vovnet19b", vizkit.samples()["rocket"], "gates")
    assert all(maps.shape[-2:] == (1, 1) for maps in found.maps["demo/vovnet19b"].values())
    one = vizkit.wrap(
        nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        name="one", transform=SMALL,
    )  # fmt: skip
    assert vizkit.compare([one, a_net("two")], vizkit.samples()["rocket"]).axis == (1, 2, 4)


def test_models_of_other_libraries_without_their_weights():
    names = ["torchvision/vgg11", "resnet18", "convnext_atto", "mobilenetv3_small_050"]
    models = [vizkit.load(name, weights=None, device="cpu") for name in names]
    found = vizkit.compare(models, vizkit.samples()["rocket"])
    assert found.axis == (1, 2, 4, 8, 16, 32)
    missing = {n: [p for p in found.axis if found.tap(n, p) is None] for n in names}
    assert missing == {names[0]: [], names[1]: [1], names[2]: [1, 2], names[3]: [1]}
    assert found.same_classes
    classes = {found.attributions[n].target_name(0, 0) for n in names}
    assert len(classes) == 1
    assert len(set(found.transforms.values())) > 1


# --- inputs ------------------------------------------------------------------------------------


def test_other_transforms_are_told_and_can_be_made_one(photos):
    other = Transform(size=(48, 32), resize=(60, 60), mean=(0.5,) * 3, std=(0.25,) * 3)
    nets = [a_net("a"), a_net("b", transform=other)]
    found = vizkit.compare(nets, photos)
    assert found.transforms == {"a": str(SMALL), "b": str(other)}
    assert list(found.to_frame()["input"]) == [str(SMALL), str(other)]
    assert found.maps["b"].inputs.shape[-2:] == (48, 32)

    same = vizkit.compare(nets, photos, same_pixels=True)
    assert len(set(same.transforms.values())) == 1
    pixels = [same.maps[name].seen.pixels for name in "ab"]
    assert np.array_equal(*pixels)
    for name, transform in (("a", SMALL), ("b", other)):
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (transform.mean, transform.std))
        expected = (torch.from_numpy(pixels[0]).movedim(-1, 1) / 255 - mean) / std
        assert torch.allclose(same.maps[name].inputs, expected, atol=1e-5)
    assert np.array_equal(pixels[0], vizkit.capture(nets[0], photos).seen.pixels)
    assert nets[1].transform is other

    view = Transform(size=(64, 64), resize=(64, 64), interpolation="bicubic", mean=(0.0,) * 3)
    given = vizkit.compare(nets, photos, same_pixels=view)
    assert {each.shape[1:3] for each in (given.maps[n].seen.pixels for n in "ab")} == {(64, 64)}
    assert np.array_equal(given.maps["a"].seen.pixels[0], view.view(photos["astronaut"]))
    assert not torch.equal(given.maps["a"].inputs, given.maps["b"].inputs)


def test_a_transform_of_the_users_own_is_seen_and_not_chosen(photos):
    def halved(photo):
        pixels = np.asarray(photo.resize((40, 32)), dtype=np.float32)
        return torch.from_numpy(pixels).movedim(-1, 0) / 510

    nets = [a_net("a"), a_net("own", transform=halved)]
    found = vizkit.compare(nets, photos)
    assert found.transforms["own"] == "the model's own transform"
    for each in (nets, nets[::-1]):
        with pytest.raises(InputError, match="own has a transform of its own kind"):
            vizkit.compare(each, photos, same_pixels=True)


def test_tensors_are_taken_as_they_are(models):
    images = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    nets = [a_net("a"), a_net("b", seed=1)]
    found = vizkit.compare(nets, images)
    for net in nets:
        assert torch.equal(found.maps[net.name].inputs, images)
        assert torch.allclose(
            found.maps[net.name].logits, vizkit.capture(net, images).logits, atol=1e-6
        )
    assert found.images == ("image 1", "image 2", "image 3")
    assert set(found.transforms.values()) == {"tensor, 96 x 64 px"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_other_precision(dtype, photos):
    half = a_net("half")
    module = a_net("other").module.to(dtype)
    other = vizkit.wrap(module, name="other", transform=SMALL)
    found = vizkit.compare([half, other], photos)
    assert found.maps["other"].logits.dtype == dtype
    assert torch.allclose(
        found.maps["other"].logits.double(), found.maps["half"].logits.double(), atol=0.1, rtol=0.05
    )
    assert np.isfinite(found.agreement["spearman"]).all()


def test_one_module_under_two_names(photos):
    net = a_net()
    found = vizkit.compare({"left": net, "right": net.module}, torch.randn(2, 3, 32, 40))
    assert found.models == ("left", "right")
    assert torch.equal(found.maps["left"].logits, found.maps["right"].logits)
    assert np.allclose(found.agreement["spearman"].dropna(), 1)
    again = vizkit.compare([net, net], torch.randn(2, 3, 32, 40))
    assert again.models == ("net", "net (2)")


def test_unreadable_files_are_listed_and_left_out(folder):
    nets = [a_net("a", WORDS), a_net("b", WORDS, seed=1)]
    damaged = [folder / "cat" / "0.png", folder / "dog" / "3.png"]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:50])
    found = vizkit.compare(nets, folder, statistics=["mean", "median"])
    assert list(found.failed["file"]) == [str(path) for path in damaged]
    assert found.failed["reason"].str.contains("damaged|cannot|not an image").all()
    assert len(found.images) == found.statistics.images == 6
    assert not any(name in found.images for name in ("cat/0.png", "dog/3.png"))
    expected = vizkit.describe(nets, folder, ["mean", "median"])
    pd.testing.assert_frame_equal(found.statistics.frame, expected.frame, rtol=1e-5)
    pd.testing.assert_frame_equal(found.failed, expected.failed)


def test_targets_of_unreadable_files_are_left_out_with_them(folder):
    nets = [a_net("a"), a_net("b", seed=1)]
    names = [photo.name for photo in as_images(folder)]
    (folder / names[2]).write_bytes(b"no image")
    rows = torch.arange(8) % 4
    found = vizkit.compare(nets, folder, targets=rows)
    assert found.images == (*names[:2], *names[3:])
    expected = rows[:2].tolist() + rows[3:].tolist()
    assert found.attributions["a"].targets[:, 0].tolist() == expected


def test_a_photo_too_long_and_narrow_is_listed(tmp_path):
    Image.new("RGB", (1, 20000)).save(tmp_path / "thin.png")
    Image.new("RGB", (50, 40), (9, 99, 200)).save(tmp_path / "wide.png")
    net = vizkit.wrap(a_net().module, name="a", transform=Transform(size=(99, 99)))
    found = vizkit.compare(net, tmp_path)
    assert found.images == ("wide.png",)
    assert "too long and narrow" in found.failed["reason"][0]


def test_no_readable_file_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"none of the images can be read: .*a\.png"):
        vizkit.compare(a_net(), tmp_path)


def test_what_would_not_fit_in_memory_is_refused_after_the_first_photos(folder, monkeypatch):
    import vizkit.images.photos
    import vizkit.memory

    nets = [a_net("a"), a_net("b", seed=1)]
    seen = []
    read = vizkit.images.photos.read
    monkeypatch.setattr(vizkit.images.photos, "read", lambda path: seen.append(path) or read(path))
    for n in range(30):
        Image.new("RGB", (64, 64), (n, n, n)).save(folder / "cat" / f"more {n}.png")
    with monkeypatch.context() as patch:
        patch.setattr(vizkit.memory, "room_on", lambda _device: 2_000_000)
        with pytest.raises(vizkit.TooLargeError, match=r"the maps of 30 more images .* describe"):
            vizkit.compare(nets, folder)
    assert len(seen) <= 8
    assert len(vizkit.compare(nets, folder).images) == 38


# --- bad options -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"role": "atc"}, "unknown role 'atc'; did you mean 'act'"),
        ({"role": ""}, "unknown role ''"),
        ({"at": "layers", "role": "gate"}, "no role 'gate' at 'layers' .* choose from conv, norm"),
        ({"at": "stage"}, "unknown stage, layer or module 'stage'"),
        ({"at": ["conv9_9"]}, "unknown stage, layer or module 'conv9_9'"),
        ({"at": []}, r"no taps to read: at=\[\]"),
        ({"at": None}, "no taps to read: at=None"),
        ({"methods": "gradcam"}, "unknown method 'gradcam'; did you mean 'grad_cam'"),
        ({"methods": []}, "no methods: choose from"),
        ({"n_steps": 3}, "unknown option of grad_cam 'n_steps'"),
        ({"targets": "churhc"}, "unknown class 'churhc'"),
        ({"targets": 99}, "unknown target 99: choose from 0 to"),
        ({"targets": -1}, "unknown target -1: choose from 0 to"),
        ({"targets": 1.5}, "unknown target 1.5: give an index"),
        ({"targets": [None]}, "unknown target None: give an index"),
        ({"targets": []}, "no targets: the list is empty"),
        ({"targets": "top0"}, "unknown target 'top0'"),
        ({"targets": "top99"}, "unknown target 'top99': the models share 4"),
        ({"targets": torch.tensor([1, 2])}, r"for the 1 images given, not torch.int64 \(2,\)"),
        ({"targets": torch.tensor([0.5])}, "whole numbers"),
        ({"against": "nobody"}, "unknown class 'nobody'"),
        ({"against": 9}, "unknown target 9"),
        ({"statistics": "sparsty"}, "unknown statistic 'sparsty'; did you mean 'sparsity'"),
        ({"statistics": "gradient_norm"}, "gradient_norm: statistics of gradients"),
        ({"same_pixels": "yes"}, "same_pixels takes True, False or a Transform, not 'yes'"),
        ({"same_pixels": 1}, "same_pixels takes True, False or a Transform, not 1"),
        ({"k": 0}, "k must be a whole number of at least 1, not 0"),
        ({"k": 2.5}, "k must be a whole number"),
    ],
)
def test_bad_options_are_named(options, message, unchanged):
    nets = [a_net("a", WORDS), a_net("b", WORDS, seed=1)]
    with unchanged(nets[0].module), pytest.raises(InputError, match=message):
        vizkit.compare(nets, vizkit.samples()["rocket"], **options)


def test_bad_models_and_images_are_named():
    photo = vizkit.samples()["rocket"]
    with pytest.raises(InputError, match="no models"):
        vizkit.compare([], photo)
    with pytest.raises(InputError, match="a model is a name"):
        vizkit.compare([3], photo)
    with pytest.raises(InputError, match="no such image: missing"):
        vizkit.compare(a_net(), "missing.png")
    with torch.inference_mode():
        made = a_net("made").module
    with pytest.raises(InputError, match=r"made was made in torch.inference_mode\(\)"):
        vizkit.compare([a_net(), vizkit.wrap(made, name="made", transform=SMALL)], photo)


# --- the result --------------------------------------------------------------------------------


def test_a_comparison_is_a_mapping_from_models_to_their_parts(found):
    assert list(found) == list(found.keys()) == NAMES
    assert len(found) == 3
    assert "demo/vgg11" in found
    assert "demo/vgg12" not in found
    assert found.get("demo/vgg12") is None
    assert found.get("demo/vgg12", 3) == 3
    assert found.get("demo/vgg11").model == "demo/vgg11"
    assert found == found
    assert {found: 1}[found] == 1
    for name, part in found.items():
        assert part.model == name
        assert part.maps is found.maps[name]
        assert part.attributions is found.attributions[name]
        tables = (part.predictions, part.statistics.frame, part.statistics.channels, part.profile)
        for table in tables:
            assert len(table)
            assert set(table["model"]) == {name}
            assert table.index[0] == 0
    with pytest.raises(InputError, match="unknown model 'demo/vgg12'; did you mean 'demo/vgg1"):
        found["demo/vgg12"]
    with pytest.raises(InputError, match="unknown model"):
        found.tap("demo/vgg12", 2)
    with pytest.raises(InputError, match=r"unknown stride 3; .* 1, 2, 4, 8, 16, 32"):
        found.tap("demo/vgg11", 3)
    with pytest.raises(AttributeError):
        found.maps = {}


@pytest.mark.parametrize("n", [0, 4, 7, -1, -10])
def test_select_is_one_image_of_all(found, n):
    one = found.select(n)
    assert isinstance(one, Comparison)
    assert one.images == (found.images[n],)
    assert one.axis == found.axis
    for name in NAMES:
        for tap, maps in one.maps[name].items():
            assert torch.equal(maps[0], found.maps[name][tap][n])
        own, every = one.attributions[name], found.attributions[name]
        assert torch.equal(own.targets[0], every.targets[n])
        assert torch.equal(
            own.values["grad_cam"]["stride8"][0], every.values["grad_cam"]["stride8"][n]
        )
        rows = one[name].predictions
        assert len(rows) == 5
        assert rows["rank"].tolist() == [1, 2, 3, 4, 5]
        for rank in (1, 5):
            assert rows.iloc[rank - 1]["logit"] == predicted(found, name, n % 10, rank)["logit"]
    again = one.select(0)
    pd.testing.assert_frame_equal(again.predictions, one.predictions)


@pytest.mark.parametrize("n", [10, -11])
def test_select_refuses_an_image_that_is_not_there(found, n):
    with pytest.raises(InputError, match=f"no image {n}: there are 10"):
        found.select(n)


def test_repr_says_what_it_is(found, vggs, photos):
    expected = f"Comparison of {', '.join(NAMES)} on 10 image(s), strides 1, 2, 4, 8, 16, 32"
    assert repr(found) == expected
    html = found._repr_html_()
    assert "32 x 64 x 64" in html
    odd = vizkit.compare({"<b>&": vggs[0]}, photos["rocket"], ["conv1_1", "conv2_1"])
    assert repr(odd).endswith("layers conv1_1, conv2_1")
    assert "<b>" not in odd._repr_html_()
    assert "&lt;b&gt;" in odd._repr_html_()


def test_k_lists_as_many_classes_as_there_are(models, photos):
    found = vizkit.compare(models[:2], photos["rocket"], k=3)
    assert len(found.predictions) == 6
    assert len(vizkit.compare(models[0], photos["rocket"], k=1000).predictions) == 10


def test_methods_that_need_no_stage_still_come_with_maps(models, photos):
    found = vizkit.compare(models, photos["rocket"], methods="saliency")
    for model in models:
        own = found.attributions[model.name].values
        assert list(own) == ["saliency"]
        expected = vizkit.attribute(
            model, photos["rocket"], "saliency", found.attributions[model.name].targets
        ).values["saliency"]["input"]
        assert torch.allclose(own["saliency"]["input"], expected, atol=1e-6)
        assert found.maps[model.name].taps == model.stages


def test_a_method_of_the_last_stage_alone(models, photos):
    found = vizkit.compare(models[2], photos["rocket"], methods="cam")
    assert list(found.attributions["demo/vovnet19b"].values["cam"]) == ["stride32"]
    with pytest.raises(InputError, match="cam needs a classifier of global average pooling"):
        vizkit.compare(models, photos["rocket"], methods="cam")


def test_activations_that_are_not_finite_are_said(photos):
    net = a_net("odd")
    with torch.no_grad():
        net.module[0].weight[0] = torch.inf
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vizkit.compare(net, photos["rocket"])
    assert any("not finite" in str(each.message) for each in caught)
