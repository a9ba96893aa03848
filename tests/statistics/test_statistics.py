"""Statistics against NumPy float64 on stored maps; parts add up to the whole."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import vizkit
from vizkit.errors import InputError
from vizkit.statistics import ACCUMULATORS, STATISTICS

CLASSES = sorted(set(ACCUMULATORS.values()), key=lambda cls: cls.__name__)
COLUMNS = ["model", "stride", "layer", "role", "statistic", "value"]
# definitions, on maps (N, C, h, w) in float64
PER_CHANNEL = {
    "mean": lambda m: m.mean(axis=(0, 2, 3)),
    "std": lambda m: m.std(axis=(0, 2, 3)),
    "energy": lambda m: (m**2).mean(axis=(0, 2, 3)),
    "min": lambda m: m.min(axis=(0, 2, 3)),
    "max": lambda m: m.max(axis=(0, 2, 3)),
    "dead": lambda m: (m.max(axis=(0, 2, 3)) <= 0).astype(float),
    "sparsity": lambda m: (m == 0).mean(axis=(0, 2, 3)),
}
WHOLE = {
    "mean": np.mean,
    "std": np.std,
    "energy": lambda m: (m**2).mean(),
    "min": np.min,
    "max": np.max,
    "dead": lambda m: (m.max(axis=(0, 2, 3)) <= 0).mean(),
    "sparsity": lambda m: (m == 0).mean(),
}


def some_maps(seed=0, n=7, channels=5):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(n, channels, 9, 6, generator=generator) * 3
    maps[:, :2].relu_()
    maps[:, 2] = 0
    maps[:, 3] += 100
    return maps


def counted(cls, maps):
    accumulator = cls(maps.shape[1])
    for image in maps.split(1):
        if len(image):
            accumulator.update(image)
    return accumulator


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_every_accumulator_equals_its_definition(cls):
    maps = some_maps()
    accumulator = cls(maps.shape[1])
    for part in maps.split(3):
        accumulator.update(part)
    exact = maps.double().numpy()
    assert accumulator.channels()
    for name, values in accumulator.channels().items():
        assert values.dtype == torch.float64
        assert np.allclose(values.numpy(), PER_CHANNEL[name](exact), rtol=1e-6, atol=1e-9), name
        assert accumulator.whole()[name] == pytest.approx(WHOLE[name](exact), rel=1e-6), name
        assert STATISTICS[name]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_merged_parts_are_the_whole(cls):
    maps = some_maps(1)
    whole = counted(cls, maps)
    for cut in (0, 1, 3, 7):
        for first, second in ((maps[:cut], maps[cut:]), (maps[cut:], maps[:cut])):
            merged = counted(cls, first)
            merged.merge(counted(cls, second))
            for name, values in whole.channels().items():
                assert torch.allclose(merged.channels()[name], values, rtol=1e-12, atol=1e-12)
                assert merged.whole()[name] == pytest.approx(whole.whole()[name], rel=1e-12)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_an_accumulator_does_not_change_or_keep_what_it_counts(cls):
    maps = some_maps(2)
    before = maps.clone()
    accumulator = cls(maps.shape[1])
    accumulator.update(maps)
    assert torch.equal(maps, before)
    held = [v for v in vars(accumulator).values() if isinstance(v, torch.Tensor)]
    assert all(v.numel() <= maps.shape[1] for v in held)


def test_describe_equals_the_definitions_on_captured_maps(demo):
    photos = vizkit.samples()
    found = vizkit.describe(demo, photos, at="layers")
    maps = vizkit.capture(demo, photos, at="layers")
    assert list(found.frame.columns) == COLUMNS
    assert found.images == len(photos)
    rows = found.frame.set_index(["layer", "role", "statistic"])["value"]
    channels = found.channels.set_index(["layer", "role"])
    for tap, values in maps.items():
        exact = values.double().numpy()
        for name, define in WHOLE.items():
            expected = pytest.approx(define(exact), rel=2e-6, abs=1e-7)
            assert rows[tap.name, tap.role, name] == expected, (tap, name)
        column = channels.loc[(tap.name, tap.role)]["mean"].to_numpy()
        assert np.allclose(column, PER_CHANNEL["mean"](exact), rtol=1e-5, atol=1e-7)
    assert len(found.channels) == sum(tap.channels for tap in maps)
    assert {"model", "stride", "layer", "role", "channel", *STATISTICS} == set(found.channels)


def test_it_does_not_depend_on_batch_size(demo, monkeypatch):
    pixels = torch.randn(9, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole = vizkit.describe(demo, pixels).frame["value"]
    monkeypatch.setattr("vizkit.statistics.run.BATCH_SIZE", 2)
    parts = vizkit.describe(demo, pixels).frame["value"]
    assert np.allclose(parts, whole, rtol=1e-5, atol=1e-7)


def test_dead_channels_are_found():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Linear(4, 2))  # fmt: skip
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.copy_(torch.tensor([1.0, -1.0, 0.0, 2.0]))
    found = vizkit.describe(net, torch.randn(3, 3, 16, 16), ["dead", "sparsity"])
    assert list(found.channels["dead"]) == [0, 1, 1, 0]
    assert list(found.frame["value"]) == [0.5, 0.5]
    assert list(found.frame["statistic"]) == ["dead", "sparsity"]


def test_unreadable_files_are_listed_and_not_counted(demo, tmp_path):
    for i in range(3):
        Image.new("RGB", (50, 40), (80 * i, 10, 10)).save(tmp_path / f"{i}.jpg", quality=95)
    good = vizkit.describe(demo, tmp_path)
    (tmp_path / "00-broken.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:200])
    found = vizkit.describe([demo, demo], tmp_path, ["mean"])
    assert found.images == 3
    assert [path.rpartition("/")[2] for path in found.failed["file"]] == ["00-broken.jpg"]
    assert "damaged" in found.failed["reason"][0]
    first = found.frame.query("model == 'demo/vgg11_bn'")["value"].to_numpy()
    assert np.allclose(first, good.pivot("mean")["demo/vgg11_bn"], rtol=1e-6)
    for i in range(3):
        (tmp_path / f"{i}.jpg").unlink()
    with pytest.raises(InputError, match="none of the 1 images can be read"):
        vizkit.describe(demo, tmp_path)


def test_several_models_are_told_apart_and_pivot(demo):
    found = vizkit.describe([demo, "demo/vgg11"], vizkit.samples()["rocket"], ["mean", "max"])
    table = found.pivot("max")
    assert isinstance(table, pd.DataFrame)
    assert set(table.columns) == {"demo/vgg11", "demo/vgg11_bn"}
    assert list(table.index.get_level_values("stride")) == [1, 2, 4, 8, 16, 32]
    with pytest.raises(InputError, match="unknown statistic 'men'; did you mean"):
        found.pivot("men")


def test_unknown_statistic(demo):
    with pytest.raises(InputError, match="unknown statistic 'sparsty'; did you mean 'sparsity'"):
        vizkit.describe(demo, vizkit.samples()["rocket"], "sparsty")


def test_a_small_spread_around_a_large_mean_is_seen():
    maps = 1000 + torch.randn(3, 4, 32, 32, generator=torch.Generator().manual_seed(3)) / 64
    maps[:, 1] = 1000
    accumulator = ACCUMULATORS["std"](4)
    for part in maps.split(2):
        accumulator.update(part)
    found, expected = accumulator.channels()["std"], PER_CHANNEL["std"](maps.double().numpy())
    assert np.allclose(found.numpy(), expected, rtol=1e-4, atol=1e-9)
    assert found[1] == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_other_types(cls, dtype):
    maps = some_maps(4).to(dtype)
    accumulator = cls(maps.shape[1])
    accumulator.update(maps)
    exact = maps.double().numpy()
    for name, values in accumulator.channels().items():
        assert np.allclose(values.numpy(), PER_CHANNEL[name](exact), rtol=1e-6, atol=1e-9), name


def test_the_network_is_left_as_it_was(unchanged):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()  # fmt: skip
    pixels = torch.randn(2, 3, 16, 16)
    with unchanged(net):
        vizkit.describe(net, pixels, at="layers")


def test_a_network_with_code_that_works_in_place():
    class Overwriting(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv(x).relu_().mean(dim=(-2, -1))

    net, pixels = Overwriting(), torch.randn(18, 3, 16, 16)
    found = vizkit.describe(net, pixels, ["min", "mean"], at=["conv"]).frame["value"]
    with torch.no_grad():
        exact = net.conv(pixels).double().numpy()
    assert list(found) == pytest.approx([exact.min(), exact.mean()], rel=1e-5)


def test_a_broken_file_given_twice_is_not_counted_twice(demo, tmp_path):
    bad, good = tmp_path / "bad.png", tmp_path / "good.png"
    bad.write_bytes(b"no image")
    Image.new("RGB", (50, 40), (80, 10, 10)).save(good)
    found = vizkit.describe(demo, [bad, good, bad], "mean")
    assert found.images == 1
    assert list(found.failed["file"]) == [str(bad)]
