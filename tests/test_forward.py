"""What is captured is what each module produced, and one forward pass is enough."""

import threading
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F  # noqa: N812

import vizkit
from vizkit.errors import InputError
from vizkit.forward import capture, consumed
from vizkit.results import Tap
from vizkit.stages import find_stages

VGGS = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
OTHERS = ["ese_vovnet19b_dw", "resnet18", "mobilenetv2_100", "densenet121", "convnext_tiny"]
TORCHVISION = ["vgg11", "vgg16_bn", "resnet18", "mobilenet_v2", "densenet121", "convnext_tiny"]


def build(source, name, **options):
    torch.manual_seed(0)
    if source == "timm":
        # the real convolutions, and a head of 1 % of the width, which spares 100 M parameters
        options |= {"mlp_ratio": 0.01} if name.startswith("vgg") else {}
        return timm.create_model(name, **options).eval()
    if not name.startswith("vgg"):
        return torchvision.models.get_model(name, weights=None).eval()
    with torch.device("meta"):
        net = torchvision.models.get_model(name, weights=None, init_weights=False)
    net.classifier = nn.Linear(512 * 7 * 7, 10)
    net.to_empty(device="cpu")
    for module in net.modules():
        getattr(module, "reset_parameters", bool)()
    return net.eval()


@pytest.fixture(
    scope="module",
    params=[("timm", name) for name in VGGS + OTHERS] + [("tv", name) for name in TORCHVISION],
    ids="-".join,
)
def network(request):
    return build(*request.param)


@pytest.fixture(scope="module")
def inputs():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def reference(net, inputs):
    """Every module's outputs, call by call, in a copy of the network without in-place modules."""
    copy = deepcopy(net).eval()
    outputs = {}
    for path, module in copy.named_modules():
        if hasattr(module, "inplace"):
            module.inplace = False
        module.register_forward_hook(
            lambda _m, _i, output, path=path: outputs.setdefault(path, []).append(output.clone())
        )
    with torch.no_grad():
        outputs["logits"] = copy(inputs)
    return outputs


def maps_of(output, tap):
    return output.permute(0, 3, 1, 2) if tap.channels_last else output


class TestRealNetworks:
    def test_every_layer_is_true_and_the_network_left_as_it_was(self, network, inputs, unchanged):
        network.train()
        with unchanged(network):
            captured = capture(network, inputs, at="layers")
        expected = reference(network, inputs)
        with torch.no_grad():
            after = network.eval()(inputs)
        assert torch.equal(captured.logits, expected["logits"])
        assert torch.equal(captured.logits, after)
        for tap, maps in captured.items():
            assert torch.equal(maps, maps_of(expected[tap.module][tap.call], tap)), tap.label
        signed = [maps for tap, maps in captured.items() if tap.role == "conv"]
        assert all((maps < 0).any() for maps in signed)

    def test_every_block_is_true(self, network, inputs):
        expected = reference(network, inputs)
        paths = [
            path
            for path, module in network.named_modules()
            if next(module.children(), None) and path in expected
            # a map of one place is no map, and squeeze-excitation has nothing else
            and expected[path][0].ndim == 4 and expected[path][0].shape[-1] > 1
        ]  # fmt: skip
        captured = capture(network, inputs, at=paths)
        assert [tap.module for tap in find_stages(network, paths)] == paths
        for path in paths:
            truth = maps_of(expected[path][0], captured.tap(path))
            assert torch.equal(captured[path], truth), path

    def test_one_forward_pass(self, network, inputs):
        classifier = vizkit.wrap(network)
        calls = []
        handle = network.register_forward_pre_hook(lambda _m, args: calls.append(len(args[0])))
        capture(classifier, inputs)
        # torchvision's DenseNet overwrites its last map outside of any module: learnt in one more
        assert calls == [2] * (1 + isinstance(network, torchvision.models.DenseNet))
        calls.clear()
        capture(classifier, inputs)
        handle.remove()
        assert calls == [2]


