"""`describe` against stored maps and explicit gradients; what it takes, leaves out and refuses."""

import copy
import html
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_accumulators import PER_CHANNEL, WHOLE, Case
from torch import nn
from torch.nn.functional import cross_entropy

import vizkit
from vizkit.errors import InputError
from vizkit.images import Transform, read
from vizkit.statistics import STATISTICS
from vizkit.statistics.distribution import QUANTILES
from vizkit.statistics.registry import DEFAULT

KEYS = ["model", "stride", "layer", "role"]
COLUMNS = [*KEYS, "statistic", "value"]
TINY = Transform(size=(24, 24), resize=(24, 24))
NORMALISATION = {"gamma", "beta", "mean_drift", "variance_ratio"}


def a_net(seed=0, channels=6, classes=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            nn.MaxPool2d(2), nn.Conv2d(channels, 16, 3), nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes),
        )  # fmt: skip
        nn.init.uniform_(net[1].running_mean, -1, 1)
        nn.init.uniform_(net[1].running_var, 0.5, 2)
        return net.eval()


def a_model(seed=0, name="net", classes=("cat", "dog", "fox"), transform=TINY):
    net = a_net(seed, classes=len(classes) or 3)
    return vizkit.wrap(net, name=name, transform=transform, classes=classes)


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    root = tmp_path / "photos"
    for i in range(11):
        label = root / ("cat", "dog", "fox")[i % 3]
        label.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 60 + 17 * i, (30, 34, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(label / f"{i:02}.png")
    return root


class Witness:
    """A copy of a network, out of place, that shows what each tap gives, gets and changes."""

    def __init__(self, model, taps):
        self.net = copy.deepcopy(model.module).eval()
        for module in self.net.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
        self.seen, self.given = {}, {}
        for tap in taps:
            self.net.get_submodule(tap.module).register_forward_hook(self.keep(tap))
            self.norm(tap).register_forward_pre_hook(self.read(tap))

    def norm(self, tap):
        own = self.net.get_submodule(tap.module)
        around = self.net.get_submodule(tap.module.rpartition(".")[0])
        inner = tap.role == "norm" and not isinstance(own, nn.BatchNorm2d)
        return around if inner else own

    def keep(self, tap):
        def hook(_module, _args, output):
            self.seen[tap] = output

        return hook

    def read(self, tap):
        def hook(_module, args):
            self.given[tap] = args[0].detach()

        return hook

    def run(self, inputs, targets=None):
        """Maps' gradients and what went into them, image by image: {tap: (N, C, h, w)}."""
        gradients, given = [], []
        for n, image in enumerate(inputs):
            logits = self.net(image[None].requires_grad_())
            target = logits.argmax(dim=1) if targets is None else targets[n : n + 1]
            loss = cross_entropy(logits, target)
            found = torch.autograd.grad(loss, list(self.seen.values()))
            gradients.append(dict(zip(self.seen, found, strict=True)))
            given.append(dict(self.given))
        return [
            {tap: torch.cat([part[tap] for part in parts]) for tap in self.seen}
            for parts in (gradients, given)
        ]


def cases(model, images, at, labels=None, targets=None):
    """Every tap of a network with what its definitions need."""
    maps = vizkit.capture(model, images, at=at)
    witness = Witness(model, maps)
    gradients, given = witness.run(maps.inputs, targets)
    labels = torch.zeros(len(maps.inputs), dtype=torch.int64) if labels is None else labels
    for tap, values in maps.items():
        yield tap, Case(values, labels, gradients[tap], given[tap], witness.norm(tap))


def assert_defined(found, model, tap, case):
    where = found.frame.query("model == @model and layer == @tap.name and role == @tap.role")
    values = where.set_index("statistic")["value"]
    columns = found.channels.query("model == @model and layer == @tap.name and role == @tap.role")
    assert list(columns["channel"]) == list(range(tap.channels))
    scale = np.abs(case.exact).max()
    for name, value in values.items():
        expected = WHOLE[name](case)
        close = max(2e-4, 1 / 64 if name in QUANTILES else 0)
        assert value == pytest.approx(expected, rel=close, abs=1e-6 * scale, nan_ok=True), name
        if name in PER_CHANNEL:
            each = np.asarray(PER_CHANNEL[name](case))
            given = columns[name].to_numpy()
            assert np.allclose(given, each, rtol=1e-3, atol=1e-5 * scale, equal_nan=True), name
    absent = set(found.units) & set(columns) - set(values.index)
    assert columns[sorted(absent)].isna().all(axis=None)
    return set(values.index)


@pytest.mark.parametrize("name", ["demo/vgg11_bn", "demo/vovnet19b"])
def test_every_statistic_of_every_stage(name):
    model, photos = vizkit.load(name, device="cpu"), vizkit.samples()
    found = vizkit.describe(model, photos, "all", places=None)
    assert list(found.frame.columns) == COLUMNS
    assert found.images == len(photos)
    assert found.failed.empty
    assert found.sampling == {}
    assert set(found.left_out) == {"class_selectivity", *NORMALISATION}
    for tap, case in cases(model, photos, "stages"):
        names = assert_defined(found, name, tap, case)
        assert names == set(STATISTICS) - set(found.left_out) == set(found.units)
    assert list(found.frame["stride"].unique()) == [tap.stride for tap in model.stages]


def test_every_statistic_of_every_layer(demo):
    photos = vizkit.samples()
    found = vizkit.describe(demo, photos, "all", at="layers", places=None)
    assert set(found.left_out) == {"class_selectivity"}
    for tap, case in cases(demo, photos, "layers"):
        names = assert_defined(found, demo.name, tap, case)
        without = set() if tap.role == "norm" else NORMALISATION
        assert names == set(STATISTICS) - set(found.left_out) - without


def test_normalisation_and_gradients_inside_timm_layers():
    model, photos = vizkit.load("demo/vovnet19b", device="cpu"), vizkit.samples()
    asked = ["std", "gradient_norm", *NORMALISATION]
    found = vizkit.describe(model, photos, asked, at="layers")
    norms = 0
    for tap, case in cases(model, photos, "layers"):
        names = assert_defined(found, model.name, tap, case)
        norms += tap.role == "norm"
        assert names == (set(asked) if tap.role == "norm" else {"std", "gradient_norm"})
    assert norms > 5
    # not the parameters as they are, but what they did to these images
    assert (found.pivot("mean_drift") > 1e-3).all(axis=None)


def test_labels_come_from_the_folders(folder):
    model = a_model()
    found = vizkit.describe(model, folder, "all", at="layers", places=None, batch_size=4)
    # sorted by path, the classes follow each other
    labels = torch.tensor([0] * 4 + [1] * 4 + [2] * 3)
    assert found.left_out == {}
    for tap, case in cases(model, folder, "layers", labels, labels):
        assert_defined(found, "net", tap, case)
    # folders that are no classes of the network: the loss is that of the predicted class
    other = a_model(classes=("a", "b", "c"))
    guessed = vizkit.describe(other, folder, "all", at="layers", places=None, batch_size=4)
    assert guessed.left_out == {}
    predicted = vizkit.capture(model, folder).logits.argmax(dim=1)
    assert not torch.equal(predicted, labels)
    for tap, case in cases(other, folder, "layers", labels, None):
        assert_defined(guessed, "net", tap, case)
    changed = guessed.frame["value"].to_numpy() != found.frame["value"].to_numpy()
    assert set(found.frame["statistic"][changed]) == {"gradient_norm"}


def test_labels_follow_the_names_of_classes_not_their_order(folder):
    turned = a_model(classes=("fox", "Dog", "cat"))
    found = vizkit.describe(turned, folder, ["gradient_norm", "class_selectivity"], at="layers")
    targets = torch.tensor([2] * 4 + [1] * 4 + [0] * 3)
    labels = torch.tensor([0] * 4 + [1] * 4 + [2] * 3)
    for tap, case in cases(turned, folder, "layers", labels, targets):
        assert_defined(found, "net", tap, case)


def test_what_a_folder_does_not_have_is_left_out_or_refused(folder):
    model = a_model()
    for images in (folder / "dog", [folder / "dog" / "01.png"], vizkit.samples()):
        found = vizkit.describe(model, images, "all")
        assert "class folder" in found.left_out["class_selectivity"]
        assert "class_selectivity" not in found.units
        assert "class_selectivity" not in set(found.frame["statistic"]) | set(found.channels)
        with pytest.raises(InputError, match="no statistic 'class_selectivity' here"):
            vizkit.describe(model, images, ["mean", "class_selectivity"])
    for kind in ("cat", "fox"):
        for path in (folder / kind).iterdir():
            path.unlink()
    found = vizkit.describe(model, folder, "all")
    assert "two or more" in found.left_out["class_selectivity"]
    with pytest.raises(InputError, match="no statistic 'gamma' here: it is read behind"):
        vizkit.describe(model, folder, "gamma")


def test_the_statistics_of_every_day_exist_everywhere(demo):
    found = vizkit.describe(demo, vizkit.samples()["rocket"])
    assert list(found.frame["statistic"].unique()) == DEFAULT == list(found.units)
    assert found.left_out == {}
    assert found.distributions.empty
    assert found.frame["value"].notna().all()


def test_names_that_do_not_exist(demo):
    photo = vizkit.samples()["rocket"]
    for names in ("sparsty", ["mean", "sparsty"]):
        with pytest.raises(InputError, match="unknown statistic 'sparsty'; did you mean 'sparsi"):
            vizkit.describe(demo, photo, names)
    with pytest.raises(InputError, match="unknown statistic 'men'; did you mean"):
        vizkit.describe(demo, photo, ["mean", "max"]).pivot("men")
    with pytest.raises(InputError, match="unknown"):
        vizkit.describe(demo, photo, at=["stride3"])
    for wrong in ({"places": 0}, {"places": 1.5}, {"batch_size": 0}, {"batch_size": 2.0},
                  {"batch_size": "4"}, {"workers": -1}):  # fmt: skip
        with pytest.raises(InputError, match=f"{next(iter(wrong))} must be a whole number"):
            vizkit.describe(demo, photo, **wrong)


def test_names_come_in_the_order_asked_for_and_once(demo):
    found = vizkit.describe(demo, vizkit.samples()["rocket"], ["max", "mean", "max"])
    assert list(found.frame["statistic"][:2]) == ["max", "mean"]
    assert list(found.channels.columns) == [*KEYS, "channel", "max", "mean"]
    assert len(found.frame) == 2 * len(demo.stages)


def damage(folder):
    """Add files that cannot be read between, before and behind the others."""
    bad = [folder / "cat" / "00-a.png", folder / "cat" / "04.jpg", folder / "dog" / "05.jpg",
           folder / "fox" / "99.png"]  # fmt: skip
    for path in bad[:2]:
        path.write_bytes(b"no image")
    for path in bad[2:]:
        path.write_bytes((folder / "cat" / "00.png").read_bytes()[:100])
    return bad


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_files_are_listed_and_leave_the_others_as_they_are(folder, workers):
    model = a_model()
    good = vizkit.describe(model, folder, "all", at="layers", places=None)
    bad = damage(folder)
    for size in (2, 5, 16):
        found = vizkit.describe([model, a_model(1)], folder, "all", at="layers", places=None,
                                batch_size=size, workers=workers)  # fmt: skip
        assert found.images == 11
        assert list(found.failed["file"]) == [str(path) for path in bad]
        assert all(row.reason.startswith(row.file) for row in found.failed.itertuples())
        own = found.frame.query("model == 'net'")
        pd.testing.assert_frame_equal(own, good.frame, rtol=1e-5, atol=1e-6)


def test_a_broken_file_given_twice_is_listed_once(folder):
    bad = damage(folder)[0]
    path = folder / "cat" / "00.png"
    found = vizkit.describe(a_model(), [bad, path, bad, path], "mean", batch_size=1)
    assert found.images == 2
    assert list(found.failed["file"]) == [str(bad)]


def test_nothing_to_read(folder):
    bad = damage(folder)
    with pytest.raises(InputError, match="none of the 4 images can be read"):
        vizkit.describe(a_model(), bad)


def test_several_models_are_each_as_if_alone(folder):
    wide = Transform(size=(32, 32), resize=(40, 40), mean=(0.5,) * 3, std=(0.2,) * 3)
    models = [a_model(0, "a"), a_model(1, "b"), a_model(2, "c", transform=wide),
              a_model(3, "d", transform=halved)]  # fmt: skip
    together = vizkit.describe(models, folder, "all", at="layers", batch_size=4)
    alone = [vizkit.describe(m, folder, "all", at="layers", batch_size=4) for m in models]
    for kind in ("frame", "channels", "distributions"):
        expected = pd.concat([getattr(each, kind) for each in alone], ignore_index=True)
        pd.testing.assert_frame_equal(getattr(together, kind), expected, check_exact=True)
    joined = alone[0].joined(alone[1]).joined(alone[2]).joined(alone[3])
    pd.testing.assert_frame_equal(joined.frame, together.frame)
    pd.testing.assert_frame_equal(joined.channels, together.channels)
    assert list(together.pivot("max").columns) == ["a", "b", "c", "d"]


def halved(photo):
    """A user's own transform."""
    pixels = np.asarray(photo.resize((20, 28)), dtype=np.float32)
    return torch.from_numpy(pixels).movedim(-1, 0) / 510


def test_names_of_models(demo):
    photo = vizkit.samples()["rocket"]
    found = vizkit.describe({"mine": demo, "yours": "demo/vgg11"}, photo, "max")
    assert list(found.frame["model"].unique()) == ["mine", "yours"]
    assert list(found.pivot("max").index.get_level_values("stride")) == [1, 2, 4, 8, 16, 32]
    twice = vizkit.describe([demo, demo], photo, "max").pivot("max")
    assert list(twice.columns) == ["demo/vgg11_bn", "demo/vgg11_bn (2)"]
    assert (twice.iloc[:, 0] == twice.iloc[:, 1]).all()


def test_every_kind_of_image(folder):
    model, paths = a_model(), sorted(folder.rglob("*.png"))
    inputs = torch.stack([TINY(read(path)) for path in paths])
    kinds = [
        folder, str(folder), paths, [str(path) for path in paths], inputs, list(inputs),
        [read(path) for path in paths], [np.asarray(read(path)) for path in paths],
        [*paths[:5], *inputs[5:]],
    ]  # fmt: skip
    frames = [vizkit.describe(model, each, batch_size=4).frame for each in kinds]
    for frame in frames[1:]:
        # photos come channels-last from the reader, tensors as they are
        pd.testing.assert_frame_equal(frame, frames[0], rtol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 11, 50])
