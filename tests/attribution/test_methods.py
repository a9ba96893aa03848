"""Every registered attribution method against an oracle of its own: packages, formulas, laws."""

import contextlib
from copy import deepcopy
from types import SimpleNamespace

import captum.attr
import numpy as np
import pytest
import timm
import torch
import torchcam.methods
import torchvision
import zennit.attribution
import zennit.composites
from scipy.ndimage import gaussian_filter
from timm.layers import StdConv2d
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.fusion import fuse_conv_bn_eval

import vizkit
from vizkit.attribution import METHODS, attribute
from vizkit.errors import InputError
from vizkit.linear import LinearHeads

CLASSES = 6
# all of them: of some classes a map cut off at zero has nothing
EVERY = range(CLASSES)
# few samples where the number of them is not what is tested
QUICK = {"n_masks": 12, "n_samples": 6, "n_steps": 5, "window": 8}
coarse_integral = pytest.mark.filterwarnings("ignore::vizkit.errors.ConvergenceWarning")
hooks_of_captum = pytest.mark.filterwarnings("ignore:Setting (forward|backward).*:UserWarning")


class Permuted(nn.Module):
    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.permute(self.axes)


class Limited(nn.Module):
    """Has no memory for large batches."""

    def __init__(self, most=2):
        super().__init__()
        self.most = most

    def forward(self, x):
        if len(x) > self.most and not x.is_meta:
            raise torch.OutOfMemoryError(f"{len(x)} are too many")
        return x


def randomised(net):
    """Give batch normalisation the statistics of a trained network."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


def plain(side=16, bias=True):
    """Layers that follow one another, the last one of which sees every place."""
    left = (side - 2) // 2
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=bias),
        nn.BatchNorm2d(6) if bias else nn.Identity(),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1, bias=bias),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(8 * left * left, 12, bias=bias),
        nn.ReLU(inplace=True),
        nn.Linear(12, CLASSES, bias=bias),
    )


def pooled():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 10, 3),
        nn.BatchNorm2d(10),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(10, CLASSES),
    )


def residual():
    return timm.create_model("resnet10t", num_classes=CLASSES, zero_init_last=False)


BUILD = {
    "pooled": pooled,
    "resnet10t": residual,
    "resnet18": lambda: torchvision.models.resnet18(num_classes=CLASSES),
    "vgg11": lambda: timm.create_model("vgg11", mlp_ratio=0.01, num_classes=CLASSES),
    "demo vgg11_bn": lambda: vizkit.load("demo/vgg11_bn", device="cpu").module,
    "demo vovnet19b": lambda: vizkit.load("demo/vovnet19b", device="cpu").module,
    "densenet121": lambda: torchvision.models.densenet121(num_classes=CLASSES),
}
MODULE_RELUS = ["pooled", "resnet10t", "vgg11", "demo vgg11_bn", "demo vovnet19b"]


@pytest.fixture(scope="module")
def network():
    """Each network once; no test changes one, for vizkit must not."""
    built = {}

    def get(name):
        if name not in built:
            torch.manual_seed(len(name))
            net = BUILD[name]()
            built[name] = net.eval() if name.startswith("demo") else randomised(net)
        return built[name]

    return get


def draw(*shape, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def given_to(name):
    return draw(2, 3, 20, 24) if name == "pooled" else draw(2, 3, 64, 64)


def sized(net, side):
    """For networks that take one size only."""
    height, width = side if isinstance(side, tuple) else (side, side)
    return vizkit.wrap(net, transform=vizkit.Transform(size=(height, width)))


def out_of_place(net):
    copy = deepcopy(net).eval()
    for module in copy.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return copy


@contextlib.contextmanager
def densenet_with(relu):
    """Have torchvision's DenseNet use another function for the ReLU in its own code."""
    before = torchvision.models.densenet.F
    names = {name: getattr(before, name) for name in ("adaptive_avg_pool2d", "dropout")}
    torchvision.models.densenet.F = SimpleNamespace(relu=lambda x, **_options: relu(x), **names)
    try:
        yield
    finally:
        torchvision.models.densenet.F = before


def assert_close(found, expected, relative=1e-5):
    """Compare relative to the largest value."""
    assert found.shape == expected.shape
    found, expected = found.double(), expected.detach().double()
    largest = float(expected.abs().max())
    assert largest > 0
    assert float((found - expected).abs().max()) <= relative * largest


def maps_of(net, given, method, targets, stages=None, **options):
    """Maps of a method: the only one, or by stage."""
    known = {key: value for key, value in options.items() if key in METHODS[method].options}
    found = attribute(net, given, method, targets, stages, **known).values[method]
    return found["input"] if METHODS[method].level == "input" else found


def seen_at(net, path, given, target):
    """Output of a module and its gradient, through a copy that later in-place work cannot touch."""
    kept = {}

    def keep(_module, _inputs, output):
        kept["maps"] = output.clone()
        kept["maps"].retain_grad()
        return kept["maps"].clone()

    handle = net.get_submodule(path).register_forward_hook(keep)
    net(given)[:, target].sum().backward()
    handle.remove()
    return kept["maps"].detach(), kept["maps"].grad


def effective_weights(net, shape):
    """Matrix of an affine network, (K, 3, H, W), by asking it for every unit vector."""
    units = torch.eye(int(np.prod(shape)), dtype=torch.float64).view(-1, *shape)
    with torch.no_grad():
        columns = net(units) - net(torch.zeros_like(units[:1]))
    return columns.T.reshape(-1, *shape)


