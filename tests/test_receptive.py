"""Receptive fields: published ones, and those that gradients show."""

import random

import pytest
import timm
import torch
import torchvision
from torch import nn

from vizkit.receptive import Field, fields
from vizkit.stages import find_stages

# one place of conv<block>_<unit> or pool<block> in the plain VGGs, as published
PUBLISHED = {
    "vgg11": {"conv1_1": 3, "pool1": 4, "pool5": 150},
    "vgg16": {"conv1_2": 5, "conv2_2": 14, "conv3_3": 40, "conv4_3": 92, "conv5_3": 196}
    | {"pool1": 6, "pool2": 16, "pool3": 44, "pool4": 100, "pool5": 212},
    "vgg19": {"conv3_4": 48, "conv4_4": 116, "conv5_4": 252, "pool5": 268},
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("source", ["timm", "torchvision"])
def test_published(source, name):
    with torch.device("meta"):
        if source == "timm":
            net = timm.create_model(name)
        else:
            net = torchvision.models.get_model(name, weights=None, init_weights=False)
    found = fields(net, (224, 224))
    sizes = {tap.name: found[tap.module, 0].size for tap in find_stages(net, "layers")}
    assert {layer: sizes[layer] for layer in PUBLISHED[name]} == PUBLISHED[name]


def test_published_resnet():
    with torch.device("meta"):
        net = torchvision.models.resnet18()
    found = fields(net, (224, 224))
    # Araujo, Norris and Sim (2019), table 1, at the last map; the stride is 32
    assert found["layer4", 0].size == 435
    assert found["layer4", 0].step == 32


class Fork(nn.Module):
    """Two paths side by side, joined by addition or concatenation."""

    def __init__(self, first, second, join):
        super().__init__()
        self.first, self.second, self.join = first, second, join

    def forward(self, x):
        first, second = self.first(x), self.second(x)
        return torch.cat([first, second], dim=1) if self.join == "cat" else first + second


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x * self.squeeze(nn.functional.avg_pool2d(x, x.shape[-2:])).sigmoid()


def random_network(seed):
    """Some layers with random kernels, strides, paddings and dilations."""
    chance = random.Random(seed)
    layers, channels = [], 3
    for _ in range(chance.randint(2, 5)):
        kind = chance.choice(["conv", "conv", "max", "mean", "add", "cat"])
        kernel = chance.choice([1, 2, 3, 5])
        stride = chance.choice([1, 1, 2, 3]) if len(layers) < 3 else 1
        dilation = chance.choice([1, 1, 2])
        padding = chance.randint(0, kernel // 2)
        if kind == "conv":
            options = {"stride": stride, "padding": padding, "dilation": dilation}
            layers += [nn.Conv2d(channels, 4, kernel, **options), nn.ReLU(inplace=True)]
            channels = 4
        elif kind == "max":
            layers.append(nn.MaxPool2d(kernel, stride, padding))
        elif kind == "mean":
            layers.append(nn.AvgPool2d(kernel, stride, padding))
        else:
            width = channels if kind == "add" else 2
            narrow = nn.Conv2d(channels, width, 1, stride)
            wide = nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation),
                nn.Conv2d(width, width, 5, stride, padding=2, groups=width),
            )
            layers.append(Fork(narrow, wide, kind))
            channels = 2 * width if kind == "cat" else width
    return nn.Sequential(*layers)


def seen_by_gradients(net, size, row):
    """First and last row of the input on which one row of the output depends."""
    net = net.double()
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):  # its gradient shows the largest value only
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                setattr(module, name, mean)
    for parameter in net.parameters():
        parameter.data = parameter.data.abs() + 0.1
    pixels = torch.ones(1, 3, *size, dtype=torch.float64, requires_grad=True)
    output = net(pixels)
    row = output.shape[-2] // 2 + row
    output[:, :, row, output.shape[-1] // 2].sum().backward()
    rows = pixels.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    return row, rows.min().item(), rows.max().item()


@pytest.mark.parametrize("seed", range(20))
def test_gradients_show_the_same(seed):
    net = random_network(seed)
    size = (600, 60)
    field = fields(net, size)["", 0]
    for offset in (0, 1):
        row, first, last = seen_by_gradients(net, size, offset)
        assert last - first + 1 == field.size
        assert first == field.start + row * field.step


def test_a_gate_that_sees_everything_is_left_out():
    plain = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 5, 2)]
    gated = nn.Sequential(plain[0], Gate(4), plain[1])
    assert fields(gated, (64, 64))["", 0] == fields(nn.Sequential(*plain), (64, 64))["", 0]


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_resizing_changes_the_step(mode):
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.Conv2d(4, 4, 3, stride=2, padding=1),
        nn.Upsample(scale_factor=2, mode=mode),
    )
    behind = nn.Sequential(net, nn.Conv2d(4, 4, 3, padding=1))
    before, after, last = (fields(each, (64, 64))["", 0] for each in (net[:2], net, behind))
    assert (before.step, after.step, last.step) == (4, 2, 2)
    for part, field in ((net, after), (behind, last)):
        spans = [seen_by_gradients(part, (64, 64), offset) for offset in range(2)]
        assert field.size == max(end - first + 1 for _, first, end in spans)


def test_every_call_has_its_own():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return self.conv(self.conv(x))

    found = fields(Twice(), (32, 32))
    assert found["conv", 0] == Field(size=3, step=1, start=0)
    assert found["conv", 1] == Field(size=5, step=1, start=0)


def test_the_network_is_left_as_it_was(unchanged):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    with unchanged(net):
        fields(net, (32, 32))
