"""Effective receptive fields: gradients taken by hand, and fields with a closed form."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

import vizkit
from vizkit.errors import InputError
from vizkit.images import Transform, as_images, prepare
from vizkit.statistics.effective import effective_size


@pytest.fixture(scope="module")
def photos():
    return vizkit.samples()


def head(*layers, channels):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))


@pytest.mark.parametrize(
    ("model", "tap"),
    [("demo/vgg11_bn", "stride8"), ("demo/vgg11", "conv2_1"), ("demo/vovnet19b", "stride16")],
)
def test_maps_are_what_plain_autograd_gives(model, tap, photos, exactly):
    loaded = exactly(vizkit.load(model, device="cpu"))
    found = vizkit.receptive_fields(loaded, photos, [tap, "stride2"])
    (where,) = vizkit.find_stages(loaded, [tap])
    inputs, _ = prepare(as_images(photos), loaded.transform)
    inputs = inputs.double()
    net = deepcopy(loaded.module).eval()
    kept = []
    # the network goes on with a copy, so that what works in place leaves the output alone
    net.get_submodule(where.module).register_forward_hook(
        lambda *given: kept.append(given[2]) or given[2].clone()
    )
    expected = 0
    for image in inputs.split(1):
        pixels = image.clone().requires_grad_()
        net(pixels)
        height, width = kept[-1].shape[-2:]
        kept[-1][0, :, height // 2, width // 2].sum().backward()
        expected = expected + pixels.grad[0].abs().sum(dim=0).double() / len(inputs)
    drawn = found.maps[model][where.label]
    assert drawn.shape == (128, 128)
    assert np.allclose(drawn, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))


def test_maps_are_what_small_steps_give():
    torch.manual_seed(0)
    net = head(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 5, 3, 2, 1), channels=5)
    net = net.double()
    images = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    drawn = vizkit.receptive_fields(net, images, ["2"]).maps["Sequential"]["2:conv"]
    step = 1e-6

    def score(pixels):
        return net[:3](pixels)[:, :, 2, 2].sum(dim=1)

    with torch.no_grad():
        for y, x in ((4, 4), (3, 5), (2, 6), (0, 4)):
            total = 0
            for colour in range(3):
                moved = torch.zeros(3, 9, 9, dtype=torch.float64)
                moved[colour, y, x] = step
                slope = (score(images + moved) - score(images - moved)) / (2 * step)
                total += slope.abs().mean().item()
            assert drawn[y, x] == pytest.approx(total, abs=1e-7)


@pytest.mark.parametrize("depth", [1, 4, 12])
def test_convolutions_of_ones_have_a_closed_form(depth):
    layers = [nn.Conv2d(3 if not i else 1, 1, 3, padding=1, bias=False) for i in range(depth)]
    for layer in layers:
        nn.init.ones_(layer.weight)
    net = head(*layers, channels=1)
    path = str(depth - 1)
    found = vizkit.receptive_fields(net, torch.randn(3, 3, 41, 41), [path])
    line = np.ones(1)
    for _ in range(depth):
        line = np.convolve(line, np.ones(3))
    expected = np.zeros((41, 41))
    expected[20 - depth : 21 + depth, 20 - depth : 21 + depth] = 3 * np.outer(line, line)
    assert np.allclose(found.maps["Sequential"][f"{path}:conv"], expected)
    row = found.frame.iloc[0]
    assert row["theoretical"] == row["clipped"] == 2 * depth + 1
    assert row["outside"] == 0
    assert row["share"] == row["effective"] / row["theoretical"]
    if depth == 12:
        # nearly a Gaussian: an area of 2 pi s^2 ln(1 / 0.0455), s^2 = 2/3 a layer
        area = 2 * math.pi * (2 / 3 * depth) * math.log(1 / 0.0455)
        assert row["effective"] == pytest.approx(math.sqrt(area), rel=0.02)
        # what Luo et al. count
        paper = math.sqrt((expected > 0.0455 * expected.max()).sum())
        assert row["effective"] == pytest.approx(paper, rel=0.03)


def test_effective_size():
    square = np.zeros((20, 30))
    square[4:11, 3:10] = 0.5
    # 46.8 of 49 equal pixels hold 95.45 %
    assert effective_size(square) == math.sqrt(47)
    square[15, 15] = 1e-3
    assert effective_size(square) == math.sqrt(47)
    point = np.zeros((5, 5))
    point[2, 2] = 3
    assert effective_size(point) == 1
    assert math.isnan(effective_size(np.zeros((4, 4))))


def test_theory_is_the_profile_and_the_effect_lies_within(photos):
    models = ["demo/vgg11_bn", "demo/vgg13"]
    found = vizkit.receptive_fields(models, photos)
    for model in models:
        rows = found.frame[found.frame["model"] == model]
        profile = vizkit.profile(model).set_index("stage")["receptive_field"]
        assert rows["theoretical"].tolist() == profile[rows["layer"]].tolist()
        assert rows["stride"].is_monotonic_increasing
        assert (rows["effective"] <= rows["clipped"]).all()
        assert rows["effective"].iloc[:4].is_monotonic_increasing
        assert (rows["outside"] == 0).all()
        assert list(found.maps[model]) == list(found.boxes[model])
        for x0, y0, x1, y1 in found.boxes[model].values():
            assert (x1 - x0, y1 - y0) == (x1 - x0,) * 2


def test_gates_let_in_what_lies_outside(photos):
    module = deepcopy(vizkit.load("demo/vovnet19b", device="cpu").module)
    gated = vizkit.receptive_fields({"net": vizkit.wrap(module)}, photos, ["stride4"])
    for block in module.modules():
        if hasattr(block, "attn"):
            block.attn = nn.Identity()
    plain = vizkit.receptive_fields({"net": vizkit.wrap(module)}, photos, ["stride4"])
    assert gated.frame["outside"].item() > 0.01
    assert plain.frame["outside"].item() == 0
    assert gated.frame["theoretical"].equals(plain.frame["theoretical"])


def test_fields_that_are_not_square():
    net = head(nn.Conv2d(3, 2, (3, 12), padding=(1, 0)), channels=2)
    net = vizkit.wrap(net, transform=Transform((20, 40), (20, 40)))
    found = vizkit.receptive_fields(net, vizkit.samples(), ["0"])
    assert found.frame["theoretical"].item() == 6
    x0, y0, x1, y1 = found.boxes["Sequential"]["0:conv"]
    lit = found.maps["Sequential"]["0:conv"] > 0
    assert lit[y0:y1, x0:x1].all()
    assert lit.sum() == 3 * 12
    assert found.frame["outside"].item() == 0


def test_batches_and_broken_files_do_not_matter(demo, photos, tmp_path):
    for name, photo in photos.items():
        photo.save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"")
    first = vizkit.receptive_fields(demo, photos, "stride8")
    for size in (1, 3):
        other = vizkit.receptive_fields(demo, tmp_path, "stride8", batch_size=size)
        values = [each.maps[demo.name]["stride8:act"] for each in (first, other)]
        assert np.allclose(*values, rtol=1e-3, atol=1e-5 * values[0].max())
        assert other.failed["file"].tolist() == [str(tmp_path / "broken.png")]
        assert other.images == 5
        assert other.seen[demo.name].names == ("astronaut.png",)
    with pytest.raises(InputError, match="none of the 1 images can be read"):
        vizkit.receptive_fields(demo, tmp_path / "broken.png")


def test_no_gradient_is_told_from_a_small_one():
    net = head(nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True), channels=2)
    nn.init.constant_(net[0].bias, -1e6)
    found = vizkit.receptive_fields(net, torch.randn(2, 3, 9, 9), ["0", "1"])
    assert found.frame["effective"].notna().tolist() == [True, False]


def test_gradients_that_are_not_finite_are_refused():
    net = head(nn.Conv2d(3, 2, 3), channels=2)
    net[0].weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="the gradient of 0:conv is not finite"):
        vizkit.receptive_fields(net, torch.randn(1, 3, 9, 9), "0")
    mixed = [torch.randn(1, 3, 9, 9), torch.randn(1, 3, 9, 11)]
    with pytest.raises(InputError, match="must share one size"):
        vizkit.receptive_fields(head(nn.Conv2d(3, 2, 3), channels=2), mixed, "0", batch_size=1)


def test_the_network_is_left_as_it_was(demo, photos, unchanged):
    with unchanged(demo.module):
        first = vizkit.receptive_fields(demo, photos, ["conv1_1", "stride8"])
    with torch.inference_mode():
        second = vizkit.receptive_fields(demo, photos, ["conv1_1", "stride8"])
    assert first.frame.equals(second.frame)
    assert repr(first).startswith("ReceptiveFields over 5 image(s)\n")
    assert "<table" in first._repr_html_()


def test_behind_a_norm_of_all_places_the_field_is_the_whole_input():
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3)]
    found = vizkit.receptive_fields(head(*layers, channels=4), torch.randn(2, 3, 9, 11), ["0", "2"])
    known, unknown = found.frame.to_dict("records")
    assert (known["theoretical"], known["outside"]) == (3, 0)
    assert math.isnan(unknown["theoretical"])
    assert math.isnan(unknown["share"])
    assert unknown["clipped"] == math.sqrt(99)
    assert unknown["outside"] == 0