class TestClassActivationMaps:
    @pytest.mark.parametrize("name", [*MODULE_RELUS, "densenet121"])
    def test_hires_cam(self, network, name):
        net, given = network(name), given_to(name)
        found = attribute(net, given, "hires_cam", [0, 4])
        copy = out_of_place(net)
        with densenet_with(torch.relu):
            for tap in found.taps:
                oracle = captum.attr.LayerGradientXActivation(copy, copy.get_submodule(tap.module))
                for t, target in enumerate([0, 4]):
                    expected = oracle.attribute(given, target).sum(dim=1)
                    assert_close(found.values["hires_cam"][tap.name][:, t], expected)

    @pytest.mark.parametrize(
        ("method", "oracle"),
        [("layer_cam", torchcam.methods.LayerCAM), ("xgrad_cam", torchcam.methods.XGradCAM)],
    )
    @pytest.mark.parametrize("name", MODULE_RELUS)
    def test_by_gradients(self, network, name, method, oracle):
        net, given = network(name), given_to(name)
        found = attribute(net, given, method, EVERY)
        copy = out_of_place(net)
        layers = [tap.module for tap in found.taps]
        expected = []
        for target in EVERY:
            with oracle(copy, layers) as extractor:
                expected.append(extractor([target] * 2, copy(given), normalized=False))
        for tap, wanted in zip(found.taps, zip(*expected, strict=True), strict=True):
            assert_close(found.values[method][tap.name], torch.stack(wanted, dim=1))

    @pytest.mark.parametrize("name", MODULE_RELUS)
    def test_grad_cam_pp(self, network, name):
        """Against the paper's formula (19), written out in float64."""
        net, given = network(name), given_to(name)[:1]
        found = attribute(net, given, "grad_cam_pp", [3])
        # both read the same float64 gradients, so that only the formula is compared
        precise = out_of_place(net).double()
        for tap in found.taps:
            maps, gradients = (
                each.numpy() for each in seen_at(precise, tap.module, given.double(), 3)
            )
            with np.errstate(invalid="ignore"):
                shares = gradients**2 / (
                    2 * gradients**2 + gradients**3 * maps.sum(axis=(2, 3), keepdims=True)
                )
            shares = np.where(gradients == 0, 0, shares)
            weights = (shares * np.maximum(gradients, 0)).sum(axis=(2, 3), keepdims=True)
            expected = torch.from_numpy(np.maximum((weights * maps).sum(axis=1), 0))
            assert_close(found.values["grad_cam_pp"][tap.name][:, 0], expected)

    @pytest.mark.parametrize(
        ("name", "layer"), [("pooled", "2"), ("pooled", "6"), ("resnet10t", "layer1")]
    )
    def test_score_cam(self, network, name, layer):
        net, given = network(name), given_to(name)
        found = maps_of(net, given, "score_cam", EVERY, [layer])
        copy = out_of_place(net)
        (maps,) = found.values()
        for target in (0, 4):
            with torchcam.methods.ScoreCAM(copy, layer) as extractor, torch.no_grad():
                copy(given)
                (expected,) = extractor([target] * 2, normalized=False)
            assert_close(maps[:, target], expected)

    @pytest.mark.parametrize(
        ("name", "layer"),
        [
            *[("pooled", layer) for layer in "01245"],
            ("demo vgg11_bn", "features.27"),
            ("resnet10t", "act1"),
            ("resnet10t", "layer1"),
            ("demo vovnet19b", "stem.1"),
            ("resnet18", "layer1.0.bn2"),
        ],
    )
    def test_ablation_cam(self, network, name, layer):
        net, given = network(name), given_to(name)[:1, :, :40]
        found = maps_of(net, given, "ablation_cam", EVERY, [layer])
        (maps,) = found.values()
        self.check_ablation(net, layer, given, maps, channels_last=False)

    @pytest.mark.parametrize("chain", [True, False])
    def test_ablation_cam_with_channels_behind_places(self, chain):
        torch.manual_seed(0)
        if chain:
            net = nn.Sequential(
                nn.Conv2d(3, 6, 3),
                Permuted(0, 2, 3, 1),
                nn.LayerNorm(6),
                Permuted(0, 3, 1, 2),
                nn.ReLU(inplace=True),
                nn.Conv2d(6, 4, 3),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(4, CLASSES),
            ).eval()
            layer, given = "2", draw(1, 3, 12, 14)
        else:
            net = timm.create_model("convnext_atto", conv_mlp=False, num_classes=CLASSES).eval()
            layer, given = "stages.0.blocks.0.norm", draw(1, 3, 32, 48)
            nn.init.uniform_(net.stages[0].blocks[0].gamma)
        found = attribute(net, given, "ablation_cam", EVERY, [layer])
        assert found.taps[0].channels_last
        self.check_ablation(net, layer, given, found.values["ablation_cam"][layer], True)

    def check_ablation(self, net, layer, given, found, channels_last):
        # differences of nearly equal scores: in float64, for float32 would only compare rounding
        net, given = out_of_place(net).double(), given.double()
        axis = -1 if channels_last else 1
        kept = {}
        module = net.get_submodule(layer)
        # a copy, which in-place work after the module cannot touch
        handle = module.register_forward_hook(
            lambda _module, _inputs, output: kept.update(maps=output.clone())
        )
        with torch.no_grad():
            scores = net(given)
        handle.remove()
        maps = kept["maps"].movedim(axis, 1)
        drops = []
        for channel in range(maps.shape[1]):

            def cut(_module, _inputs, output, channel=channel):
                output = output.clone()
                output.select(axis, channel).zero_()
                return output

            handle = module.register_forward_hook(cut)
            with torch.no_grad():
                drops.append((scores - net(given))[0, :CLASSES])
            handle.remove()
        expected = torch.einsum("ct,nchw->nthw", torch.stack(drops), maps).relu()
        # vizkit's scores are float32: their rounding is what is left of small differences
        rounding = 3e-6 * float(scores.abs().max() / torch.stack(drops).abs().max())
        assert_close(found, expected, max(1e-5, rounding))

    def test_ablation_cam_precisely(self):
        torch.manual_seed(0)
        net, given = randomised(pooled()).double(), draw(1, 3, 20, 24, dtype=torch.float64)
        for layer in ("1", "3", "6"):
            (maps,) = maps_of(net, given, "ablation_cam", EVERY, [layer]).values()
            self.check_ablation(net, layer, given, maps, channels_last=False)

    @pytest.mark.parametrize("name", [*MODULE_RELUS, "densenet121"])
    def test_eigen_cam(self, network, name):
        net, given = network(name), given_to(name)
        found = attribute(net, given, "eigen_cam", [0, 4])
        captured = vizkit.capture(net, given)
        for tap in found.taps:
            for n, maps in enumerate(captured[tap].double().numpy()):
                places = maps.reshape(len(maps), -1).T
                left, values, _ = np.linalg.svd(places, full_matrices=False)
                projected = left[:, 0] * values[0]
                expected = torch.from_numpy(projected * np.sign(projected.sum()))
                for t in range(2):
                    assert_close(found.values["eigen_cam"][tap.name][n, t].flatten(), expected)

    @pytest.mark.parametrize(
        ("name", "layer", "head"),
        [
            ("pooled", "6", "9"),
            ("resnet10t", "layer4", "fc"),
            ("resnet18", "layer4", "fc"),
            ("demo vovnet19b", "stages.3", "head.fc"),
        ],
    )
    def test_cam(self, network, name, layer, head):
        net, given = network(name), given_to(name)
        found = attribute(net, given, ["cam", "grad_cam"], EVERY)
        ((stage, maps),) = found.values["cam"].items()
        copy = out_of_place(net)
        for target in EVERY:
            with torchcam.methods.CAM(copy, layer, head) as extractor, torch.no_grad():
                copy(given)
                (expected,) = extractor([target] * 2, normalized=False)
            assert_close(maps[:, target], expected)
        # Zhou et al.: its mean is the logit without the bias
        with torch.no_grad():
            logits = copy(given) - copy.get_submodule(head).bias
        assert_close(maps.mean(dim=(-2, -1)), logits[:, EVERY])
        # Selvaraju et al.: Grad-CAM generalises it
        assert_close(found.values["grad_cam"][stage], maps.relu() / maps[0, 0].numel())


