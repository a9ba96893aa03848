"""Folded networks compute the same with fewer layers, and only what follows is folded."""

import pytest
import timm
import torch
from torch import nn

import vizkit
from vizkit.errors import InputError, VizkitError
from vizkit.images import Transform

SMALL = Transform((64, 64), (64, 64))
NORMS = nn.modules.batchnorm._BatchNorm
# how many normalisations are left: those that come before their convolution
NETWORKS = {
    "demo/vgg11_bn": 0,
    "demo/vovnet19b": 0,
    "vgg11_bn": 0,
    "resnet18": 0,
    "ese_vovnet19b_dw": 0,
    "mobilenetv2_100": 0,
    "densenet121": 62,
}


def built(name):
    """A network whose normalisation has something to do."""
    if name.startswith("demo/"):
        return vizkit.load(name, device="cpu")
    generator = torch.Generator().manual_seed(0)
    # vgg's own head has 100 million weights
    narrow = {"mlp_ratio": 1 / 64} if name.startswith("vgg") else {}
    module = timm.create_model(name, num_classes=5, **narrow).eval()
    for norm in norms(module):
        norm.running_mean.normal_(0, 0.3, generator=generator)
        norm.running_var.uniform_(0.3, 2, generator=generator)
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
        nn.init.normal_(norm.bias, 0, 0.3, generator=generator)
    return vizkit.wrap(module, name=name, transform=SMALL)


def norms(module):
    return [each for each in module.modules() if isinstance(each, NORMS)]


def pixels(size=64, dtype=torch.float32):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_computes_the_same(name):
    model = built(name)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    folded = vizkit.fold_batch_norm(model)
    with torch.no_grad():
        expected, found = model.module(pixels()), folded.module(pixels())
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert len(norms(folded.module)) == NETWORKS[name]
    assert len(norms(model.module)) > NETWORKS[name]
    after = model.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert folded.name == f"{model.name} folded"
    assert folded.stages == model.stages
    exact = vizkit.fold_batch_norm(vizkit.wrap(model.module.double(), transform=model.transform))
    with torch.no_grad():
        expected = model.module(pixels(dtype=torch.float64))
        found = exact.module(pixels(dtype=torch.float64))
    assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_stages_are_the_same_maps(demo):
    folded = vizkit.fold_batch_norm(demo)
    photo = vizkit.samples()["rocket"]
    maps, others = vizkit.capture(demo, photo), vizkit.capture(folded, photo)
    assert list(maps) == list(others)
    for tap, values in maps.items():
        assert torch.allclose(others[tap], values, rtol=1e-3, atol=1e-4)
    # what the convolution gives now is what the normalisation gave
    norm = vizkit.capture(demo, photo, "conv3_1:norm")["conv3_1"]
    conv = vizkit.capture(folded, photo, "conv3_1:conv")["conv3_1"]
    assert torch.allclose(conv, norm, rtol=1e-3, atol=1e-4)
    assert "norm" not in {tap.role for tap in vizkit.find_stages(folded, "layers")}


class Net(nn.Module):
    """One convolution and one normalisation, joined in different ways."""

    def __init__(self, way, **options):
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3, **options)
        if options.get("track_running_stats", True):
            self.norm.running_mean.fill_(0.4)
            self.norm.running_var.fill_(2.0)

    def forward(self, x):
        return getattr(self, self.way)(x)

    def straight(self, x):
        return self.norm(self.conv(x)).mean(dim=(-2, -1))

    def added(self, x):
        maps = self.conv(x)
        return (self.norm(maps) + maps).mean(dim=(-2, -1))

    def gated(self, x):
        maps = self.conv(x)
        return (self.norm(maps) * maps.detach().sigmoid()).mean(dim=(-2, -1))

    def activated(self, x):
        return self.norm(self.conv(x).relu_()).mean(dim=(-2, -1))

    def twice(self, x):
        return self.norm(self.conv(self.norm(self.conv(x)))).mean(dim=(-2, -1))

    def shared(self, x):
        return (self.norm(self.conv(x)) + self.conv(x * 2)).mean(dim=(-2, -1))

    def penalised(self, x):
        return self.norm(self.conv(x)).mean(dim=(-2, -1)) + self.conv.weight.sum()

    def returned(self, x):
        maps = self.conv(x)
        return self.norm(maps).mean(dim=(-2, -1)), maps

    def before(self, x):
        return self.conv(self.norm(x)).mean(dim=(-2, -1))


