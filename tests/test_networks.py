"""Wrappers are taken off networks; what cannot be read is refused with advice."""

import warnings
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.nn.parameter import UninitializedParameter

import vizkit

INPUTS = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
            nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.head = nn.Linear(16, 7)

    def forward(self, x):
        return self.head(self.features(x).mean((-2, -1)))


@pytest.fixture
def small():
    return Small()


@pytest.fixture
def quiet():
    """PyTorch deprecates what is refused here; users have it all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def compiled(net):
    return torch.compile(net, backend="eager")


def averaged(net):
    return torch.optim.swa_utils.AveragedModel(net)


class TestWrappers:
    @pytest.mark.parametrize(
        "around",
        [compiled, DataParallel, averaged, lambda net: DataParallel(compiled(net))],
        ids=["compiled", "DataParallel", "AveragedModel", "two"],
    )
    def test_answers_are_those_of_the_network_inside(self, small, around):
        wrapped = around(small)
        plain, found = vizkit.capture(small, INPUTS), vizkit.capture(wrapped, INPUTS)
        assert list(found) == list(plain)
        assert all(torch.equal(found[tap], plain[tap]) for tap in plain)
        assert vizkit.find_stages(wrapped, "layers") == vizkit.find_stages(small, "layers")
        own = vizkit.attribute(wrapped, INPUTS).values["grad_cam"]
        reference = vizkit.attribute(small, INPUTS).values["grad_cam"]
        assert all(torch.equal(own[name], reference[name]) for name in reference)

    @pytest.mark.parametrize("around", [compiled, DataParallel])
    def test_the_network_inside_is_the_users_own(self, small, around):
        assert vizkit.wrap(around(small)).module is small

    def test_a_network_compiled_in_place_runs_as_it_is_written(self, small):
        plain = vizkit.capture(deepcopy(small), INPUTS)
        runs = []

        def backend(graph, _inputs):
            runs.append(graph)
            return graph

        small.compile(backend=backend)
        small.features[0].compile(backend=backend)
        found = vizkit.capture(small, INPUTS)
        assert all(torch.equal(found[tap], plain[tap]) for tap in plain)
        assert not runs, "nothing is compiled for vizkit's hooks"
        small(INPUTS)
        assert runs, "and afterwards it is compiled as before"


def scripted(net):
    return torch.jit.script(net)


def frozen(net):
    return torch.jit.freeze(torch.jit.script(net.eval()))


def exported(net):
    return torch.export.export(net.eval(), (INPUTS,)).module()


def quantised(net):
    return torch.ao.quantization.quantize_dynamic(net, {nn.Linear})


def quantised_weights(net):
    # as integer weights that a network keeps beside its scale
    net.register_buffer("packed", torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8))
    return net


def not_initialised(net):
    net.head = nn.LazyLinear(7)
    assert isinstance(net.head.weight, UninitializedParameter)
    return net


class TestRefused:
    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            (scripted, "is TorchScript"),
            (lambda net: torch.jit.trace(net.eval(), INPUTS), "is TorchScript"),
            (frozen, "is TorchScript"),
            (exported, "exported graph"),
            (quantised, "is quantised .*Linear at 'head'"),
            (quantised_weights, "is quantised .'packed'"),
            (not_initialised, "'head.weight' has no shape.; run it once"),
            (lambda net: nn.ModuleList([net]), "has no forward"),
        ],
        ids=[
            "scripted", "traced", "frozen", "exported", "quantised", "quantised weights",
            "not initialised", "container",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize(
        "use",
        [
            vizkit.wrap,
            vizkit.find_stages,
            lambda net: vizkit.capture(net, INPUTS),
            lambda net: vizkit.predict(net, INPUTS, k=1),
        ],
        ids=["wrap", "find_stages", "capture", "predict"],
    )
    @pytest.mark.usefixtures("quiet")
    def test_says_what_to_give_instead(self, small, make, reason, use):
        with pytest.raises(vizkit.InputError, match=reason):
            use(make(small))

    def test_a_traced_network_that_still_has_its_layers_is_read(self, small):
        small.eval()
        traced = torch.fx.symbolic_trace(small)
        paths = ["features.0", "features.1", "features.4"]
        plain, found = (vizkit.capture(net, INPUTS, paths) for net in (small, traced))
        assert all(torch.equal(found[path], plain[path]) for path in paths)


class TestOtherStates:
    """Half precision, autocast, modes of gradients, training, frozen weights."""

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_types(self, small, unchanged, dtype):
        small.to(dtype).train()
        with unchanged(small):
            maps = vizkit.capture(small, INPUTS)
            found = vizkit.attribute(small, INPUTS)
            table = vizkit.describe(small, INPUTS)
        expected = deepcopy(small).eval()(INPUTS.to(dtype))
        assert torch.equal(maps.logits, expected)
        assert {each.dtype for each in maps.values()} == {dtype}
        cam = found.values["grad_cam"]["stride2"]
        # the same in float32, as far as the type can tell
        reference = vizkit.attribute(small.float(), INPUTS).values["grad_cam"]["stride2"]
        assert (cam - reference).abs().max() <= 0.05 * reference.abs().max()
        assert table.frame["value"].notna().all()

    def test_autocast(self, small):
        with torch.autocast("cpu", torch.bfloat16):
            expected = deepcopy(small).eval()(INPUTS)
            maps = vizkit.capture(small, INPUTS)
            cam = vizkit.attribute(small, INPUTS).values["grad_cam"]["stride2"]
        assert torch.equal(maps.logits, expected)
        assert maps.logits.dtype == torch.bfloat16
        reference = vizkit.attribute(small, INPUTS).values["grad_cam"]["stride2"]
        assert (cam - reference).abs().max() <= 0.05 * reference.abs().max()

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
    @pytest.mark.parametrize("frozen", [False, True])
    def test_modes(self, small, unchanged, mode, frozen):
        small.requires_grad_(not frozen).train()
        reference = vizkit.attribute(deepcopy(small), INPUTS, ["grad_cam", "saliency"])
        with mode(), unchanged(small):
            found = vizkit.attribute(small, INPUTS, ["grad_cam", "saliency"])
            maps = vizkit.capture(small, INPUTS)
        for method, values in reference.values.items():
            for where, value in values.items():
                assert torch.equal(found.values[method][where], value), (method, where)
        assert not maps.logits.is_inference()

    def test_a_network_that_gives_no_gradients_says_so(self):
        class Closed(Small):
            @torch.no_grad()
            def forward(self, x):
                return super().forward(x)

        closed = Closed()
        assert vizkit.capture(closed, INPUTS).logits.shape == (2, 7)
        for method in ("grad_cam", "saliency", "integrated_gradients"):
            with pytest.raises(vizkit.InputError, match=r"Closed gives no gradients.*no_grad"):
                vizkit.attribute(closed, INPUTS, method)

    def test_a_network_without_values_says_so_and_can_be_counted(self):
        with torch.device("meta"):
            net = Small()
        for use in (vizkit.capture, vizkit.predict, vizkit.describe, vizkit.attribute):
            with pytest.raises(vizkit.InputError, match="meta device"):
                use(net, INPUTS)
        assert vizkit.profile(net, (32, 32))["params"].iloc[-1] == 1527

    @pytest.mark.parametrize("part", ["2", "2.bias", "6"])
    def test_one_part_without_values_says_so(self, part):
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
        ).eval()  # fmt: skip
        layer, _, name = part.partition(".")
        each = net.get_submodule(layer)
        if name:
            each.bias = nn.Parameter(each.bias.to("meta"))
        else:
            each.to("meta")
        for use in (vizkit.capture, vizkit.predict, vizkit.describe, vizkit.attribute):
            with pytest.raises(vizkit.InputError, match="meta device"):
                use(net, INPUTS)