class TestGradientsByPixels:
    @pytest.mark.parametrize("name", [*MODULE_RELUS, "densenet121"])
    def test_saliency_and_input_x_gradient(self, network, name):
        net, given = network(name), given_to(name)
        found = attribute(net, given, ["saliency", "input_x_gradient"], [2, 5])
        copy = out_of_place(net)
        for t, target in enumerate([2, 5]):
            pixels = given.clone().requires_grad_()
            (gradients,) = torch.autograd.grad(copy(pixels)[:, target].sum(), pixels)
            expected = gradients.abs().amax(dim=1)
            assert_close(found.values["saliency"]["input"][:, t], expected)
            oracle = captum.attr.InputXGradient(copy)
            expected = oracle.attribute(given.clone().requires_grad_(), target).sum(dim=1)
            assert_close(found.values["input_x_gradient"]["input"][:, t], expected)

    @coarse_integral
    @pytest.mark.parametrize("name", ["pooled", "resnet10t", "demo vgg11_bn"])
    def test_integrated_gradients(self, network, name):
        # in float64: on the way some ReLU's input comes so close to zero that rounding opens it
        net, given = deepcopy(network(name)).double(), given_to(name)[:, :, :32, :32].double()
        found = attribute(net, given, "integrated_gradients", [2, 5])
        oracle = captum.attr.IntegratedGradients(out_of_place(net))
        for t, target in enumerate([2, 5]):
            expected, delta = oracle.attribute(
                given, 0, target, internal_batch_size=20, return_convergence_delta=True
            )
            expected = expected.sum(dim=1)
            assert_close(found.values["integrated_gradients"]["input"][:, t], expected)
            # sums of signed values: relative to what is summed up
            scale = expected.abs().sum(dim=(1, 2))
            error = found.errors["integrated_gradients"][:, t]
            assert ((error - delta).abs() <= 1e-5 * scale).all()

    def test_integrated_gradients_are_complete(self):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.Softplus(), nn.Conv2d(6, 4, 3), nn.Tanh(), nn.Flatten(),
            nn.Linear(256, CLASSES),
        ).eval().double()  # fmt: skip
        given = draw(2, 3, 12, 12, dtype=torch.float64)
        found = attribute(sized(net, 12), given, "integrated_gradients", EVERY)
        with torch.no_grad():
            gains = net(given) - net(torch.zeros_like(given))
        maps = found.values["integrated_gradients"]["input"]
        assert_close(maps.sum(dim=(-2, -1)), gains)
        assert found.errors["integrated_gradients"].abs().max() < 1e-6

    @pytest.mark.parametrize("name", ["pooled", "resnet10t"])
    def test_smooth_grad(self, network, name):
        """Own loop in float64 over the same noise."""
        net = network(name)
        given = draw(2, 3, 16, 24) if name == "pooled" else given_to(name)
        options = {"n_samples": 7, "noise": 0.2, "seed": 5}
        found = attribute(net, given, ["smooth_grad", "smooth_grad_sq"], 1, **options)
        precise = out_of_place(net).double()
        for n, image in enumerate(given):
            torch.manual_seed(5)
            spread = torch.full((7, *image.shape), float(image.max() - image.min()) * 0.2)
            total = total_of_squares = 0
            for noise in torch.normal(0, spread):
                pixels = (image + noise)[None].double().requires_grad_()
                (gradient,) = torch.autograd.grad(precise(pixels)[0, 1], pixels)
                total, total_of_squares = total + gradient, total_of_squares + gradient**2
            expected = (total / 7).abs().amax(dim=1)[0]
            assert_close(found.values["smooth_grad"]["input"][n, 0], expected)
            expected = (total_of_squares / 7).amax(dim=1)[0]
            assert_close(found.values["smooth_grad_sq"]["input"][n, 0], expected)

    def test_smooth_grad_against_captum(self, network):
        net, given = network("demo vgg11_bn"), given_to("demo vgg11_bn")[:1]
        found = attribute(net, given, ["smooth_grad", "smooth_grad_sq"], 1, n_samples=5)
        oracle = captum.attr.NoiseTunnel(captum.attr.Saliency(out_of_place(net)))
        spread = float(given.max() - given.min()) * 0.15
        for method, kind in (("smooth_grad", "smoothgrad"), ("smooth_grad_sq", "smoothgrad_sq")):
            torch.manual_seed(0)
            expected = oracle.attribute(
                given, nt_type=kind, nt_samples=5, stdevs=spread, target=1, abs=False
            )
            assert_close(found.values[method]["input"][:, 0], expected.abs().amax(dim=1))

    def test_expected_gradients_from_one_baseline_are_integrated_gradients(self):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(24, CLASSES),
        ).eval()  # fmt: skip
        given, zero = 3 * draw(2, 3, 12, 12), torch.zeros(1, 3, 12, 12)
        exact = maps_of(net, given, "integrated_gradients", [0, 3])
        found = [
            maps_of(net, given, "expected_gradients", [0, 3], baselines=zero, n_samples=n)
            for n in (4, 64, 800)
        ]
        off = [float((each - exact).abs().max() / exact.abs().max()) for each in found]
        # the error of a mean of n draws falls with the root of n
        assert off[0] > off[1] > off[2]
        assert off[2] < 0.05

    def test_expected_gradients_are_the_mean_over_baselines(self):
        """Of a linear network each baseline gives w (x - b) wherever on the way it is asked."""
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, CLASSES)).double()
        given, baselines = draw(1, 3, 8, 8), draw(2, 3, 8, 8, seed=2)
        weights = effective_weights(net, (3, 8, 8))
        found = maps_of(
            sized(net, 8), given, "expected_gradients", 4, baselines=baselines, n_samples=30
        )
        ends = [(weights[4] * (given[0] - b)).sum(dim=0) for b in baselines]
        shares = (found[0, 0] - ends[0]) / (ends[1] - ends[0])
        times = float(shares.median()) * 30
        assert 5 < round(times) < 25
        assert_close(found[0, 0], ends[0] + (ends[1] - ends[0]) * round(times) / 30)

    @hooks_of_captum
    @pytest.mark.parametrize(
        ("name", "layer"),
        [
            ("pooled", "6"),
            ("resnet10t", "layer4"),
            ("vgg11", "features.19"),
            ("demo vgg11_bn", "features.27"),
            ("demo vovnet19b", "stages.3"),
        ],
    )
    def test_guided(self, network, name, layer):
        net, given = network(name), given_to(name)
        found = attribute(net, given, ["guided_backprop", "guided_grad_cam"], EVERY)
        copy = out_of_place(net)
        products = []
        for target in EVERY:
            oracle = captum.attr.GuidedBackprop(copy)
            expected = oracle.attribute(given.clone().requires_grad_(), target).abs().amax(dim=1)
            assert_close(found.values["guided_backprop"]["input"][:, target], expected)
            oracle = captum.attr.GuidedGradCam(copy, copy.get_submodule(layer))
            expected = oracle.attribute(
                given.clone().requires_grad_(), target, interpolate_mode="bilinear"
            )
            products.append(expected.abs().amax(dim=1))
        assert_close(found.values["guided_grad_cam"]["input"], torch.stack(products, dim=1))

    @pytest.mark.parametrize("name", ["densenet121", "resnet18", "demo vovnet19b"])
    def test_guided_backprop_of_every_kind_of_relu(self, network, name):
        """Every ReLU of a copy, functions among them, is replaced by one written here."""

        class Guided(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return torch.where(x > 0, x, 0.0)

            @staticmethod
            def backward(ctx, gradient):
                (x,) = ctx.saved_tensors
                return torch.where((x > 0) & (gradient > 0), gradient, 0.0)

        class GuidedModule(nn.Module):
            def forward(self, x):
                return Guided.apply(x)

        net, given = network(name), given_to(name)
        found = maps_of(net, given, "guided_backprop", [1, 5])
        copy = deepcopy(net).eval()
        for module in list(copy.modules()):
            for child, part in module.named_children():
                if isinstance(part, nn.ReLU):
                    setattr(module, child, GuidedModule())
        with densenet_with(Guided.apply):
            for t, target in enumerate([1, 5]):
                pixels = given.clone().requires_grad_()
                (gradients,) = torch.autograd.grad(copy(pixels)[:, target].sum(), pixels)
                assert_close(found[:, t], gradients.abs().amax(dim=1))

    @pytest.mark.parametrize("method", ["guided_backprop", "guided_grad_cam", "deep_lift"])
    def test_an_in_place_relu_whose_input_is_used_again(self, method):
        class PreActivated(nn.Module):
            def __init__(self, in_place):
                super().__init__()
                self.first, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=in_place)
                self.second, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, CLASSES)

            def forward(self, x):
                x = self.first(x)
                active = self.relu(x)
                x = x if self.relu.inplace else active
                return self.head((x + self.second(active)).mean(dim=(-2, -1)))

        nets = []
        for in_place in (True, False):
            torch.manual_seed(0)
            nets.append(PreActivated(in_place).eval())
        given = draw(2, 3, 12, 12)
        with torch.no_grad():
            assert torch.equal(nets[0](given), nets[1](given))
        found, expected = (maps_of(net, given, method, EVERY, ["second"]) for net in nets)
        assert_close(found, expected)


