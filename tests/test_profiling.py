"""Costs as published, and as counted by hand."""

import math
import threading

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import torchvision
from torch import nn

import vizkit
from vizkit.errors import InputError
from vizkit.profiling import CONVENTIONS, count, model_table, profile
from vizkit.profiling.counting import weightless

COLUMNS = [
    "model",
    "stage",
    "stride",
    "channels",
    "height",
    "width",
    "params",
    "gmacs",
    "activations",
    "receptive_field",
]


def on_meta(source, name):
    with torch.device("meta"):
        if source == "timm":
            return timm.create_model(name)
        options = {"init_weights": False} if name.startswith("vgg") else {}
        return torchvision.models.get_model(name, weights=None, **options)


def small():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


# parameters in millions, GMACs and millions of activations, at the network's own size
@pytest.mark.parametrize(
    ("source", "name", "params", "gmacs", "activations"),
    [
        ("timm", "vgg19", 143.667, 19.63, 14.86),
        ("torchvision", "vgg19", 143.667, 19.63, 14.86),
        ("timm", "ese_vovnet19b_dw", 6.543, 1.33, 8.25),
        ("timm", "resnet18", 11.690, 1.82, 2.48),
        ("timm", "mobilenetv2_100", 3.505, 0.30, 6.68),
    ],
)
def test_published(source, name, params, gmacs, activations):
    frame = profile(on_meta(source, name))
    total = frame.iloc[-1]
    assert total["stage"] == "total"
    assert total["params"] / 1e6 == pytest.approx(params, abs=5e-4)
    assert total["gmacs"] == pytest.approx(gmacs, abs=7e-3)
    assert total["activations"] == pytest.approx(activations, abs=5e-3)


@pytest.mark.parametrize(
    "name", ["vgg11_bn", "ese_vovnet19b_dw", "densenet121", "convnext_tiny", "resnet18"]
)
def test_rows_add_up_to_the_total(name):
    net = on_meta("timm", name)
    frame = profile(net)
    assert list(frame.columns) == COLUMNS
    rows, total = frame.iloc[:-1], frame.iloc[-1]
    assert list(rows["stage"]) == [tap.name for tap in vizkit.find_stages(net)] + ["head"]
    assert rows["params"].sum() == total["params"] == sum(p.numel() for p in net.parameters())
    assert rows["gmacs"].sum() == pytest.approx(total["gmacs"])
    assert rows["activations"].sum() == pytest.approx(total["activations"])
    assert (rows["gmacs"] > 0).all() or name.startswith("vgg")  # its last stage is a pool
    assert frame["receptive_field"].isna().tolist() == [False] * (len(rows) - 1) + [True, True]


def test_every_stage_of_vgg19_by_hand():
    frame = profile(on_meta("timm", "vgg19")).set_index("stage")
    widths = [[64, 64], [128, 128], [256] * 4, [512] * 4, [512] * 4]
    before = 3
    for block, block_widths in enumerate(widths):
        macs = params = activations = 0
        # the block's last pool belongs to the next stage, and so does nothing else of it
        places = (224 >> block) ** 2
        for width in block_widths:
            macs += 9 * before * width * places
            params += 9 * before * width + width
            activations += width * places
            before = width
        row = frame.loc[f"stride{2**block}"]
        assert row["gmacs"] == pytest.approx(macs / 1e9)
        assert row["params"] == params
        assert row["activations"] == pytest.approx(activations / 1e6)
        assert (row["height"], row["width"], row["channels"]) == (*(224 >> block,) * 2, width)
    assert frame.loc["stride32", ["params", "gmacs"]].tolist() == [0, 0]
    head = 25088 * 4096 + 4096 * 4096 + 4096 * 1000
    assert frame.loc["head", "gmacs"] == pytest.approx(head / 1e9)
    assert frame.loc["head", "params"] == head + 4096 + 4096 + 1000
    assert frame.loc["stride32", "receptive_field"] == 268


def test_a_small_network_by_hand(unchanged):
    net = small().train()
    with unchanged(net):
        frame = profile(net, size=(20, 30)).set_index("stage")
    assert frame["stride"].tolist()[:2] == [1, 2]
    assert frame["params"].tolist() == [224 + 16, 1152, 85, 1477]
    macs = [27 * 8 * 600, 72 * 16 * 150, 80]
    assert frame["gmacs"].tolist() == pytest.approx([m / 1e9 for m in [*macs, sum(macs)]])
    outputs = [8 * 600, 16 * 150, 5]
    assert frame["activations"].tolist() == pytest.approx(
        [n / 1e6 for n in [*outputs, sum(outputs)]]
    )
    shapes = frame[["channels", "height", "width"]].to_numpy().tolist()
    assert shapes[:3] == [[8, 20, 30], [16, 10, 15], [5, 1, 1]]
    assert frame["receptive_field"].tolist()[:2] == [3, 5]
    assert math.isnan(frame.loc["head", "stride"])


