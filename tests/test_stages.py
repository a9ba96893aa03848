"""Stages and layers are found where the papers and timm say they are."""

import pytest
import timm
import torch
import torchvision
from torch import nn

import vizkit
from vizkit.errors import InputError, VizkitError
from vizkit.results import Tap
from vizkit.stages import find_stages, role_of, trace

UNITS = {11: (1, 1, 2, 2, 2), 13: (2,) * 5, 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
VGGS = [(depth, norm) for depth in UNITS for norm in (False, True)]
TIMM_STAGES = {
    "vgg11": "features.1 features.4 features.9 features.14 features.19 features.20",
    "vgg11_bn": "features.2 features.6 features.13 features.20 features.27 features.28",
    "vgg19": "features.3 features.8 features.17 features.26 features.35 features.36",
    "vgg19_bn": "features.5 features.12 features.25 features.38 features.51 features.52",
    "ese_vovnet19b_dw": "stem.1 stages.0 stages.1 stages.2 stages.3",
}


def on_meta(source, name):
    """A full-size network that takes no memory."""
    with torch.device("meta"):
        if source == "timm":
            return timm.create_model(name)
        options = {"init_weights": False} if name.startswith("vgg") else {}
        return torchvision.models.get_model(name, weights=None, **options)


def tiny(**changes):
    parts = {
        "conv1": nn.Conv2d(3, 4, 3, padding=1),
        "norm1": nn.BatchNorm2d(4),
        "act1": nn.ReLU(inplace=True),
        "conv2": nn.Conv2d(4, 8, 3, stride=2, padding=1),
        "act2": nn.GELU(),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "head": nn.Linear(8, 5),
    }
    net = nn.Sequential()
    for name, module in {**parts, **changes}.items():
        net.add_module(name, module)
    return net


class TestStages:
    @pytest.mark.parametrize("name", TIMM_STAGES)
    def test_timm_paths(self, name):
        taps = find_stages(on_meta("timm", name))
        assert [tap.module for tap in taps] == TIMM_STAGES[name].split()
        first = 1 if name.startswith("vgg") else 2
        assert [tap.stride for tap in taps] == [s for s in (1, 2, 4, 8, 16, 32) if s >= first]
        assert [tap.name for tap in taps] == [f"stride{tap.stride}" for tap in taps]

    @pytest.mark.parametrize(("depth", "norm"), VGGS)
    def test_vgg_of_timm_and_torchvision_have_the_same_stages(self, depth, norm):
        name = f"vgg{depth}" + "_bn" * norm
        taps = find_stages(on_meta("timm", name))
        assert taps == find_stages(on_meta("torchvision", name))
        assert [tap.role for tap in taps] == ["act"] * 5 + ["pool"]
        assert [tap.channels for tap in taps] == [64, 128, 256, 512, 512, 512]

    @pytest.mark.parametrize(
        ("source", "name", "stages"),
        [
            ("timm", "resnet18", {2: 64, 4: 64, 8: 128, 16: 256, 32: 512}),
            ("torchvision", "resnet18", {2: 64, 4: 64, 8: 128, 16: 256, 32: 512}),
            ("timm", "convnext_tiny", {4: 96, 8: 192, 16: 384, 32: 768}),
            ("torchvision", "convnext_tiny", {4: 96, 8: 192, 16: 384, 32: 768}),
            ("timm", "densenet121", {2: 64, 4: 256, 8: 512, 16: 1024, 32: 1024}),
            ("torchvision", "densenet121", {2: 64, 4: 256, 8: 512, 16: 1024, 32: 1024}),
            ("timm", "mobilenetv2_100", {2: 16, 4: 24, 8: 32, 16: 96, 32: 320}),
            ("torchvision", "mobilenet_v2", {2: 16, 4: 24, 8: 32, 16: 96, 32: 1280}),
            ("torchvision", "swin_t", {4: 96, 8: 192, 16: 384, 32: 768}),
        ],
    )
    def test_other_networks(self, source, name, stages):
        taps = find_stages(on_meta(source, name))
        assert {tap.stride: tap.channels for tap in taps} == stages
        # swin works on (N, h, w, C) and turns the last map round
        assert sum(tap.channels_last for tap in taps) == (3 if name == "swin_t" else 0)

    def test_a_stage_is_named_once_even_if_it_has_many_blocks(self):
        with torch.device("meta"):
            net = timm.create_model("resnet18", output_stride=8)
        assert [tap.stride for tap in find_stages(net)] == [2, 4, 8]
        assert find_stages(net)[-1].module == "layer4"

    def test_a_plain_sequence_of_modules(self):
        taps = find_stages(tiny())
        assert taps == [
            Tap("stride1", "act1", "act", 1, 4),
            Tap("stride2", "act2", "act", 2, 8),
        ]

    def test_a_wrapped_network(self):
        net = nn.Module()
        net.inner = tiny()
        net.forward = lambda x: net.inner(x)
        assert [tap.module for tap in find_stages(net)] == ["inner.act1", "inner.act2"]

    def test_a_network_that_takes_one_size_only(self):
        net = tiny(pool=nn.MaxPool2d(2), head=nn.Linear(8 * 56 * 56, 5))
        assert [tap.module for tap in find_stages(net)] == ["act1", "act2", "pool"]

    def test_a_network_with_a_tensor_that_is_no_buffer(self):
        class Normalised(nn.Module):
            def __init__(self):
                super().__init__()
                self.mean = torch.full((1, 3, 1, 1), 0.5)
                self.inner = tiny()

            def forward(self, x):
                return self.inner(x - self.mean)

        assert [tap.module for tap in find_stages(Normalised())] == ["inner.act1", "inner.act2"]

    def test_a_network_without_maps(self):
        net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 5))
        with pytest.raises(InputError, match="no two-dimensional feature maps"):
            find_stages(net)

    def test_a_network_for_another_size(self):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 5))
        with pytest.raises(VizkitError, match=r"does not run on a \(1, 3, 224, 224\).*Transform"):
            find_stages(net)
        small = vizkit.wrap(net, transform=vizkit.Transform(size=(32, 32), resize=(36, 36)))
        assert [tap.module for tap in small.stages] == ["0"]

    def test_what_is_no_network(self):
        with pytest.raises(InputError, match="not int"):
            find_stages(42)

    @pytest.mark.parametrize("at", ["stages", "layers", ["conv1", "act1"]])
    def test_a_network_in_training_stays_as_it_is(self, unchanged, at):
        net = tiny().train()
        net.norm1.eval()
        with unchanged(net):
            find_stages(net, at)