@pytest.mark.parametrize("name", [name for name in VGGS + OTHERS if "mobile" not in name])
def test_stages_are_those_of_timm(name, inputs):
    captured = capture(build("timm", name), inputs)
    with torch.no_grad():
        expected = build("timm", name, features_only=True)(inputs)
    assert len(captured) == len(expected)
    for maps, truth in zip(captured.values(), expected, strict=True):
        assert torch.equal(maps, truth)


@pytest.mark.parametrize("name", ["vgg11_bn", "ese_vovnet19b_dw", "mobilenetv2_100"])
def test_stages_are_timms_intermediates(name, inputs):
    net = build("timm", name)
    captured = capture(net, inputs)
    with torch.no_grad():
        expected = net.forward_intermediates(inputs, intermediates_only=True)
    for maps, truth in zip(captured.values(), expected, strict=True):
        assert torch.equal(maps, truth)


def test_maps_with_channels_behind_places(inputs):
    net = build("timm", "convnext_tiny")
    paths = ["stages.0.blocks.0.norm", "stages.0.blocks.0.mlp.act"]
    captured = capture(net, inputs, at=paths)
    assert [tuple(maps.shape) for maps in captured.values()] == [(2, 96, 16, 16), (2, 384, 16, 16)]
    expected = reference(net, inputs)
    for path in paths:
        assert torch.equal(captured[path], expected[path][0].permute(0, 3, 1, 2))


def test_negatives_survive_before_an_in_place_relu(demo):
    captured = capture(demo, vizkit.samples()["rocket"], at="layers")
    with torch.no_grad():
        truth = demo.module.features[1](demo.module.features[0](captured.inputs))
    assert (truth < 0).sum() > 1000
    assert torch.equal(captured["conv1_1:norm"], truth)
    assert torch.equal(captured["conv1_1:act"], truth.clamp(min=0))


class Own(nn.Module):
    """A small network whose forward is given."""

    def __init__(self, forward):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.other = nn.Conv2d(4, 4, 3, padding=1)
        self.own = forward

    def forward(self, x):
        return self.own(self, x).mean(dim=(-2, -1))


def residual(net, x):
    x = net.conv(x)
    y = net.norm(net.other(x))
    y += x
    return net.act(y)


def functional(net, x):
    return F.relu_(net.other(F.relu_(net.norm(net.conv(x)))))


def views(net, x):
    x = net.norm(net.conv(x))
    x.flatten(2).mul_(2)
    x[:, 0] = 0
    return net.other(x)


def shared(net, x):
    x = net.act(net.norm(net.conv(x)))
    for _ in range(3):
        x = net.act(net.other(x))
    return x


def chained(net, x):
    # the module before the in-place one is no leaf of the network's own forward
    return net.act(net.act(net.other(net.act(net.norm(net.conv(x))).add_(1))))


def changed_input(net, x):
    x.sub_(0.5)
    x = net.conv(x)
    x += 1
    return net.other(x)


FORWARDS = [residual, functional, views, shared, chained, changed_input]