def test_stages_given_in_any_order():
    net = small()
    classifier = vizkit.wrap(net, stages=["3", "0"])
    frame = profile(classifier, size=20)
    assert frame["stage"].tolist() == ["0", "3", "head", "total"]
    by_stage = frame.set_index("stage")
    assert by_stage.loc["0", "params"] == 224
    assert by_stage.loc["3", "params"] == 16 + 1152
    assert by_stage.loc["0", "gmacs"] < by_stage.loc["3", "gmacs"]


def test_what_does_not_run_is_shown():
    class WithSpare(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = small(), nn.Linear(7, 3)
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return self.used(x) * self.scale.mean()

    frame = profile(WithSpare(), size=20).set_index("stage")
    assert frame.loc["unused", "params"] == 24
    assert frame.loc["head", "params"] == 85 + 2
    assert frame["params"].iloc[:-1].sum() == frame.loc["total", "params"]


def test_operations_outside_of_any_layer_are_counted():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small()
            self.weight = nn.Parameter(torch.ones(3, 3, 3, 3))

        def forward(self, x):
            return self.inner(nn.functional.conv2d(x, self.weight, padding=1))

    plain, own = (
        profile(net, size=20).set_index("stage")["gmacs"] for net in (small(), Functional())
    )
    assert (own - plain)["total"] * 1e9 == pytest.approx(81 * 400)
    assert (own - plain)["stride1"] * 1e9 == pytest.approx(81 * 400)


def test_a_module_that_runs_twice_is_counted_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.conv(self.conv(x)).mean(dim=(-2, -1))

    frame = profile(Twice(), size=20).set_index("stage")
    assert frame.loc["total", "params"] == 84
    assert frame.loc["total", "gmacs"] * 1e9 == pytest.approx(2 * 81 * 400)
    assert frame.loc["stride1", "receptive_field"] == 5


def test_a_network_with_a_tensor_that_is_no_buffer():
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = torch.full((1, 3, 1, 1), 0.5)
            self.inner = small()

        def forward(self, x):
            return self.inner(x - self.mean)

    columns = ["params", "gmacs", "activations", "receptive_field"]
    plain, own = (profile(net, size=20)[columns] for net in (small(), Normalised()))
    assert own.equals(plain)


def test_type_makes_no_difference():
    assert profile(small().bfloat16(), size=20).equals(profile(small(), size=20))


def test_sizes(demo):
    own = profile(demo)
    assert own.equals(profile(demo, size=128))
    assert own.equals(profile(demo, size=(128, 128)))
    assert own.equals(profile(demo, size=np.int64(128)))
    assert profile(demo, size=256)["gmacs"][0] == pytest.approx(4 * own["gmacs"][0])


def test_the_last_map_may_have_one_place():
    frame = profile(on_meta("timm", "resnet18"), size=32).set_index("stage")
    assert frame.loc["stride32", ["height", "width"]].tolist() == [1, 1]
    assert frame.loc["stride32", "receptive_field"] == 435


@pytest.mark.parametrize("size", [0, -1, (0, 20)])
def test_impossible_sizes(size):
    with pytest.raises(InputError, match="at least 1"):
        profile(small(), size=size)


def test_a_network_without_maps_at_its_stages():
    with pytest.raises(InputError, match="no feature maps at stride16"):
        profile(on_meta("timm", "vit_tiny_patch16_224"))


def test_other_threads_never_see_a_network_on_the_meta_device():
    model = vizkit.load("demo/vgg11")
    photo = vizkit.samples()["rocket"]
    errors = []

    def repeat(work):
        try:
            for _ in range(12):
                work()
        except Exception as error:
            errors.append(error)

    works = [
        lambda: vizkit.profile(model),
        lambda: vizkit.capture(model, photo),
        lambda: vizkit.attribute(model, photo),
        lambda: vizkit.find_stages(model, "layers"),
    ]
    threads = [threading.Thread(target=repeat, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    assert errors == []


VGGS = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]


@pytest.fixture(scope="module")
def pages():
    return model_table()


def test_pages_of_all_models(pages):
    found = pages.groupby("page")["model"].apply(list).to_dict()
    assert found == {
        "timm card": [*VGGS, "ese_vovnet19b_dw"],
        "timm results": [*VGGS, "ese_vovnet19b_dw", "ese_vovnet19b_dw"],
        "torch.hub": VGGS,
        "torchvision": VGGS,
        "mmpretrain": VGGS,
    }
    vovnet = pages[pages["model"] == "ese_vovnet19b_dw"]
    assert list(vovnet["input_size"]) == [224, 224, 288]
    assert set(CONVENTIONS) == set(found)


@pytest.mark.parametrize("page", ["timm card", "timm results", "torchvision", "mmpretrain"])
def test_counted_is_printed_to_the_digits_of_the_page(pages, page):
    own = pages[pages["page"] == page]
    assert list(own["agrees"]) == [True] * len(own)
    # again, by half of the last digit that is printed
    steps = {"timm card": 0.05, "timm results": 0.005, "torchvision": 5e-4, "mmpretrain": 0.005}
    apart = (own["gmacs"] - own["gmacs_counted"]).abs()
    assert len(apart) >= 8
    assert apart.max() <= steps[page] * 1.000001
    apart = (own["params"] - own["params_counted"]).abs()
    assert apart.max() <= min(steps[page], 0.05) * 1.000001
    assert own["activations_counted"].notna().all() == page.startswith("timm")


def test_the_conventions_differ_as_the_pages_do(pages):
    counted = pages[pages["model"] == "vgg19_bn"].set_index("page")["gmacs_counted"]
    normalised = 14.852096e-3
    assert counted["torchvision"] == pytest.approx(19.632062464)
    assert counted["timm card"] == pytest.approx(19.632062464 + 2 * normalised)
    # a bias and a ReLU for each output, but for the last ReLU; max-pools take the blocks' maps
    pooled = sum(w * (224 >> n) ** 2 for n, w in enumerate((64, 128, 256, 512, 512))) / 1e9
    extra = 2 * 14.861288e-3 - 1000e-9 + pooled
    assert counted["mmpretrain"] == pytest.approx(counted["timm card"] + extra)


def test_published_accuracies(pages):
    own = pages.set_index(["model", "page"])
    hub = own.loc[("vgg11_bn", "torch.hub")]
    assert (hub["top1"], hub["top5"]) == (73.3, 91.42)
    assert "misprint" in hub["note"]
    assert hub["agrees"] is None
    assert (own.drop(index=("vgg11_bn", "torch.hub"))["note"].str.contains("misprint")).sum() == 0
    assert own.loc[("vgg11_bn", "torchvision"), "top1"] == 70.37
    assert own.loc[("vgg16", "mmpretrain"), "top5"] == 90.49
    vovnet = own.loc[("ese_vovnet19b_dw", "timm results")].set_index("input_size")
    assert vovnet["top1"].to_dict() == {224: 76.83, 288: 77.79}
    # all pages but mmpretrain's are of the same weights, and hub's misprint is the only one
    for model in VGGS:
        same = own.loc[model].drop(index="mmpretrain")["top1"].dropna()
        assert (same.max() - same.min() < 0.1) == (model != "vgg11_bn")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("torchvision/vgg16_bn", "vgg16_bn"),
        ("mmpretrain/vgg16bn_8xb32_in1k", "vgg16_bn"),
        ("timm/vgg16_bn.tv_in1k", "vgg16_bn"),
    ],
)
def test_pages_by_any_name(pages, name, key):
    found = model_table(name)
    assert set(found["model"]) == {name}
    expected = pages[pages["model"] == key].reset_index(drop=True)
    columns = ["page", "params", "gmacs_counted", "agrees", "top1"]
    assert found[columns].equals(expected[columns])


