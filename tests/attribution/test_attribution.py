"""Attributions: captum's values, and what every registered method must keep to."""

import re
from copy import deepcopy

import captum.attr
import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F  # noqa: N812

import vizkit
from vizkit.attribution import METHODS, attribute, memory
from vizkit.errors import ConvergenceWarning, InputError
from vizkit.results import Tap

every_method = pytest.mark.parametrize("method", METHODS)
NETWORKS = {
    "vgg11_bn": lambda: timm.create_model("vgg11_bn", mlp_ratio=0.01),
    "ese_vovnet19b_dw": lambda: timm.create_model("ese_vovnet19b_dw"),
    "convnext_atto": lambda: timm.create_model("convnext_atto"),
    "resnet18": lambda: torchvision.models.resnet18(),
    "densenet121": lambda: torchvision.models.densenet121(),
    "swin_t": lambda: torchvision.models.swin_t(),
}


def out_of_place(net):
    copy = deepcopy(net).eval()
    for module in copy.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return copy


def assert_close(found, expected, relative=1e-5):
    """Compare two maps, relative to the largest value."""
    assert found.shape == expected.shape
    largest = expected.abs().max()
    assert largest > 0
    assert (found - expected).abs().max() <= relative * largest


@pytest.fixture(scope="module")
def inputs():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def small():
    """Some layers, in training, with mixed flags, gradients and a hook of the user's own."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 8, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    ).train()
    net(torch.randn(4, 3, 16, 16)).square().sum().backward()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    net[3].register_forward_hook(lambda *_: None)
    net[8].register_full_backward_hook(lambda *_: None)
    return net


class TestAgainstCaptum:
    @pytest.mark.parametrize("targets", [[0, 3, 7], "top3"])
    def test_the_trained_network(self, demo, targets, exactly):
        demo = exactly(demo)
        photos = {name: vizkit.samples()[name] for name in ("rocket", "chelsea")}
        found = attribute(demo, photos, ["grad_cam", "saliency"], targets)
        net = out_of_place(demo.module)
        with torch.no_grad():
            logits = net(found.inputs)
        wanted = torch.tensor([targets] * 2) if targets != "top3" else logits.topk(3).indices
        assert torch.equal(found.targets, wanted)
        shares = logits.softmax(dim=1).gather(1, wanted)
        torch.testing.assert_close(found.probabilities, shares, check_dtype=False)
        assert list(found.values["grad_cam"]) == [f"stride{2**n}" for n in range(6)]
        for t in range(3):
            for tap in demo.stages:
                layer = net.get_submodule(tap.module)
                oracle = captum.attr.LayerGradCam(net, layer)
                expected = oracle.attribute(found.inputs, wanted[:, t], relu_attributions=True)
                assert_close(found.values["grad_cam"][tap.name][:, t], expected[:, 0].detach())
            given = found.inputs.clone().requires_grad_()
            expected = captum.attr.Saliency(net).attribute(given, wanted[:, t])
            assert_close(found.values["saliency"]["input"][:, t], expected.amax(dim=1))

    @pytest.mark.parametrize("name", NETWORKS)
    def test_grad_cam_at_every_stage(self, name, inputs, unchanged):
        torch.manual_seed(0)
        net = NETWORKS[name]().train()
        with unchanged(net):
            found = attribute(net, inputs, "grad_cam", targets="top2")
        copy = out_of_place(net)
        for t in range(2):
            for tap in found.taps:
                maps = {}

                def keep(_module, _inputs, output, maps=maps):
                    maps["seen"] = output.clone()
                    maps["seen"].retain_grad()
                    return maps["seen"].clone()

                handle = copy.get_submodule(tap.module).register_forward_hook(keep)
                copy(inputs).gather(1, found.targets[:, t : t + 1]).sum().backward()
                handle.remove()
                axis = -1 if tap.channels_last else 1
                weights = maps["seen"].grad.mean(
                    dim=(1, 2) if tap.channels_last else (2, 3), keepdim=True
                )
                expected = (weights * maps["seen"]).sum(dim=axis).relu().detach()
                assert_close(found.values["grad_cam"][tap.name][:, t], expected)

    @pytest.mark.parametrize("layer", ["stages.0.blocks.0.norm", "stages.1.blocks.0.mlp.act"])
    def test_maps_with_channels_behind_places(self, layer, inputs):
        torch.manual_seed(0)
        net = timm.create_model("convnext_atto", conv_mlp=False).eval()
        found = attribute(net, inputs, stages=[layer], targets=3).values["grad_cam"][layer]
        seen = {}

        def keep(_module, _inputs, output):
            seen["maps"] = output
            output.retain_grad()

        handle = net.get_submodule(layer).register_forward_hook(keep)
        net(inputs)[:, 3].sum().backward()
        handle.remove()
        weights = seen["maps"].grad.mean(dim=(1, 2), keepdim=True)
        expected = (weights * seen["maps"]).sum(dim=-1).relu().detach()
        assert_close(found[:, 0], expected)

    @pytest.mark.parametrize("roles", [["conv", "norm", "act"], ["norm"]])
    def test_layers_before_an_in_place_relu(self, demo, roles):
        layers = [f"conv3_1:{role}" for role in roles]
        given = torch.randn(1, 3, 128, 128)
        found = attribute(demo, given, stages=layers, targets=2)
        net = out_of_place(demo.module)
        for role, tap in zip(roles, found.taps, strict=True):
            oracle = captum.attr.LayerGradCam(net, net.get_submodule(tap.module))
            expected = oracle.attribute(given, 2, relu_attributions=True).detach()
            key = tap.label if len(roles) > 1 else "conv3_1"
            assert tap.role == role
            assert_close(found.values["grad_cam"][key], expected)

    def test_code_that_works_in_place(self):
        class Residual(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = nn.Conv2d(3, 4, 3, padding=1)
                self.second = nn.Conv2d(4, 4, 3, padding=1)
                self.head = nn.Linear(4, 5)
                self.in_place = True

            def forward(self, x):
                x = self.first(x)
                y = self.second(F.relu(x))
                if self.in_place:
                    y += x
                    y = F.relu_(y)
                else:
                    y = F.relu(y + x)
                return self.head(y.mean(dim=(-2, -1)))

        torch.manual_seed(0)
        net, given = Residual(), torch.randn(2, 3, 16, 16)
        # all of the targets: some maps have nothing that speaks for a class
        found = attribute(net, given, stages=["first", "second"], targets=range(5))
        net.in_place = False
        for name in ("first", "second"):
            oracle = captum.attr.LayerGradCam(net, getattr(net, name))
            expected = [
                oracle.attribute(given, t, relu_attributions=True)[:, 0].detach() for t in range(5)
            ]
            assert_close(found.values["grad_cam"][name], torch.stack(expected, dim=1))


class TestOneForwardPass:
    @pytest.mark.parametrize("targets", [0, "top5", [1, 2, 3]])
    def test_for_all_stages_and_classes(self, demo, targets):
        net = deepcopy(demo.module)
        classifier = vizkit.wrap(net)
        calls = []
        net.register_forward_pre_hook(lambda _m, args: calls.append(len(args[0])))
        attribute(classifier, torch.randn(2, 3, 64, 64), "grad_cam", targets)
        assert calls == [2]

    def test_many_classes_a_few_at_a_time(self, demo, inputs, monkeypatch):
        methods = ["grad_cam", "grad_cam_pp", "eigen_cam"]
        together = attribute(demo, inputs, methods, range(10))
        monkeypatch.setattr(memory, "_GRADIENT_BYTES", 1)
        apart = attribute(demo, inputs, methods, range(10))
        for method in methods:
            for key, maps in together.values[method].items():
                assert torch.equal(apart.values[method][key], maps)


class TestTargets:
    @pytest.fixture(scope="class")
    @staticmethod
    def logits(demo, inputs):
        with torch.no_grad():
            return demo.module(inputs)

    @pytest.mark.parametrize(
        ("targets", "expected"),
        [
            (3, [[3], [3]]),
            ("church", [[4], [4]]),
            ("CHURCH", [[4], [4]]),
            ([1, 9], [[1, 9], [1, 9]]),
            (["church", 0], [[4, 0], [4, 0]]),
            (range(3), [[0, 1, 2], [0, 1, 2]]),
            (torch.tensor([7, 2]), [[7], [2]]),
            (torch.tensor([[7, 1], [2, 0]]), [[7, 1], [2, 0]]),
            (torch.tensor([[7, 1], [2, 0]], dtype=torch.int32), [[7, 1], [2, 0]]),
        ],
    )
    def test_kinds(self, demo, inputs, targets, expected):
        assert demo.classes[4] == "church"
        found = attribute(demo, inputs, targets=targets)
        assert found.targets.tolist() == expected
        assert found.values["grad_cam"]["stride8"].shape[:2] == found.targets.shape

    def test_numbers_of_numpy(self, demo, inputs):
        index = torch.tensor([6]).numpy()[0]
        assert attribute(demo, inputs, targets=index).targets.tolist() == [[6], [6]]

    def test_predicted(self, demo, inputs, logits):
        found = attribute(demo, inputs)
        assert found.targets.tolist() == logits.argmax(dim=1, keepdim=True).tolist()

    def test_most_probable(self, demo, inputs, logits):
        found = attribute(demo, inputs, targets="top3")
        assert found.targets.tolist() == logits.argsort(dim=1, descending=True)[:, :3].tolist()

    def test_more_images_than_a_batch(self, demo):
        given = torch.randn(18, 3, 32, 32)
        wanted = torch.arange(18) % 10
        found = attribute(demo, given, targets=wanted)
        assert found.targets.flatten().tolist() == wanted.tolist()
        assert found.values["grad_cam"]["stride4"].shape == (18, 1, 8, 8)

    @pytest.mark.parametrize(
        ("targets", "message"),
        [
            (10, "unknown target 10: choose from 0 to 9"),
            (-1, "unknown target -1"),
            ([0, 11], "unknown target 11"),
            ("curch", r"unknown class 'curch'; did you mean 'church'\?"),
            ("top0", "unknown target 'top0': the model has 10 classes"),
            ("top11", "unknown target 'top11'"),
            (1.5, r"unknown target 1\.5: give an index, a class name"),
            ([1.5], r"unknown target 1\.5"),
            ([[1, 2]], r"unknown target \[1, 2\]"),
            ([], "no targets: the list is empty"),
            (torch.tensor([1.0, 2.0]), r"whole numbers .* 2 images given, not torch\.float32"),
            (torch.tensor([1, 2, 3]), r"2 images given, not torch\.int64 \(3,\)"),
            (torch.tensor([1]), r"\(N, T\) for the 2 images given"),
            (torch.tensor(1), r"not torch\.int64 \(\)"),
            (torch.tensor([1, 10]), "unknown target 10"),
        ],
    )
    def test_impossible(self, demo, inputs, targets, message):
        with pytest.raises(InputError, match=message):
            attribute(demo, inputs, targets=targets)


class TestErrors:
    def test_unknown_method(self, demo, inputs):
        with pytest.raises(InputError, match="unknown method 'gradcam'; did you mean 'grad_cam'"):
            attribute(demo, inputs, "gradcam")

    def test_no_method(self, demo, inputs):
        with pytest.raises(InputError, match="no methods: choose from grad_cam"):
            attribute(demo, inputs, [])

    @every_method
    def test_unknown_option(self, demo, inputs, method):
        with pytest.raises(InputError, match=f"unknown option of {method} 'colour'"):
            attribute(demo, inputs, method, colour=1)

    def test_unknown_stage(self, demo, inputs):
        with pytest.raises(InputError, match="'stride5'; did you mean"):
            attribute(demo, inputs, stages=["stride5"])

    def test_a_stage_that_does_not_run(self, small):
        with pytest.raises(InputError, match="did not run 0:conv#2"):
            attribute(small, torch.randn(1, 3, 16, 16), stages=[Tap("0", "0", "conv", 1, 6, 1)])

    def test_a_stage_without_influence_on_the_score_has_none(self):
        class Idle(nn.Module):
            def __init__(self):
                super().__init__()
                self.used, self.idle = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

            def forward(self, x):
                self.idle(x)
                return self.used(x).mean(dim=(-2, -1))

        found = attribute(Idle(), torch.randn(1, 3, 16, 16), stages=["idle", "used"], targets=0)
        assert not found.values["grad_cam"]["idle"].any()
        assert found.values["grad_cam"]["used"].any()


@every_method
class TestContract:
    """What holds for every method."""

    def run(self, net, given, method, **options):
        return attribute(net, given, method, **options).values[method]

    def test_shapes(self, small, method):
        given = torch.randn(2, 3, 20, 28)
        found = attribute(small, given, method, targets=[0, 4, 2])
        maps = found.values[method]
        assert found.targets.shape == found.probabilities.shape == (2, 3)
        if method == "cam":
            expected = {"stride2": (2, 3, 9, 13)}
        elif METHODS[method].level == "stage":
            expected = {"stride1": (2, 3, 20, 28), "stride2": (2, 3, 9, 13)}
        else:
            expected = {"input": (2, 3, 20, 28)}
        assert {key: tuple(each.shape) for key, each in maps.items()} == expected
        for each in maps.values():
            assert each.dtype == torch.float32
            assert not each.requires_grad
            assert torch.isfinite(each).all()
            assert each.std() > 0

    def test_the_network_is_left_as_it_was(self, small, method, unchanged):
        given = torch.randn(2, 3, 16, 16)
        original = given.clone()
        with unchanged(small):
            attribute(small, given, method, targets=[0, 1])
        assert torch.equal(given, original)

    def test_after_an_error(self, small, method, unchanged):
        def fail(_module, _inputs, output):
            if not output.is_meta:
                raise ZeroDivisionError

        small[3].register_forward_hook(fail)
        given = torch.randn(1, 3, 16, 16)
        with unchanged(small), pytest.raises(ZeroDivisionError):
            attribute(vizkit.wrap(small), given, method)

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_inside_other_modes(self, small, method, mode, unchanged):
        given = torch.randn(1, 3, 16, 16)
        expected = self.run(small, given, method, targets=1)
        with mode(), unchanged(small):
            found = self.run(small, given.clone(), method, targets=1)
        for key, maps in expected.items():
            assert torch.equal(found[key], maps)

    def test_frozen_parameters(self, small, method):
        given = torch.randn(1, 3, 16, 16)
        expected = self.run(small, given, method, targets=1)
        found = self.run(small.requires_grad_(False), given, method, targets=1)
        for key, maps in expected.items():
            assert torch.equal(found[key], maps)

    def test_inputs_with_a_gradient(self, small, method):
        given = torch.randn(1, 3, 16, 16)
        expected = self.run(small, given, method, targets=1)
        asking = given.clone().requires_grad_()
        found = attribute(small, asking, method, targets=1)
        assert asking.grad is None
        assert not found.inputs.requires_grad
        for key, maps in expected.items():
            torch.testing.assert_close(found.values[method][key], maps)

    def test_half_precision(self, small, method):
        given = torch.randn(1, 3, 16, 16)
        found = self.run(small.bfloat16(), given, method, targets=1)
        expected = self.run(small.float(), given, method, targets=1)
        for key, maps in expected.items():
            assert found[key].dtype == torch.float32
            likeness = torch.cosine_similarity(found[key].flatten(), maps.flatten(), dim=0)
            assert likeness > 0.95

    def test_many_images_are_the_same_as_one_by_one(self, small, method):
        given = torch.randn(18, 3, 16, 16)
        together = self.run(small, given, method, targets=[1, 3])
        for n in (0, 9, 15, 16, 17):
            for key, maps in self.run(small, given[n], method, targets=[1, 3]).items():
                torch.testing.assert_close(together[key][n], maps[0], rtol=1e-5, atol=1e-7)

    def test_an_image_does_not_depend_on_the_others(self, small, method):
        given = torch.randn(2, 3, 16, 16)
        changed = given.clone()
        changed[1] += 1
        one, other = (self.run(small, each, method, targets=1) for each in (given, changed))
        for key in one:
            torch.testing.assert_close(one[key][0], other[key][0], rtol=1e-5, atol=1e-7)

    def test_a_class_does_not_depend_on_the_others(self, small, method):
        given = torch.randn(1, 3, 16, 16)
        together = self.run(small, given, method, targets=[4, 0])
        for t, target in enumerate((4, 0)):
            for key, maps in self.run(small, given, method, targets=target).items():
                torch.testing.assert_close(together[key][:, t], maps[:, 0], rtol=1e-5, atol=1e-7)

    def test_a_network_that_changes_its_input(self, small, method):
        class Scaling(nn.Module):
            def __init__(self, in_place):
                super().__init__()
                self.inner, self.in_place = small, in_place

            def forward(self, x):
                return self.inner(x.mul_(2).sub_(1) if self.in_place else x * 2 - 1)

        given = torch.randn(1, 3, 16, 16)
        original = given.clone()
        if method == "lrp":
            with pytest.raises(InputError, match="lrp is for networks whose layers follow one"):
                self.run(Scaling(in_place=True), given, method, targets=1)
            return
        found = self.run(Scaling(in_place=True), given, method, targets=1)
        assert torch.equal(given, original)
        for key, maps in self.run(Scaling(in_place=False), given, method, targets=1).items():
            assert torch.equal(found[key], maps)

    def test_the_same_again(self, small, method):
        given = torch.randn(1, 3, 16, 16)
        first, second = (self.run(small, given, method, targets=1) for _ in range(2))
        for key, maps in first.items():
            assert torch.equal(second[key], maps)

    def test_description(self, method):
        entry = METHODS[method]
        assert entry.name == method
        assert entry.level in {"stage", "input"}
        assert entry.label
        assert entry.paper
        assert entry.summary.endswith(".")
        described = entry.function.__doc__
        assert all(
            re.search(rf"^    (\w+, )*{option}\b", described, re.M) for option in entry.options
        )


def test_all_methods_at_once(demo, inputs):
    # at this size VGG pools by a function, so that it is no chain of modules
    usable = [name for name in METHODS if name not in {"cam", "lrp"}]
    options = {"n_masks": 8, "n_samples": 4, "n_steps": 8}
    with pytest.warns(ConvergenceWarning, match="integrated_gradients of demo/vgg11_bn"):
        found = attribute(demo, inputs, usable, targets=[1, 2], **options)
    assert list(found.values) == usable
    frame = found.to_frame()
    assert list(frame["method"].unique()) == usable
    for method in sorted(
        METHODS.keys() - {"cam", "lrp", "rise", "integrated_gradients", "score_cam"}
    ):
        own = {key: value for key, value in options.items() if key in METHODS[method].options}
        alone = attribute(demo, inputs, method, targets=[1, 2], **own).values[method]
        for key, maps in alone.items():
            torch.testing.assert_close(found.values[method][key], maps, rtol=1e-5, atol=1e-7)