class TestLayers:
    @pytest.mark.parametrize(("depth", "norm"), VGGS)
    @pytest.mark.parametrize("source", ["timm", "torchvision"])
    def test_vgg_has_the_names_of_the_paper(self, source, depth, norm):
        taps = find_stages(on_meta(source, f"vgg{depth}" + "_bn" * norm), at="layers")
        roles = ("conv", "norm", "act") if norm else ("conv", "act")
        expected = []
        for block, units in enumerate(UNITS[depth], 1):
            stride = 2 ** (block - 1)
            width = (64, 128, 256, 512, 512)[block - 1]
            for unit in range(1, units + 1):
                expected += [(f"conv{block}_{unit}", role, stride, width) for role in roles]
            expected.append((f"pool{block}", "pool", 2 * stride, width))
        assert [(tap.name, tap.role, tap.stride, tap.channels) for tap in taps] == expected
        assert [tap.module for tap in taps] == [f"features.{i}" for i in range(len(taps))]
        assert sum(tap.role == "conv" for tap in taps) == depth - 3  # 3 fully connected layers

    def test_roles_inside_timm_norm_and_act(self):
        taps = find_stages(on_meta("timm", "ese_vovnet19b_dw"), at="layers")
        first = [(tap.module, tap.role) for tap in taps if tap.name == "stem.0.conv"]
        assert first == [
            ("stem.0.conv", "conv"),
            ("stem.0.bn.drop", "norm"),
            ("stem.0.bn.act", "act"),
        ]

    @pytest.mark.parametrize(
        ("source", "name"),
        [
            ("timm", "ese_vovnet19b_dw"),
            ("timm", "densenet121"),
            ("timm", "convnext_tiny"),
            ("torchvision", "convnext_tiny"),
            ("torchvision", "resnet18"),
        ],
    )
    def test_labels_are_unique(self, source, name):
        labels = [tap.label for tap in find_stages(on_meta(source, name), at="layers")]
        assert len(labels) == len(set(labels))

    @pytest.mark.parametrize("name", ["convnext_tiny", "resnet18", "densenet121"])
    def test_no_layer_is_lost(self, name):
        net = on_meta("torchvision", name)
        kinds = (nn.Conv2d, nn.LayerNorm, nn.BatchNorm2d, nn.ReLU, nn.GELU)
        found = {tap.module for tap in find_stages(net, at="layers")}
        expected = {path for path, module in net.named_modules() if isinstance(module, kinds)}
        assert expected - found <= {"classifier.0"}  # ConvNeXt's last norm comes after pooling

    def test_a_module_that_runs_twice(self):
        taps = find_stages(on_meta("torchvision", "resnet18"), at="layers")
        block = [tap for tap in taps if tap.module == "layer1.0.relu"]
        assert [(tap.label, tap.call) for tap in block] == [
            ("layer1.0.conv1:act", 0),
            ("layer1.0.conv2:act#2", 1),
        ]

    def test_channels_behind_places(self):
        taps = find_stages(on_meta("torchvision", "convnext_tiny"), at="layers")
        by_path = {tap.module: tap for tap in taps}
        assert by_path["features.1.0.block.2"].channels_last  # LayerNorm after a permutation
        assert by_path["features.1.0.block.2"].channels == 96
        assert by_path["features.1.0.block.4"].channels == 384  # GELU
        assert not by_path["features.0.1"].channels_last  # LayerNorm2d

    def test_a_network_without_convolutions(self):
        net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 5))
        with pytest.raises(InputError, match="no convolutions"):
            find_stages(net, at="layers")


