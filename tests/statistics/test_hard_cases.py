"""What a review found: odd activations, odd arguments, folders under another name."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vizkit
from vizkit.errors import InputError, NotFiniteWarning
from vizkit.plots import plot_statistics
from vizkit.statistics import ACCUMULATORS
from vizkit.statistics.registry import Site
from vizkit.statistics.sample import Sample

TINY = vizkit.Transform((32, 32), (32, 32))


class Net(nn.Module):
    def __init__(self, spoil=None):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.act = nn.Conv2d(3, 5, 3), nn.ReLU()
        self.head = nn.Linear(5, 10)
        self.spoil = spoil

    def forward(self, x):
        x = self.conv(x)
        if self.spoil is not None:
            x = torch.cat([x[:, :1] * self.spoil, x[:, 1:]], dim=1)
        return self.head(self.act(x).mean(dim=(-2, -1)))


def wrapped(**options):
    return vizkit.wrap(Net(), transform=TINY, **options)


@pytest.fixture
def folder(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (12, 40, 36, 3), dtype=np.uint8)
    for n, pixels in enumerate(colours):
        place = tmp_path / "photos" / ("church" if n % 2 else "parachute")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{n:02}.png")
    (tmp_path / "photos" / "church" / "00-bad.png").write_bytes(b"no photo")
    return tmp_path / "photos"


def test_a_run_goes_on_under_another_name_of_the_folder(folder, tmp_path, monkeypatch):
    from vizkit import resuming
    from vizkit.statistics import run

    class StoppedError(Exception):
        pass

    def stop_after_two(self, batch, count=run.Run._count):
        if self.done == 2:
            raise StoppedError
        count(self, batch)

    whole = vizkit.describe(wrapped(), folder, "all", batch_size=4)
    monkeypatch.setattr(resuming, "SAVE_EVERY", 0)
    with monkeypatch.context() as patch:
        patch.setattr(run.Run, "_count", stop_after_two)
        patch.setattr(resuming, "SHARE", 0)
        with pytest.raises(StoppedError):
            vizkit.describe(wrapped(), folder, "all", batch_size=4, out=tmp_path / "out")
    moved = folder.rename(tmp_path / "elsewhere")
    found = vizkit.describe(
        wrapped(), moved, "all", batch_size=4, out=tmp_path / "out", resume=True
    )
    assert list(found.failed["file"]) == [str(moved / "church" / "00-bad.png")]
    assert found.images + len(found.failed) == 13
    assert found.frame.equals(whole.frame)


def test_a_changed_photo_is_another_run(folder, tmp_path):
    from vizkit.statistics.run import prepared

    before = prepared(wrapped(), folder)._facts()
    photo = folder / "church" / "01.png"
    photo.touch()
    after = prepared(wrapped(), folder)._facts()
    assert before.pop("images") != after.pop("images")
    assert before == after


def test_the_loss_is_of_one_kind_for_all_networks_and_named(folder):
    named, nameless = vizkit.load("demo/vgg11"), wrapped(name="nameless")
    alone = vizkit.describe(named, folder, "gradient_norm")
    assert "own class" in alone.units["gradient_norm"]
    both = vizkit.describe([named, nameless], folder, "gradient_norm")
    assert "predicted class" in both.units["gradient_norm"]
    first = both.frame[both.frame["model"] == "demo/vgg11"]["value"].to_numpy()
    unlabelled = vizkit.describe(named, folder / "church", "gradient_norm")
    assert "predicted class" in unlabelled.units["gradient_norm"]
    assert not np.allclose(first, alone.frame["value"], rtol=1e-3)


@pytest.mark.parametrize("spoil", [float("nan"), float("inf")])
def test_what_is_no_number_is_said_and_counts_as_nothing(spoil, tmp_path):
    net = vizkit.wrap(Net(spoil), transform=TINY)
    with pytest.warns(NotFiniteWarning, match="not finite at act:act"):
        found = vizkit.describe(net, torch.rand(4, 3, 32, 32), "all", at=["act"])
    channels = found.channels
    for name in ("sparsity", "active", "dead", "rare"):
        assert np.isnan(channels[name][0]), name
        assert np.isfinite(channels[name][1:]).all(), name
    assert found.frame.set_index("statistic")["value"][["median", "q99", "sparsity"]].isna().all()
    assert plot_statistics(found, "all").save(tmp_path / "x.png").exists()


@pytest.mark.parametrize("scale", [1e-12, 1e-20, 1e10, 1e15])
def test_shape_does_not_depend_on_scale(scale):
    maps = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)).pow(3)
    tap = vizkit.Tap("x", "x", "act", 1, 3)
    plain, scaled = (ACCUMULATORS["kurtosis"](Site(tap)) for _ in range(2))
    plain.update(Sample(maps, range(6)))
    for n in range(0, 6, 2):
        scaled.update(Sample(maps[n : n + 2] * scale, range(n, n + 2)))
    for name, values in plain.channels().items():
        assert torch.allclose(scaled.channels()[name], values, rtol=1e-5)


def test_in_the_users_inference_mode(folder):
    outside = wrapped()
    expected = vizkit.describe(outside, folder, "all").frame
    with torch.inference_mode():
        assert vizkit.describe(outside, folder, "all").frame.equals(expected)
        inside = vizkit.describe(wrapped(), folder, "all")
        with pytest.raises(InputError, match=r"made in torch\.inference_mode"):
            vizkit.describe(wrapped(), folder, "gradient_norm")
    assert "inference_mode" in inside.left_out["gradient_norm"]
    rest = expected[expected["statistic"] != "gradient_norm"].reset_index(drop=True)
    assert inside.frame.equals(rest)


def test_a_network_that_runs_without_gradients_has_no_gradient_norm(folder):
    class Frozen(Net):
        def forward(self, x):
            with torch.no_grad():
                return super().forward(x)

    found = vizkit.describe(vizkit.wrap(Frozen(), transform=TINY), folder, "all")
    assert found.pivot("gradient_norm").isna().all(axis=None)
    assert found.pivot("mean").notna().all(axis=None)


def test_numpy_integers_are_numbers(folder, tmp_path):
    found = vizkit.describe(
        wrapped(), folder, places=np.int64(50), batch_size=np.int32(5), out=tmp_path / "out"
    )
    assert found.images == 12


@pytest.mark.parametrize("at", [[], "", [""], 5])
def test_nowhere_to_read(at):
    with pytest.raises(InputError, match="no taps to read"):
        vizkit.describe(wrapped(), torch.rand(1, 3, 32, 32), at=at)


def test_all_statistics_may_stand_in_a_list():
    whole, listed = (
        vizkit.describe(wrapped(), torch.rand(2, 3, 32, 32), each) for each in ("all", ["all"])
    )
    assert set(listed.left_out) == set(whole.left_out) != set()
    assert set(listed.units) == set(whole.units)


@pytest.mark.parametrize("statistics", [[], "", 5])
def test_no_statistics(statistics):
    with pytest.raises(InputError, match="statistic"):
        vizkit.describe(wrapped(), torch.rand(1, 3, 32, 32), statistics)


def test_the_manifest_lists_what_was_written_and_nothing_else(folder, tmp_path):
    (tmp_path / "diary.txt").write_text("private")
    vizkit.describe(wrapped(), folder, out=tmp_path)
    manifest = (tmp_path / "manifest.json").read_text()
    assert "statistics.csv" in manifest
    assert "diary" not in manifest


def test_a_name_with_a_dollar_can_be_drawn(tmp_path):
    found = vizkit.describe(wrapped(name=r"a$\frac$"), torch.rand(2, 3, 32, 32))
    assert plot_statistics(found).save(tmp_path / "x.png").exists()