def test_it_does_not_depend_on_batch_size(folder, size):
    one = vizkit.describe(a_model(), folder, "all", at="layers", batch_size=4)
    two = vizkit.describe(a_model(), folder, "all", at="layers", batch_size=size)
    pd.testing.assert_frame_equal(two.frame, one.frame, rtol=5e-6, atol=1e-6)
    pd.testing.assert_frame_equal(two.channels, one.channels, rtol=1e-5, atol=1e-6)
    counts = [found.distributions["count"].sum() for found in (one, two)]
    assert counts[0] == counts[1]


def test_the_same_again_to_the_last_bit(folder):
    results = [vizkit.describe(a_model(), folder, "all", "layers", workers=n) for n in (0, 0, 2)]
    for found in results[1:]:
        pd.testing.assert_frame_equal(found.frame, results[0].frame, check_exact=True)
        pd.testing.assert_frame_equal(found.channels, results[0].channels, check_exact=True)


def test_sampling_is_said_and_can_be_chosen(folder):
    few = vizkit.describe(a_model(), folder, "all", at="layers", places=7)
    assert set(few.sampling.values()) == {"7 random places of each map"}
    assert {"skew", "median", "effective_rank"} < set(few.sampling)
    assert not {"mean", "std", "max", "sparsity", "gradient_norm"} & set(few.sampling)
    counts = few.distributions.groupby(["layer", "role"])["count"].sum()
    assert set(counts) == {11 * 7 * 6, 11 * 7 * 16}
    exact = vizkit.describe(a_model(), folder, "all", at="layers", places=None)
    same = few.frame["value"].to_numpy() == exact.frame["value"].to_numpy()
    nan = few.frame["value"].isna().to_numpy()
    assert set(few.frame["statistic"][~same & ~nan]) <= set(few.sampling)