class TestOwnNetworks:
    @pytest.mark.parametrize("forward", FORWARDS)
    @pytest.mark.parametrize("at", ["stages", "layers"])
    def test_code_that_works_in_place(self, forward, at, unchanged):
        net = Own(forward)
        given = torch.randn(2, 3, 16, 16)
        original = given.clone()
        expected = reference(net, given.clone())
        # the first time learns what is overwritten, the second knows
        for _ in range(2):
            with unchanged(net):
                captured = capture(net, given, at=at)
            assert torch.equal(captured.logits, expected["logits"])
            assert torch.equal(captured.inputs, original)
            for tap, maps in captured.items():
                assert torch.equal(maps, expected[tap.module][tap.call]), tap.label
        assert torch.equal(given, original)

    @pytest.mark.parametrize("forward", FORWARDS)
    def test_one_forward_pass_once_learnt(self, forward):
        net = Own(forward)
        classifier = vizkit.wrap(net)
        taps = find_stages(classifier, at="layers")
        given = torch.randn(2, 3, 16, 16)
        calls = []
        net.register_forward_pre_hook(lambda _m, args: calls.append(len(args[0])))
        capture(classifier, given, at=taps)
        assert len(calls) <= 2
        calls.clear()
        capture(classifier, given, at=taps)
        assert calls == [2]

    def test_every_call_of_a_path(self):
        net = Own(shared)
        given = torch.randn(1, 3, 16, 16)
        captured = capture(net, given, at=["other"])
        expected = reference(net, given)["other"]
        assert len(captured) == len(expected) == 3
        for tap, truth in zip(captured, expected, strict=True):
            assert torch.equal(captured[tap], truth)
        assert torch.equal(captured["other"], expected[0])
        assert torch.equal(captured["other:conv#3"], expected[2])

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
    @pytest.mark.parametrize("forward", FORWARDS)
    def test_inside_other_modes(self, mode, forward, unchanged):
        net = Own(forward).train()
        given = torch.randn(1, 3, 16, 16)
        expected = reference(deepcopy(net).eval(), given.clone())
        with mode(), unchanged(net):
            captured = capture(net, given.clone(), at=["conv"])
        assert torch.equal(captured["conv"], expected["conv"][0])
        assert not captured["conv"].requires_grad
        assert not captured.logits.requires_grad

    def test_after_an_error_in_forward(self, unchanged):
        def fail(net, x):
            x = net.norm(net.conv(x))
            if not x.is_meta:
                raise ZeroDivisionError
            return x

        net = Own(fail).train()
        given = torch.randn(1, 3, 16, 16)
        with unchanged(net), pytest.raises(ZeroDivisionError):
            capture(net, given)

    def test_inputs_with_a_gradient(self):
        given = torch.randn(1, 3, 16, 16, requires_grad=True)
        captured = capture(Own(residual), given)
        assert not captured.inputs.requires_grad
        assert given.grad is None

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_other_types(self, dtype):
        net = Own(residual).to(dtype)
        given = torch.randn(1, 3, 16, 16)
        captured = capture(net, given)
        expected = reference(net, given.to(dtype))
        assert captured.logits.dtype == dtype
        assert torch.equal(captured["stride1"], expected["act"][0])

    def test_a_network_made_in_inference_mode(self):
        with torch.inference_mode():
            net = Own(residual)
        captured = capture(net, torch.randn(1, 3, 16, 16))
        assert net.conv.weight.requires_grad
        assert torch.isfinite(captured.logits).all()

    def test_not_a_classifier(self):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        with pytest.raises(InputError, match=r"logits of shape \(N, K\).*\(1, 4, 14, 14\)"):
            capture(net, torch.randn(1, 3, 16, 16))

    def test_a_tap_that_does_not_run(self):
        net = Own(residual)
        with pytest.raises(InputError, match="did not run other:conv#2"):
            capture(net, torch.randn(1, 3, 16, 16), at=[Tap("other", "other", "conv", 1, 4, 1)])

    def test_a_network_without_maps_at_its_stages(self):
        with torch.device("meta"):
            net = timm.create_model("vit_tiny_patch16_224")
        net = net.to_empty(device="cpu")
        with pytest.raises(InputError, match=r"\(1, 197, 192\), not feature maps"):
            capture(net, torch.zeros(1, 3, 224, 224))


@pytest.fixture(scope="module")
def many():
    """More than one batch."""
    return torch.randn(18, 3, 64, 64, generator=torch.Generator().manual_seed(2))