class TestDeepLift:
    SIZE = (12, 14)

    def layers(self, pool_first):
        """In float64: slopes are ratios of differences, which float32 rounds if they are small."""
        torch.manual_seed(0)
        middle = [nn.MaxPool2d(3, stride=2, padding=1), nn.ReLU(inplace=True)]
        local = nn.Sequential(
            nn.Conv2d(3, 5, 3),
            nn.BatchNorm2d(5),
            *(middle if pool_first else middle[::-1]),
            nn.Conv2d(5, 4, 2, stride=2),
            nn.ReLU(inplace=True),
        )
        head = [nn.Flatten(), nn.Linear(24, 8), nn.ReLU(inplace=True), nn.Linear(8, CLASSES)]
        return randomised(nn.Sequential(*local, *head)).double()

    @hooks_of_captum
    def test_captum(self):
        # without biases the reference is zero everywhere: where its maximum in a pooling window is
        # greater than the image's, captum credits the image's place (see `test_definition`)
        torch.manual_seed(0)
        net, given = plain(16, bias=False).double(), draw(2, 3, 16, 16, dtype=torch.float64)
        found = maps_of(sized(net, 16), given, "deep_lift", EVERY)
        oracle = captum.attr.DeepLift(out_of_place(net))
        for n, image in enumerate(given):
            for target in EVERY:
                expected = oracle.attribute(image[None].clone().requires_grad_(), 0, target)
                assert_close(found[n, target], expected.sum(dim=1)[0])

    @pytest.mark.parametrize("baseline", ["mean", "white", "blur"])
    @pytest.mark.parametrize("pool_first", [True, False])
    def test_definition(self, pool_first, baseline):
        """Layer by layer, place by place, from the last to the first."""
        net, given = self.layers(pool_first), draw(1, 3, *self.SIZE, dtype=torch.float64)
        classifier = sized(net, self.SIZE)
        found = maps_of(classifier, given, "deep_lift", [0, 5], baseline=baseline)
        reference = baseline_by_hand(baseline, given, classifier.transform)
        pairs, copy = [torch.cat([given, reference])], out_of_place(net)
        with torch.no_grad():
            for layer in copy:
                pairs.append(layer(pairs[-1]))
        for t, target in enumerate([0, 5]):
            multipliers = torch.eye(CLASSES, dtype=torch.float64)[target][None]
            for layer, (x, reference_x), (y, reference_y) in reversed(
                list(zip(copy, pairs, pairs[1:], strict=False))
            ):
                if isinstance(layer, nn.ReLU):
                    apart = x - reference_x
                    slope = (y - reference_y) / torch.where(apart == 0, 1, apart)
                    multipliers = multipliers * torch.where(apart == 0, (x > 0).double(), slope)
                elif isinstance(layer, nn.MaxPool2d):
                    multipliers = self.through_pooling(x, reference_x, multipliers[0])[None]
                else:
                    start = x[None].clone().requires_grad_()
                    (multipliers,) = torch.autograd.grad(layer(start), start, multipliers)
            expected = (multipliers * (given - reference)).sum(dim=1)
            assert_close(found[:, t], expected)

    @staticmethod
    def through_pooling(x, reference, multipliers):
        """Of 3x3 windows every two places, with one place of padding.

        The reference's greatest place is the image's own where it is as great there as anywhere.
        """
        passed = torch.zeros_like(x)
        for channel, row, column in np.ndindex(*multipliers.shape):
            rows = slice(max(2 * row - 1, 0), 2 * row + 2)
            columns = slice(max(2 * column - 1, 0), 2 * column + 2)
            own, other = x[channel, rows, columns], reference[channel, rows, columns]
            greatest = max(own.max(), other.max())
            gains = {int(own.argmax()): greatest - other.max()}
            ties = np.flatnonzero(other.numpy() >= other.max().item() - 1e-9)
            place = int(own.argmax()) if own.argmax() in ties else int(ties[0])
            gains[place] = gains.get(place, 0) + own.max() - greatest
            for place, gain in gains.items():
                at = np.unravel_index(place, own.shape)
                if gain != 0:
                    share = multipliers[channel, row, column] * gain / (own[at] - other[at])
                    passed[channel, rows, columns][at] += share
        return passed

    @pytest.mark.parametrize(
        ("name", "baseline"),
        [
            *[("demo vgg11_bn", kind) for kind in ("mean", "black", "white", "blur")],
            *[("demo vovnet19b", kind) for kind in ("mean", "black", "white", "blur")],
            *[("resnet18", kind) for kind in ("mean", "blur")],
            ("resnet10t", "mean"),
            ("densenet121", "black"),
        ],
    )
    def test_completeness(self, network, name, baseline):
        net, given = network(name), given_to(name)
        found = attribute(net, given, "deep_lift", [0, 4], baseline=baseline)
        maps, errors = found.values["deep_lift"]["input"], found.errors["deep_lift"]
        assert errors.abs().max() < 1e-4
        transform = vizkit.wrap(net).transform
        with torch.no_grad():
            reference = baseline_by_hand(baseline, given, transform)
            gains = (net(given) - net(reference))[:, [0, 4]]
        # sums of thousands of signed float32 values
        assert_close(maps.sum(dim=(-2, -1)), gains, 1e-3)
        assert (maps.sum(dim=(-2, -1)) - gains).abs().max() < 1e-4

    @pytest.mark.parametrize(
        "function",
        [
            F.relu, torch.relu, torch.Tensor.relu_, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu,
            F.mish, F.softplus, F.hardswish, F.hardsigmoid, F.hardtanh, torch.sigmoid, torch.tanh,
            lambda x: x * x, lambda x: x * x.sigmoid(), lambda x: torch.max_pool2d(x, 3, 2, 1),
            lambda x: F.max_pool2d(input=x, kernel_size=3, stride=1, padding=1, dilation=2),
            nn.ReLU(inplace=True), nn.ELU(inplace=True), nn.Hardswish(inplace=True),
        ],
    )  # fmt: skip
    def test_completeness_of_functions(self, function):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)
                self.head = nn.Linear(6, CLASSES)

            def forward(self, x):
                x = self.second(function(4 * self.first(x)))
                return self.head(function(x).mean(dim=(-2, -1)))

        torch.manual_seed(0)
        net, given = Net().double(), draw(2, 3, 12, 14, dtype=torch.float64)
        found = attribute(net, given, "deep_lift", [0, 4], ["first"])
        with torch.no_grad():
            gains = (net(given) - net(torch.zeros_like(given)))[:, [0, 4]]
        assert found.errors["deep_lift"].abs().max() < 1e-6
        assert_close(found.values["deep_lift"]["input"].sum(dim=(-2, -1)), gains)