def test_a_network_that_is_not_as_published_does_not_agree():
    with torch.device("meta"):
        net = timm.create_model("vgg11", num_classes=10)
    found = model_table(net).set_index("page")
    assert found["agrees"].to_dict() == {
        "timm card": False, "timm results": False, "torch.hub": None,
        "torchvision": False, "mmpretrain": False,
    }  # fmt: skip
    assert found.loc["torchvision", "params_counted"] == pytest.approx(132.863336 - 4097 * 0.00099)
    assert found.loc["torchvision", "params"] == 132.863336


@pytest.mark.parametrize("name", ["resnet50", "demo/vgg11", "torchvision/resnet18", "vgg12"])
def test_models_without_pages(name):
    with pytest.raises(InputError, match=r"unknown model on the pages '.*'.* choose from vgg11, "):
        model_table(["vgg11", name])


def test_counts_of_a_small_network_by_hand(unchanged):
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    ).train()
    with unchanged(net):
        found = count(net, (6, 10))
    assert found.params == 216 + 16 + 36 + 25
    assert found.macs == 216 * 60 + 32 * 15 + 20
    assert found.activations == 480 + 60 + 5
    assert found.biases == 60 + 5
    assert found.normalised == found.rectified == found.pooled == 480


@pytest.mark.parametrize("name", ["vgg19_bn", "torchvision/vgg11", "mmpretrain/vgg13"])
def test_a_model_is_built_without_memory(name):
    module = weightless(name).module
    assert all(tensor.is_meta for tensor in module.parameters())
    assert torch.ones(1).device.type == "cpu"


@pytest.mark.parametrize(
    ("name", "size", "params"),
    [("torchvision/regnet_x_400mf", 224, 5_495_976), ("demo/vgg11", 128, 857_194)],
)
def test_a_model_that_computes_while_it_is_built(name, size, params):
    state = torch.random.get_rng_state()
    parts = weightless(name)
    # it was built in earnest, and nobody notices
    assert not any(tensor.is_meta for tensor in parts.module.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert count(parts.module, (size, size)).params == params


def test_a_source_that_is_none():
    with pytest.raises(InputError, match="unknown source 'tim'; did you mean 'timm'"):
        weightless("tim/vgg11")


def test_a_name_needs_no_weights(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    by_name = profile("ese_vovnet19b_dw")
    pd.testing.assert_frame_equal(by_name, profile(vizkit.load("ese_vovnet19b_dw", weights=None)))
