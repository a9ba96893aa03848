"""Receptive fields: published ones, and those that gradients show."""

import random

import pytest
import timm
import torch
import torchvision
from torch import nn

import vizkit
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


class Attention(nn.Module):
    """Self-attention between all places, as in efficientvit: linear, by products of maps."""

    def __init__(self, channels, softmax=False):
        super().__init__()
        self.qkv, self.softmax = nn.Conv2d(channels, 3 * channels, 1), softmax

    def forward(self, x):
        q, k, v = self.qkv(x).flatten(2).chunk(3, dim=1)
        if self.softmax:
            mixed = nn.functional.scaled_dot_product_attention(q.mT, k.mT, v.mT).mT
        else:
            mixed = (v @ k.relu().mT) @ q.relu()
        return x + mixed.unflatten(2, x.shape[-2:])


class Windows(nn.Module):
    """Attention within windows, as in maxvit."""

    def __init__(self, channels, side=4):
        super().__init__()
        self.attention, self.side = Attention(channels), side

    def forward(self, x):
        n, c, h, w = x.shape
        s = self.side
        tiles = x.view(n, c, h // s, s, w // s, s).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, s, s)
        mixed = self.attention(tiles).view(n, h // s, w // s, c, s, s)
        return mixed.permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w)


class Does(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


MIXING = {
    "unshuffle": lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(16, 4, 1)),
    "shuffle": lambda: nn.Sequential(nn.PixelShuffle(2), nn.Conv2d(1, 4, 1)),
    "group norm": lambda: nn.GroupNorm(2, 4),
    "instance norm": lambda: nn.InstanceNorm2d(4),
    "layer norm": lambda: nn.LayerNorm([4, 16, 16]),
    "attention": lambda: Attention(4),
    "softmax attention": lambda: Attention(4, softmax=True),
    "window attention": lambda: Windows(4),
    "softmax": lambda: Does(lambda x: x.flatten(2).softmax(-1).view_as(x)),
    "conv1d": lambda: nn.Sequential(
        nn.Flatten(2), nn.Conv1d(4, 4, 3, padding=1), nn.Unflatten(2, (16, 16))
    ),
    "transposed convolution": lambda: nn.ConvTranspose2d(4, 4, 2, 2),
    "roll": lambda: Does(lambda x: x.roll((2, 2), (2, 3))),
    "strided slice": lambda: Does(lambda x: x[..., ::2, ::2]),
    "split rows": lambda: Does(lambda x: x.reshape(1, 16, 8, 8)),
}


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("axis", [-2, -1])
def test_what_is_not_followed_is_not_known(name, axis):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), MIXING[name](), nn.Conv2d(4, 4, 3), Gate(4))
    if name == "split rows":
        net[2] = nn.Conv2d(16, 4, 1)
    found = fields(net, (16, 16), axis=axis)
    assert found["0", 0] == Field(3, 1, -1)
    assert not any(found[path, 0].known for path in ("1", "2", "3", ""))


class OverChannels(nn.Module):
    """LayerNorm, a perceptron and a permutation of channels, channels last and first."""

    def __init__(self, channels):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(channels), nn.Linear(channels, channels)

    def forward(self, x):
        last = self.linear(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        tokens = self.linear(x.flatten(2).transpose(1, 2)).mT.unflatten(2, x.shape[-2:])
        weight = x.softmax(dim=1).mean(dim=1, keepdim=True) + x.max(dim=1)[0].unsqueeze(1)
        shuffled = x.view(1, 2, -1, *x.shape[-2:]).transpose(1, 2).flatten(1, 2)
        return (last + tokens + shuffled) * weight


class ChannelAttention(nn.Module):
    """A gate by products and a softmax, which looks at pooled values only."""

    def __init__(self, channels):
        super().__init__()
        self.first, self.second = nn.Linear(channels, 2), nn.Linear(2, channels)

    def forward(self, x):
        gate = self.second(self.first(x.mean((2, 3))).relu()).softmax(dim=1)[..., None, None]
        place = x.mean(1).flatten(1).softmax(-1)
        context = (x.flatten(2) @ place[..., None])[..., None]
        return x * gate + context


@pytest.mark.parametrize("layer", [OverChannels, ChannelAttention, Gate])
@pytest.mark.parametrize("axis", [-2, -1])
def test_each_place_by_itself_keeps_the_field(layer, axis):
    net = nn.Sequential(nn.Conv2d(3, 4, 5, 2), layer(4), nn.Conv2d(4, 4, 3))
    found = fields(net, (32, 40), axis=axis)
    assert (found["1", 0], found["", 0]) == (Field(5, 2), Field(9, 2))


def test_a_convolution_over_channels_is_no_window():
    with torch.device("meta"):
        net, plain = (timm.create_model(name) for name in ("ecaresnet26t", "resnet26t"))
    for axis in (-2, -1):
        gated, bare = (fields(each, (224, 200), axis=axis) for each in (net, plain))
        for stage in range(1, 5):
            assert gated[f"layer{stage}", 0] == bare[f"layer{stage}", 0]


@pytest.mark.parametrize(
    ("name", "last"),
    [("maxvit_tiny_tf_224", "stages.0.blocks.0.conv"), ("efficientvit_b0", "stages.1")],
)
def test_fields_end_where_attention_begins(name, last):
    with torch.device("meta"):
        net = timm.create_model(name)
    found = fields(net, (224, 224))
    assert found[last, 0].known
    assert not found["stages.3", 0].known


def test_a_profile_shows_what_is_not_known():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU()
    )
    net = nn.Sequential(net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    table = vizkit.profile(net, size=32)
    assert table["receptive_field"].isna().tolist() == [True] * len(table)


def test_a_head_keeps_the_field_of_the_map_before_it():
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 7 * 9, 5), nn.ReLU(), nn.Linear(5, 2))
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d((7, 9)), head)
    for axis in (-2, -1):
        assert fields(net, (9, 11), axis=axis)["", 0] == Field(3)