def baseline_by_hand(kind, given, transform):
    """What covers, by SciPy and by the definition of a normalised input."""
    if kind == "mean":
        return torch.zeros_like(given)
    if kind == "blur":
        sigma = min(given.shape[-2:]) / 20
        reach = min(round(3 * sigma), (min(given.shape[-2:]) - 1) // 2)
        pixels = given.double().numpy()
        blurred = gaussian_filter(pixels, (0, 0, sigma, sigma), mode="mirror", radius=reach)
        return torch.from_numpy(blurred).to(given)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (transform.mean, transform.std))
    level = {"black": 0.0, "white": 1.0}[kind]
    return ((level - mean) / std).to(given).expand_as(given)


def dilated(in_place):
    return [
        nn.Conv2d(3, 6, (3, 5), stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
        nn.BatchNorm2d(6),
        nn.LeakyReLU(0.1, inplace=in_place),
        nn.MaxPool2d(3, stride=2, padding=1, dilation=1),
        nn.Conv2d(6, 6, 3, padding=3, dilation=3, groups=3),
        nn.GELU(),
        nn.AvgPool2d((2, 1), stride=1),
    ]


CHAINS = {
    "dilated": lambda: dilated(in_place=False),
    "in place": lambda: dilated(in_place=True),
    "even kernels": lambda: [
        nn.Conv2d(3, 4, 4, stride=3, padding=2), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 2),
        nn.MaxPool2d(2, stride=1), nn.Tanh(), nn.Conv2d(4, 3, 1, stride=2),
    ],
    "steps that leave places out": lambda: [
        nn.Conv2d(3, 4, 2, stride=3), nn.Sigmoid(), nn.MaxPool2d(2, stride=3), nn.Conv2d(4, 4, 1),
    ],
    "dilated pooling": lambda: [
        nn.MaxPool2d(2, stride=1, dilation=3), nn.Conv2d(3, 4, 5, padding=4), nn.SiLU(),
    ],
    "layers that are not local": lambda: [
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(4, 4, 3, padding="same"),
    ],
    "only pooling padded": lambda: [
        nn.Conv2d(3, 4, 3), nn.AvgPool2d(3, 2, padding=1), nn.GroupNorm(2, 4), nn.ReLU(),
    ],
}  # fmt: skip
# (window, stride): a divisor of no side, overlapping, every pixel, and one large window
WINDOWS = [(5, 5), (5, 2), (1, 1), (13, 13), (7, 3), (4, 3)]