def folding(module):
    return vizkit.fold_batch_norm(vizkit.wrap(module.eval(), transform=SMALL))


@pytest.mark.parametrize(
    "way",
    ["added", "gated", "activated", "twice", "shared", "penalised", "returned", "before"],
)
def test_what_is_used_elsewhere_is_left_as_it_is(way):
    net = Net(way)
    folded = folding(net)
    assert isinstance(folded.module.norm, nn.BatchNorm2d)
    assert "0 of 1 batch normalisations folded, not norm" in folded.source
    with torch.no_grad():
        expected, found = net(pixels()), folded.module(pixels())
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"eps": 0.3}])
def test_what_follows_directly_is_folded(options):
    net = Net("straight", **options)
    folded = folding(net)
    assert isinstance(folded.module.norm, nn.Identity)
    assert folded.source == "given module; 1 of 1 batch normalisations folded"
    with torch.no_grad():
        assert torch.allclose(folded.module(pixels()), net(pixels()), atol=1e-6)
    assert folded.module.conv.weight.requires_grad
    assert not folded.module.training


def test_the_order_of_modules_is_no_proof():
    class Crossed(nn.Sequential):
        def forward(self, x):
            return (self[2](self[0](x)) + self[1](self[3](x))).mean(dim=(-2, -1))

    net = Crossed(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Conv2d(3, 4, 1))
    net[1].running_mean.fill_(3.0)
    net[2].running_mean.fill_(-1.0)
    folded = folding(net)
    assert not norms(folded.module)
    with torch.no_grad():
        assert torch.allclose(folded.module(pixels()), net(pixels()), atol=1e-5)
        assert torch.allclose(folded.module[3].bias, (net[3].bias - 3) / 1.00001**0.5)


def test_statistics_of_the_batch_are_left():
    folded = folding(Net("straight", track_running_stats=False))
    assert isinstance(folded.module.norm, nn.BatchNorm2d)


def test_weights_that_are_made_anew_each_time_are_left():
    made = Net("straight")
    nn.utils.parametrizations.weight_norm(made.conv)
    assert "0 of 1" in folding(made).source
    standardised = Net("straight")
    standardised.conv = timm.layers.ScaledStdConv2d(3, 3, 3)
    assert "0 of 1" in folding(standardised).source


def test_a_drop_and_an_activation_stay():
    net = Net("straight")
    net.norm = timm.layers.BatchNormAct2d(3, act_layer=nn.SiLU, drop_layer=nn.Dropout2d)
    folded = folding(net)
    assert [type(each) for each in folded.module.norm] == [nn.Dropout2d, nn.SiLU]
    with torch.no_grad():
        assert torch.allclose(folded.module(pixels()), net(pixels()), atol=1e-6)


def test_a_network_without_normalisation_is_only_copied():
    plain = vizkit.load("demo/vgg11", device="cpu")
    folded = vizkit.fold_batch_norm(plain)
    assert folded.source == "bundled weights; no batch normalisation to fold"
    assert folded.module is not plain.module


def test_a_network_in_training_and_what_it_holds_stay_as_they_are(unchanged):
    net = Net("straight").train()
    model = vizkit.wrap(net, transform=SMALL)
    with unchanged(net):
        folded = vizkit.fold_batch_norm(model)
    assert folded.module.training
    assert folded.module.conv.training


def test_a_network_that_looks_at_its_layers_is_refused():
    class Looking(Net):
        def straight(self, x):
            normed = isinstance(self.norm, nn.BatchNorm2d)
            return self.norm(self.conv(x)).mean(dim=(-2, -1)) * (1 if normed else 5)

    with pytest.raises(VizkitError, match="changes its output by"):
        folding(Looking("straight"))

    class Single(Net):
        def __deepcopy__(self, memo):
            raise TypeError("there is only one")

    with pytest.raises(InputError, match="Single cannot be copied: there is only one"):
        folding(Single("straight"))