class TestNamed:
    def test_names_labels_paths_and_taps_in_the_order_asked_for(self):
        net = on_meta("timm", "vgg16_bn")
        own = Tap("mine", "features.0", "conv", 1, 64)
        wanted = ["conv3_2:act", "stride8", "conv1_1", own, "features.1", "features.32", "pool5"]
        taps = find_stages(net, wanted)
        assert [(tap.name, tap.module, tap.role) for tap in taps] == [
            ("conv3_2", "features.19", "act"),
            ("stride8", "features.32", "act"),
            ("conv1_1", "features.0", "conv"),
            ("mine", "features.0", "conv"),
            ("features.1", "features.1", "norm"),
            ("features.32", "features.32", "act"),
            ("pool5", "features.43", "pool"),
        ]

    def test_paths_in_a_network_whose_stages_are_not_found(self):
        net = nn.Sequential(nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(147, 5))
        assert find_stages(net, ["0"]) == [Tap("0", "0", "block", 32, 3)]

    def test_one_name(self):
        assert find_stages(tiny(), "conv2") == [Tap("conv2", "conv2", "conv", 2, 8)]

    def test_a_path_gives_every_call(self):
        taps = find_stages(on_meta("torchvision", "resnet18"), ["layer1.0.relu", "layer2.0"])
        assert [(tap.module, tap.call) for tap in taps] == [
            ("layer1.0.relu", 0),
            ("layer1.0.relu", 1),
            ("layer2.0", 0),
        ]

    @pytest.mark.parametrize(
        ("wrong", "hint"),
        [
            ("stride3", "stride32"),
            ("conv3_5", "conv3_3"),
            ("conv1_1:akt", "conv1_1"),
            ("features.99", "features.9"),
        ],
    )
    def test_unknown_names_are_answered_with_a_suggestion(self, wrong, hint):
        net = on_meta("timm", "vgg16")
        with pytest.raises(InputError, match=f"'{wrong}'; did you mean '{hint}'[?] choose from"):
            find_stages(net, [wrong])

    def test_a_tap_of_another_network(self):
        with pytest.raises(InputError, match=r"module 'features\.0'; choose from"):
            find_stages(tiny(), [Tap("conv1_1", "features.0", "conv", 1, 64)])

    @pytest.mark.parametrize(
        ("path", "reason"),
        [("head", r"\(1, 5\)"), ("pool", r"\(1, 8, 1, 1\)"), ("idle", "not run")],
    )
    def test_a_module_without_maps(self, path, reason):
        net = tiny()
        net.idle = nn.ModuleList([nn.Identity()])
        net.forward = lambda x: nn.Sequential(*list(net.children())[:-1])(x)
        with pytest.raises(InputError, match=reason):
            find_stages(net, [path])