def test_the_network_is_left_as_it_was(folder, unchanged):
    damage(folder)
    net = a_net().train()
    net[0].weight.requires_grad_(False)
    net[8].weight.grad = torch.ones_like(net[8].weight)
    model = vizkit.wrap(net, transform=TINY, classes=("cat", "dog", "fox"))
    with unchanged(net):
        vizkit.describe(model, folder, "all", at="layers", batch_size=4, workers=2)
    with unchanged(net), torch.no_grad():
        vizkit.describe(model, folder, "all", batch_size=4)
    with unchanged(net), pytest.raises(InputError):
        vizkit.describe(model, [torch.zeros(3, 9, 9), torch.zeros(3, 8, 8)], "all")


def test_the_network_is_left_as_it_was_when_it_is_stopped(folder, unchanged, monkeypatch):
    net = a_net().train()
    model = vizkit.wrap(net, transform=TINY)

    def stop(self, sample):
        raise KeyboardInterrupt

    monkeypatch.setattr("vizkit.statistics.gradients.GradientNorm.update", stop)
    with unchanged(net), pytest.raises(KeyboardInterrupt):
        vizkit.describe(model, folder, "all", at="layers")


def test_frozen_networks_have_gradients_too(folder):
    model = a_model()
    expected = vizkit.describe(model, folder, "gradient_norm", at="layers").frame
    model.module.requires_grad_(False)
    found = vizkit.describe(model, folder, "gradient_norm", at="layers").frame
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)