class TestOcclusion:
    """Losses are differences of nearly equal scores: compared in float64."""

    @staticmethod
    def expected(net, given, window, stride, cover, target):
        oracle = captum.attr.Occlusion(out_of_place(net))
        shape, steps = (3, window, window), (3, stride, stride)
        return oracle.attribute(given, shape, steps, cover, target, perturbations_per_eval=16)

    @staticmethod
    def completed(layers, size):
        """Make a classifier of local layers, not linear in them."""
        torch.manual_seed(0)
        local = randomised(nn.Sequential(*layers))
        with torch.no_grad():
            count = local(torch.zeros(1, 3, *size)).numel()
        head = [nn.Flatten(), nn.Linear(count, 8), nn.Tanh(), nn.Linear(8, CLASSES)]
        return nn.Sequential(*local, *head).eval().double()

    @pytest.mark.parametrize("name", CHAINS)
    @pytest.mark.parametrize("size", [(18, 18), (17, 26), (23, 16)])
    def test_chains(self, name, size):
        net = self.completed(CHAINS[name](), size)
        given = draw(2, 3, *size, dtype=torch.float64)
        windows = WINDOWS if size == (17, 26) else WINDOWS[:2]
        for window, stride in windows:
            found = maps_of(
                sized(net, size), given, "occlusion", [0, 4], window=window, stride=stride
            )
            for t, target in enumerate([0, 4]):
                expected = self.expected(net, given, window, stride, 0, target)[:, 0]
                assert_close(found[:, t], expected)

    @pytest.mark.parametrize("name", ["resnet10t", "demo vovnet19b", "densenet121"])
    def test_no_chains(self, network, name):
        net = deepcopy(network(name)).double()
        given = draw(1, 3, 40, 56, dtype=torch.float64)
        found = maps_of(net, given, "occlusion", [0, 4], window=15, stride=11)
        for t, target in enumerate([0, 4]):
            expected = self.expected(net, given, 15, 11, 0, target)[:, 0]
            assert_close(found[:, t], expected)

    def test_vgg(self, network):
        net = deepcopy(network("demo vgg11_bn")).double()
        given = draw(1, 3, 128, 128, dtype=torch.float64)
        found = maps_of(net, given, "occlusion", 4, window=43, stride=30)
        assert_close(found[:, 0], self.expected(net, given, 43, 30, 0, 4)[:, 0])

    @pytest.mark.parametrize("baseline", ["mean", "black", "white", "blur"])
    @pytest.mark.parametrize("chain", [True, False])
    def test_baselines(self, network, baseline, chain):
        size = (26, 20) if chain else (32, 40)
        if chain:
            net = self.completed(dilated(in_place=True), size)
        else:
            net = deepcopy(network("resnet10t")).double()
        given = draw(1, 3, *size, dtype=torch.float64)
        classifier = sized(net, size)
        cover = baseline_by_hand(baseline, given, classifier.transform)
        found = maps_of(classifier, given, "occlusion", 3, window=9, baseline=baseline)
        assert_close(found[:, 0], self.expected(net, given, 9, 9, cover, 3)[:, 0])

    def test_default_window(self):
        net = self.completed(dilated(in_place=True), (22, 30))
        given = draw(1, 3, 22, 30, dtype=torch.float64)
        found = maps_of(sized(net, (22, 30)), given, "occlusion", 3)
        assert_close(found[:, 0], self.expected(net, given, 3, 3, 0, 3)[:, 0])

    def test_places_that_the_network_leaves_out(self):
        net = self.completed([nn.Conv2d(3, 4, 8, stride=8), nn.ReLU()], (20, 20))
        given = draw(1, 3, 20, 20, dtype=torch.float64)
        found = maps_of(sized(net, 20), given, "occlusion", 3, window=3, stride=1)
        assert_close(found[:, 0], self.expected(net, given, 3, 1, 0, 3)[:, 0])

    @pytest.mark.parametrize(
        "layers",
        [
            lambda: [StdConv2d(3, 6, 3)],
            lambda: [timm.layers.Conv2dSame(3, 6, 3, stride=2)],
            lambda: [timm.layers.create_pool2d("max", 3, 2, padding="same")],
            lambda: [nn.AvgPool2d(2, divisor_override=3)],
        ],
    )
    def test_layers_that_are_not_what_they_seem(self, layers):
        net = self.completed([*layers(), nn.ReLU()], (20, 24))
        given = draw(1, 3, 20, 24, dtype=torch.float64)
        found = maps_of(sized(net, (20, 24)), given, "occlusion", 3, window=5, stride=3)
        assert_close(found[:, 0], self.expected(net, given, 5, 3, 0, 3)[:, 0])


class Corner(nn.Module):
    """Looks at the brightness of one corner."""

    def __init__(self, rows, columns):
        super().__init__()
        self.rows, self.columns = rows, columns
        self.body = nn.Conv2d(3, 1, 1)
        nn.init.ones_(self.body.weight)
        nn.init.zeros_(self.body.bias)

    def forward(self, x):
        bright = self.body(x)[:, 0, self.rows, self.columns].mean(dim=(-2, -1))
        return torch.stack([bright, torch.zeros_like(bright)], dim=1)


class TestRise:
    def test_a_constant_network_shows_the_mean_mask(self):
        net = nn.Sequential(
            nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        )
        nn.init.zeros_(net[-1].weight)
        found = maps_of(net, draw(2, 3, 28, 35), "rise", [0, 1, 2], n_masks=100)
        probabilities = net[-1].bias.softmax(dim=0)
        masks = found / probabilities[:, None, None].detach()
        # one set of masks for every image and class
        assert_close(masks, masks[:1, :1].expand_as(masks))
        # of which each place is open half of the time, and the map is divided by that half
        assert float(masks[0, 0].mean()) == pytest.approx(1, abs=0.03)
        assert masks.min() > 0.6
        assert masks.max() < 1.4
        assert masks[0, 0].std() > 0.01

    @pytest.mark.parametrize("keep", [0.2, 0.8])
    def test_keep_is_divided_by(self, keep):
        net = Corner(slice(4), slice(4))
        nn.init.zeros_(net.body.weight)
        found = maps_of(net, draw(1, 3, 28, 28), "rise", 0, keep=keep, n_masks=400)
        assert float(found.mean()) == pytest.approx(0.5, abs=0.03)

    @pytest.mark.parametrize(
        ("rows", "columns"),
        [
            (slice(4), slice(4)),
            (slice(4), slice(-4, None)),
            (slice(-4, None), slice(4)),
            (slice(-4, None), slice(-4, None)),
        ],
    )
    def test_one_corner(self, rows, columns):
        net, given = Corner(rows, columns), torch.full((1, 3, 28, 42), 2.0)
        maps = maps_of(net, given, "rise", [0, 1])[0]
        best = [int(each) for each in np.unravel_index(int(maps[0].argmax()), (28, 42))]
        # a cell of 4 x 6 pixels, scaled up smoothly and shifted, is as precise as it gets
        inside = torch.zeros(28, 42)
        inside[rows, columns] = 1
        where = inside.nonzero().double().mean(dim=0)
        assert abs(best[0] - where[0]) <= 4
        assert abs(best[1] - where[1]) <= 6
        # what speaks for one class speaks against the other
        assert maps[1][rows, columns].mean() < maps[1].mean()

    def test_two_probabilities_add_up_to_the_masks(self):
        net, given = Corner(slice(4), slice(4)), draw(1, 3, 28, 28)
        both = maps_of(net, given, "rise", [0, 1], n_masks=60).sum(dim=1)
        blind = deepcopy(net)
        nn.init.zeros_(blind.body.weight)
        assert_close(both, 2 * maps_of(blind, given, "rise", 0, n_masks=60)[:, 0])

    def test_seed(self, network):
        net, given = network("pooled"), given_to("pooled")
        first, again, other = (
            maps_of(net, given, "rise", 1, n_masks=60, seed=seed) for seed in (3, 3, 4)
        )
        assert torch.equal(first, again)
        assert not torch.allclose(first, other, rtol=1e-3)

    def test_more_masks_begin_with_the_same(self, network):
        net, given = network("pooled"), given_to("pooled")[:1]
        few, many = (maps_of(net, given, "rise", 1, n_masks=n).double() for n in (50, 100))
        # the second half must be a sum of masks weighted by probabilities: never negative
        assert (many * 100 - few * 50).min() > 0

    def test_an_image_does_not_depend_on_the_others(self, network):
        net, given = network("resnet10t"), given_to("resnet10t")
        together = maps_of(net, given, "rise", 1, n_masks=20)
        for n in range(2):
            assert_close(together[n : n + 1], maps_of(net, given[n : n + 1], "rise", 1, n_masks=20))