class TestBatches:
    def test_sixteen_images_at_a_time(self, demo, many):
        calls = []
        with vizkit.hooks.evaluating(demo.module):  # which takes this hook away
            demo.module.register_forward_pre_hook(lambda _m, args: calls.append(len(args[0])))
            capture(demo, many)
        assert calls == [16, 2]

    def test_many_images_are_the_same_as_one_by_one(self, demo, many):
        together = capture(demo, many, at="layers")
        assert together.logits.shape == (18, 10)
        assert together.seen.pixels.shape == (18, 64, 64, 3)
        assert len(together.seen.names) == len(set(together.seen.names)) == 18
        assert torch.equal(together.inputs, many)
        for n in (0, 15, 16, 17):
            alone = capture(demo, many[n], at="layers")
            torch.testing.assert_close(together.logits[n], alone.logits[0], rtol=1e-5, atol=1e-5)
            for tap, maps in alone.items():
                torch.testing.assert_close(together[tap][n], maps[0], rtol=1e-5, atol=1e-5)

    def test_photos_go_through_the_networks_own_transform(self, demo):
        photos = vizkit.samples()
        captured = capture(demo, photos)
        assert captured.seen.names == tuple(photos)
        assert captured.classes == demo.classes
        assert captured.model == "demo/vgg11_bn"
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        expected = (captured.seen.pixels / 255 - mean) / std
        np.testing.assert_allclose(captured.inputs.permute(0, 2, 3, 1), expected, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(captured.logits, demo.module(captured.inputs))

    def test_lookup(self, demo, many):
        captured = capture(demo, many[:1])
        assert [tap.name for tap in captured] == [f"stride{2**n}" for n in range(6)]
        assert captured["stride4"] is captured["features.13"] is captured[captured.taps[2]]
        assert "stride64" not in captured
        with pytest.raises(InputError, match="did you mean 'stride8'"):
            captured["stride9"]

    def test_threads_share_a_network(self, demo, many, unchanged):
        net = deepcopy(demo.module).train()
        classifier = vizkit.wrap(net)
        expected = [capture(classifier, each)["stride8"] for each in many[:6]]
        found = [None] * 6

        def work(n):
            for _ in range(3):
                found[n] = capture(classifier, many[n])["stride8"]

        with unchanged(net):
            threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        for maps, truth in zip(found, expected, strict=True):
            assert torch.equal(maps, truth)


class TestConsumed:
    @pytest.mark.parametrize("name", ["demo/vgg11_bn", "demo/vovnet19b"])
    def test_it_sees_what_capture_keeps(self, name, unchanged):
        model = vizkit.load(name, device="cpu")
        kept = vizkit.capture(model, vizkit.samples(), at="layers")
        found = {}
        with unchanged(model.module):
            logits = consumed(
                model.module,
                list(kept),
                kept.inputs,
                lambda tap, maps: found.update({tap: maps.clone()}),
            )
        assert list(found) == list(kept)
        assert all(torch.equal(found[tap], maps) for tap, maps in kept.items())
        assert torch.equal(logits, kept.logits)

    def test_each_call_of_a_module_is_told_apart(self):
        net = Twice().eval()
        taps = vizkit.find_stages(net, ["conv"])
        seen = []
        consumed(net, taps, torch.rand(1, 3, 16, 16), lambda tap, _: seen.append(tap.call))
        assert [tap.call for tap in taps] == seen == [0, 1]

    def test_a_tap_that_does_not_run_is_named(self):
        net = Twice().eval()
        tap = replace(vizkit.find_stages(net, ["conv"])[0], call=5)
        with pytest.raises(InputError, match="did not run conv:conv#6"):
            consumed(net, [tap], torch.rand(1, 3, 16, 16), lambda *_: None)

    def test_an_error_inside_leaves_no_hook(self, demo, unchanged):
        pixels = torch.rand(1, 3, 128, 128)
        with unchanged(demo.module), pytest.raises(ZeroDivisionError):
            consumed(demo.module, demo.stages, pixels, lambda *_: 1 / 0)


class Twice(nn.Module):
    """One convolution that runs two times."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(self.conv(x)).mean(dim=(-2, -1))