def test_a_tap_behind_which_nothing_depends_on_it(folder):
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, x):
            self.unused(x)
            return self.used(x).mean(dim=(-2, -1))

    found = vizkit.describe(vizkit.wrap(Aside(), transform=TINY), folder, "gradient_norm",
                            at=["unused", "used"]).frame  # fmt: skip
    values = found.set_index("layer")["value"]
    assert np.isnan(values["unused"])
    assert values["used"] > 0


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


def test_a_module_that_runs_twice_is_told_apart():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.act = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU()

        def forward(self, x):
            return self.act(self.two(self.act(self.one(x)))).mean(dim=(-2, -1))

    net, pixels = Shared(), torch.randn(4, 3, 16, 16)
    found = vizkit.describe(net, pixels, ["max", "std"], at=["act"])
    assert len(found.frame) == 4
    with torch.no_grad():
        first = net.one(pixels).relu()
        second = net.two(first).relu()
    values = found.frame.query("statistic == 'max'")["value"]
    assert list(values) == pytest.approx([first.max().item(), second.max().item()])
    assert not found.frame.duplicated(["layer", "role", "statistic"]).any()
    assert len(found.wide()) == 2
    assert len(found.pivot("max")) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_networks_of_other_types(folder, dtype):
    plain = vizkit.describe(a_model(), folder, "all", at="layers").wide()
    model = vizkit.wrap(
        a_net().to(dtype), name="net", transform=TINY, classes=("cat", "dog", "fox")
    )
    found = vizkit.describe(model, folder, "all", at="layers").wide()
    close = 1e-4 if dtype == torch.float64 else 0.2
    for name in ("mean", "std", "energy", "max", "gradient_norm", "effective_rank"):
        assert np.allclose(found[name], plain[name], rtol=close, atol=close / 10), name


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