COMPOSITES = {
    "epsilon_plus": zennit.composites.EpsilonPlus,
    "epsilon_plus_flat": zennit.composites.EpsilonPlusFlat,
    "epsilon_alpha2_beta1": zennit.composites.EpsilonAlpha2Beta1,
}


class TestRelevance:
    @staticmethod
    def folded(net):
        """Layers in a row, with normalisation in the convolution before it."""
        layers = []
        for layer in net:
            if isinstance(layer, nn.BatchNorm2d):
                layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
            else:
                layers.append(layer)
        return nn.Sequential(*layers).eval()

    @staticmethod
    def rows(name):
        if name == "demo vgg11_bn":
            net = vizkit.load("demo/vgg11_bn", device="cpu").module
            given = draw(2, 3, 128, 128)
            head = [net.pre_logits.fc1, net.pre_logits.act1, net.pre_logits.fc2]
            head += [net.pre_logits.act2, nn.AdaptiveAvgPool2d(1), nn.Flatten(1), net.head.fc]
            return net, given, nn.Sequential(*net.features, *head)
        torch.manual_seed(0)
        net = randomised(plain(16) if name == "plain" else pooled())
        return net, draw(2, 3, 16, 16), net

    @pytest.mark.parametrize("composite", COMPOSITES)
    @pytest.mark.parametrize("name", ["plain", "pooled", "demo vgg11_bn"])
    def test_zennit(self, name, composite):
        net, given, layers = (each.double() for each in self.rows(name))
        side = given.shape[-1]
        found = maps_of(sized(net, side), given, "lrp", [1, 4], composite=composite)
        copy = self.folded(out_of_place(layers))
        with torch.no_grad():
            scores = copy(given)
            assert_close(scores, out_of_place(net)(given))
        with zennit.attribution.Gradient(copy, COMPOSITES[composite]()) as oracle:
            for t, target in enumerate([1, 4]):
                start = torch.zeros_like(scores)
                start[:, target] = scores[:, target]
                _, expected = oracle(given.clone().requires_grad_(), start)
                # zennit leaves each folded normalisation its epsilon: a factor of 1 - 5e-6
                assert_close(found[:, t], expected.sum(dim=1), 3e-4)

    @pytest.mark.parametrize("composite", COMPOSITES)
    def test_conservation(self, composite):
        """Without biases, every rule hands on what it was given."""
        torch.manual_seed(0)
        net = plain(16, bias=False).eval().double()
        given = draw(2, 3, 16, 16, dtype=torch.float64)
        found = maps_of(sized(net, 16), given, "lrp", EVERY, composite=composite)
        with torch.no_grad():
            assert_close(found.sum(dim=(-2, -1)), net(given), 1e-3)


# a chain and none, for which there is no LRP
CASES = [
    (name, method)
    for name in ("pooled", "resnet10t")
    for method in METHODS
    if (name, method) != ("resnet10t", "lrp")
]