@pytest.mark.parametrize(
    ("module", "role"),
    [
        (nn.Conv2d(3, 3, 1), "conv"),
        (nn.BatchNorm2d(3), "norm"),
        (nn.GroupNorm(1, 3), "norm"),
        (nn.LayerNorm(3), "norm"),
        (timm.layers.BatchNormAct2d(3), "act"),
        (timm.layers.BatchNormAct2d(3, act_layer=nn.ReLU6), "act"),
        (timm.layers.BatchNormAct2d(3, apply_act=False), "norm"),
        (nn.ReLU(), "act"),
        (timm.layers.Swish(), "act"),
        (nn.MaxPool2d(2), "pool"),
        (nn.AvgPool2d(2), "pool"),
        (nn.Dropout(), None),
        (nn.Linear(3, 3), None),
    ],
)
def test_role(module, role):
    assert role_of(module) == role


def test_trace_gives_the_shapes_of_a_real_pass():
    net = tiny()
    shapes = {}
    for path, module in net.named_modules():
        module.register_forward_hook(lambda _m, _i, o, path=path: shapes.update({path: o.shape}))
    net(torch.zeros(1, 3, 20, 30))
    traced = {call.path: call.after for call in trace(net, (20, 30), exact=True)}
    assert traced == {path: tuple(shape) for path, shape in shapes.items()}


class TestGates:
    def test_vovnet_has_one_a_block(self):
        taps = vizkit.find_stages("demo/vovnet19b", "gates")
        assert [tap.role for tap in taps] == ["gate"] * 4
        assert [tap.stride for tap in taps] == [4, 8, 16, 32]
        maps = vizkit.capture("demo/vovnet19b", vizkit.samples(), at="gates")
        for tap, factors in maps.items():
            assert factors.shape == (5, tap.channels, 1, 1)
            assert 0 <= float(factors.min()) <= float(factors.max()) <= 1

    def test_they_are_what_the_maps_are_multiplied_by(self):
        model = vizkit.load("demo/vovnet19b", device="cpu")
        owner = vizkit.find_stages(model, "gates")[0].name
        before = model.module.get_submodule(owner)
        kept = []
        handle = before.register_forward_hook(lambda _m, x, y: kept.append((x[0], y)))
        try:
            maps = vizkit.capture(model, vizkit.samples()["rocket"], at="gates")
        finally:
            handle.remove()
        given, scaled = kept[-1]
        assert torch.allclose(given * next(iter(maps.values())), scaled)

    def test_a_network_without_any_says_so(self, demo):
        with pytest.raises(InputError, match="VGG has no gates"):
            vizkit.find_stages(demo, "gates")


def test_as_many_channels_as_places_are_still_channels():
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    model = vizkit.wrap(net, transform=vizkit.Transform((24, 24), (24, 24)))
    taps = vizkit.find_stages(model, "layers")
    assert [tap.channels for tap in taps if tap.role == "conv"] == [6, 8]
    assert not any(tap.channels_last for tap in taps)