def test_a_dead_network_has_no_numbers_where_none_exist():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.zeros_(net[0].weight)
    nn.init.constant_(net[0].bias, -1)
    found = vizkit.describe(net, torch.randn(3, 3, 16, 16), "all")
    values = found.frame.set_index("statistic")["value"]
    none = {"skew", "kurtosis", "redundancy", "spatial_entropy", "lifetime_sparsity"}
    assert {name for name, value in values.items() if np.isnan(value)} == none
    assert found.wide()[sorted(none)].isna().all(axis=None)
    assert "NaN" in found._repr_html_()


def test_tables_and_how_they_are_shown(demo):
    photos = vizkit.samples()
    found = vizkit.describe(demo, photos, "all", at="layers")
    assert list(found.frame.columns) == COLUMNS
    taps = vizkit.find_stages(demo, "layers")
    assert len(found.channels) == sum(tap.channels for tap in taps)
    keys = [*KEYS, "channel"]
    assert list(found.channels.columns[:5]) == keys
    assert not found.channels.duplicated(keys).any()
    assert not found.frame.duplicated([*KEYS, "statistic"]).any()
    assert list(dict.fromkeys(zip(found.frame["layer"], found.frame["role"], strict=True))) == [
        (tap.name, tap.role) for tap in taps
    ]
    wide = found.wide()
    assert len(wide) == len(taps)
    assert list(wide.columns[:4]) == KEYS
    assert set(wide.columns[4:]) == set(found.units)
    assert list(found.distributions.columns) == [*KEYS, "low", "high", "count"]
    assert (found.distributions["count"] > 0).all()
    for text in (repr(found), found._repr_html_()):
        assert demo.name in text
        assert "5 image" in text
        assert "kurtosis" in text