class TestLaws:
    @pytest.mark.parametrize(
        "method", ["input_x_gradient", "integrated_gradients", "deep_lift", "occlusion"]
    )
    def test_a_linear_network(self, method):
        """All of these give each pixel exactly its share w x."""
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, CLASSES)
        ).double()
        given = draw(2, 3, 8, 8, dtype=torch.float64)
        weights = effective_weights(net, (3, 8, 8))
        expected = (weights * given[:, None]).sum(dim=2)
        found = maps_of(sized(net, 8), given, method, EVERY, window=1)
        assert_close(found, expected, 1e-6)

    def stages(self, method, name):
        if name == "pooled":
            return ["6"]
        # the first of these has few channels, CAM needs the last
        return ["layer4"] if method == "cam" else ["layer1"]

    def run(self, net, given, method, targets, name, **options):
        found = maps_of(net, given, method, targets, self.stages(method, name), **QUICK, **options)
        return found if isinstance(found, torch.Tensor) else next(iter(found.values()))

    # RISE explains probabilities; Eigen-CAM no class
    @coarse_integral
    @pytest.mark.parametrize(
        ("name", "method"), [case for case in CASES if case[1] not in {"rise", "eigen_cam"}]
    )
    def test_against(self, network, name, method):
        """The same as explaining a network that puts out the difference."""
        net, given = deepcopy(network(name)).double(), draw(2, 3, 24, 32, dtype=torch.float64)
        targets, changed = [0, 3, 5], deepcopy(net)
        head = changed[-1] if name == "pooled" else changed.fc
        with torch.no_grad():
            head.weight[targets] -= head.weight[2]
            head.bias[targets] -= head.bias[2]
        known = {key: value for key, value in QUICK.items() if key in METHODS[method].options}
        stages = self.stages(method, name)
        found = attribute(net, given, method, targets, stages, against=2, **known)
        assert found.against == 2
        (maps,) = found.values[method].values()
        assert_close(maps, self.run(changed, given, method, targets, name))

    def test_rise_against(self, network):
        net, given = network("pooled"), given_to("pooled")
        first, second = (maps_of(net, given, "rise", t, n_masks=50) for t in (2, 5))
        found = attribute(net, given, "rise", 2, against=5, n_masks=50).values["rise"]["input"]
        assert_close(found, first - second)

    @coarse_integral
    @pytest.mark.parametrize(("name", "method"), CASES)
    def test_each_image_and_class_alone(self, network, name, method):
        net, given, targets = network(name), draw(2, 3, 24, 32), [2, 0, 5]
        together = self.run(net, given, method, targets, name)
        alone = [self.run(net, each[None], method, targets, name) for each in given]
        # losses are small differences of scores, of which float32 keeps fewer digits
        relative = 1e-4 if method in {"occlusion", "ablation_cam"} else 1e-5
        assert_close(together, torch.cat(alone), relative)
        alone = [self.run(net, given, method, target, name) for target in targets]
        assert_close(together, torch.cat(alone, dim=1), relative)

    @coarse_integral
    @pytest.mark.parametrize("method", sorted(METHODS.keys() - {"cam", "lrp", "rise"}))
    def test_linear_heads(self, network, method, monkeypatch):
        net, given = network("vgg11"), draw(1, 3, 32, 32)
        options = {"window": 16, "n_samples": 3, "n_steps": 4}
        known = {key: value for key, value in options.items() if key in METHODS[method].options}
        # the first stage has few channels
        with_heads = attribute(net, given, method, [0, 3, 5], ["stride1"], **known)
        monkeypatch.setattr("vizkit.attribution.explaining.LinearHeads", contextlib.nullcontext)
        without = attribute(net, given, method, [0, 3, 5], ["stride1"], **known)
        (found,), (expected,) = (each.values[method].values() for each in (with_heads, without))
        # losses are small differences of scores, of which float32 keeps fewer digits
        assert_close(found, expected, 1e-3 if method in {"occlusion", "ablation_cam"} else 1e-5)

    @pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize(
        "options",
        [
            {}, {"bias": False}, {"stride": 2}, {"padding": 1}, {"padding": (0, 2)},
            {"padding": "valid"}, {"padding": "same"}, {"dilation": (1, 2)}, {"groups": 2},
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("size", [(5, 6), (6, 6), (5, 11)])
    def test_linear_heads_of_any_convolution(self, options, size, layout):
        torch.manual_seed(0)
        layer = nn.Conv2d(4, 6, (5, 6), **options).double()
        given = draw(2, 4, *size, dtype=torch.float64).to(memory_format=layout).requires_grad_()
        try:
            expected = layer(given)
        except RuntimeError:
            with LinearHeads(), pytest.raises(RuntimeError, match=r"size|larger"):
                layer(given)
            return
        with LinearHeads():
            found = layer(given)
        torch.testing.assert_close(found, expected)
        gradients = [torch.autograd.grad(each.sin().sum(), given)[0] for each in (found, expected)]
        torch.testing.assert_close(*gradients)

    @coarse_integral
    @pytest.mark.parametrize("side", [16, 17])
    @pytest.mark.parametrize("method", METHODS)
    def test_too_little_memory(self, method, side):
        torch.manual_seed(0)
        net, given = randomised(pooled()).double(), draw(5, 3, side, side)
        short = nn.Sequential(Limited(), *net)
        options = {**QUICK, "window": 4}
        found = maps_of(short, given, method, EVERY, ["7"], **options)
        expected = maps_of(net, given, method, EVERY, ["6"], **options)
        if not isinstance(found, torch.Tensor):
            (found,), (expected,) = found.values(), expected.values()
        assert_close(found, expected)

    def test_no_memory_for_a_single_image(self):
        net = nn.Sequential(Limited(0), *pooled())
        with pytest.raises(torch.OutOfMemoryError, match="1 are too many"):
            attribute(net, draw(3, 3, 16, 16), "saliency", 1, ["7"])

    def test_other_errors_are_not_taken_for_it(self):
        class Broken(nn.Module):
            def forward(self, x):
                if len(x) > 2 and not x.is_meta:
                    raise RuntimeError("something else")
                return x

        with pytest.raises(RuntimeError, match="something else"):
            attribute(nn.Sequential(Broken(), *pooled()), draw(3, 3, 16, 16), "saliency", 1)


with_baseline = pytest.mark.parametrize(
    "method", [name for name, method in METHODS.items() if "baseline" in method.options]
)


class TestBaselines:
    @with_baseline
    def test_unknown(self, network, method):
        with pytest.raises(InputError, match="unknown baseline 'blakc'; did you mean 'black'"):
            attribute(network("pooled"), given_to("pooled"), method, 1, baseline="blakc")

    @coarse_integral
    @with_baseline
    def test_a_transform_that_nobody_knows(self, network, method):
        classifier = vizkit.wrap(network("pooled"), transform=lambda _photo: torch.zeros(3, 8, 8))
        for kind in ("black", "white"):
            with pytest.raises(InputError, match=rf"baseline '{kind}' needs a vizkit\.Transform"):
                attribute(classifier, given_to("pooled"), method, 1, baseline=kind)
        for kind in ("mean", "blur"):
            attribute(classifier, given_to("pooled"), method, 1, baseline=kind)

    @pytest.mark.parametrize("kind", ["mean", "black", "white", "blur"])
    @pytest.mark.parametrize("size", [(32, 32), (21, 40)])
    def test_values(self, kind, size):
        transform = vizkit.Transform(mean=(0.1, 0.5, 0.3), std=(0.3, 0.2, 0.5))
        given = draw(2, 3, *size)
        found = vizkit.attribution.baselines.baseline_of(kind, given, transform)
        torch.testing.assert_close(found, baseline_by_hand(kind, given, transform))


class TestWhatWasOnceWrong:
    """Each was found by using the package."""

    def test_deep_lift_of_a_constant_baseline_does_not_hang_on_rounding(self):
        net, given = vizkit.load("demo/vovnet19b", device="cpu"), draw(3, 3, 64, 64)
        together = attribute(net, given, "deep_lift", 2).values["deep_lift"]["input"]
        for n in range(3):
            alone = attribute(net, given[n], "deep_lift", 2).values["deep_lift"]["input"]
            assert_close(together[n : n + 1], alone, 1e-4)

    @pytest.mark.parametrize("method", ["occlusion", "ablation_cam"])
    def test_a_module_that_works_in_place_without_saying_so(self, method):
        class Normalised(nn.Module):
            def __init__(self, in_place):
                super().__init__()
                self.in_place = in_place

            def forward(self, x):
                return x.sub_(0.5).div_(0.25) if self.in_place else (x - 0.5) / 0.25

        torch.manual_seed(0)
        rest, given = pooled(), draw(1, 3, 16, 16)
        nets = [nn.Sequential(Normalised(in_place), *rest).eval() for in_place in (True, False)]
        found, expected = (attribute(net, given, method, 1, ["1"]) for net in nets)
        assert torch.equal(found.inputs, given)
        for key, maps in expected.values[method].items():
            assert_close(found.values[method][key], maps)

    def test_occlusion_sees_hooks(self):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 3),
        ).eval()
        net[0].register_forward_hook(lambda _m, _i, out: out - out.mean((2, 3), keepdim=True))
        given = draw(1, 3, 16, 16)
        found = attribute(net, given, "occlusion", 1, window=4).values["occlusion"]["input"]
        oracle = captum.attr.Occlusion(net)
        expected = oracle.attribute(given, (3, 4, 4), (3, 4, 4), target=1)
        assert_close(found[:, 0], expected[:, 0].detach())

    def test_whether_a_stage_has_a_cam_is_a_fact_of_the_network(self):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, stride=2, bias=False),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 3),
        )
        given = torch.cat([torch.zeros(17, 3, 32, 32), draw(2, 3, 32, 32)])
        assert list(attribute(net, given, "cam").values["cam"]) == ["stride2"]