def test_names_are_escaped_where_they_are_shown(folder):
    found = vizkit.describe(a_model(name="<b>net</b>"), folder, "mean")
    text = found._repr_html_()
    assert "<b>net" not in text
    assert html.escape("<b>net</b>") in text


MEMORY = """
import resource, sys
sys.path[:0] = {path!r}
import torch
from test_statistics import a_model
import vizkit
from vizkit.statistics.run import prepared

torch.set_num_threads(1)
model, photos = a_model(), {photos!r}

def peak(count):
    images = [photos[n % len(photos)] for n in range(count)]
    run = prepared(model, images, "all", ["1", "4"], batch_size=50)
    run.go(0)
    assert run.result().images == count
    held = sum(t.nbytes for _, a in run._named() for t in a.state().values())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, held

peak(50)
few, many = peak(100), peak(4_000)
print(many[0] - few[0], few[1], many[1])
"""


def test_memory_does_not_grow_with_the_number_of_images(folder):
    photos = []
    for path in sorted(folder.rglob("*.png")):
        photos.append(str(path.with_suffix(".jpg")))
        read(path).resize((24, 24)).save(photos[-1], quality=90)
    script = MEMORY.format(path=[str(Path(__file__).parent)], photos=photos)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          env=environment, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    grown, few, many = map(int, done.stdout.split())
    assert few == many < 4e6
    # kilobytes; a hundred images' maps alone are 2 MB, four thousand's 80 MB
    assert grown < 30_000
