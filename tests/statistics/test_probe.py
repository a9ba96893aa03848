"""Linear probes against leave-one-out and cross-validation written out, in NumPy float64."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vizkit
from vizkit.errors import InputError
from vizkit.images import Transform
from vizkit.results.chance import wilson
from vizkit.statistics import probe as module
from vizkit.statistics.ridge import PENALTIES, _Spectrum, fit
from vizkit.statistics.splits import labelled, stratified

COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 60), "red": (200, 50, 40)}
COLUMNS = ["model", "stride", "layer", "role", "features", "accuracy", "low", "high", "n",
           "chance", "penalty"]  # fmt: skip


def normal_equations(x, y, penalty):
    """Weights of [1, x] with the penalty on all but the first: the definition."""
    wide = np.hstack([np.ones((len(x), 1)), x])
    ridge = np.diag([0.0, *[penalty] * x.shape[1]])
    return np.linalg.solve(wide.T @ wide + ridge, wide.T @ y)


def left_out(x, y, penalty):
    """Errors of refits without each photo in turn."""
    errors = []
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        weights = normal_equations(x[rest], y[rest], penalty)
        errors.append(y[i] - np.concatenate([[1.0], x[i]]) @ weights)
    return np.array(errors)


def some_features(n, features, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = generator.normal(size=(n, features)) * generator.uniform(0.1, 50, features) + 7
    x[:, 0] += 30 * labels
    return x, labels


def standard(x, like=None):
    like = x if like is None else like
    spread = like.std(axis=0)
    return (x - like.mean(axis=0)) / np.where(spread > 0, spread, np.inf)


@pytest.mark.parametrize(("n", "features"), [(24, 5), (15, 40), (12, 12)])
def test_leave_one_out_equals_refits(n, features):
    x, labels = some_features(n, features)
    x, y = standard(x), np.eye(3)[labels]
    spectrum = _Spectrum.of(x, y)
    for penalty in PENALTIES[::4]:
        expected = left_out(x, y, penalty * n)
        assert np.allclose(spectrum.residuals(penalty), expected, rtol=1e-7, atol=1e-8), penalty


@pytest.mark.parametrize(("n", "features"), [(30, 4), (12, 25)])
def test_a_fit_solves_the_normal_equations_with_the_best_penalty(n, features):
    x, labels = some_features(n, features, seed=1)
    y = np.eye(3)[labels]
    errors = [(left_out(standard(x), y, penalty * n) ** 2).sum() for penalty in PENALTIES]
    ridge = fit(x, labels, 3)
    assert ridge.penalty == PENALTIES[np.argmin(errors)]
    new, _ = some_features(7, features, seed=2)
    weights = normal_equations(standard(x), y, ridge.penalty * n)
    expected = np.hstack([np.ones((7, 1)), standard(new, x)]) @ weights
    assert np.allclose(ridge.scores(new), expected, rtol=1e-8, atol=1e-10)


def test_constant_features_have_no_say_and_scales_do_not_matter():
    x, labels = some_features(20, 4)
    constant = np.full((20, 1), 0.1, dtype=np.float32) + np.float32([[1e-9]])
    wide = np.hstack([x * [1e4, 1, 1e-4, 1] + [0, 1e3, 0, 0], constant])
    new = np.hstack([x * [1e4, 1, 1e-4, 1] + [0, 1e3, 0, 0], constant + 5])
    assert np.allclose(fit(wide, labels, 3).scores(new), fit(x, labels, 3).scores(x), atol=1e-9)


def test_parts_are_even_in_every_class_and_repeatable():
    labels = np.array([0] * 11 + [1] * 5 + [2] * 7)
    parts = stratified(labels, 5, 0)
    assert np.ptp(np.bincount(parts)) <= 1
    for label in range(3):
        assert np.ptp(np.bincount(parts[labels == label], minlength=5)) <= 1
    assert np.array_equal(parts, stratified(labels, 5, 0))
    assert not np.array_equal(parts, stratified(labels, 5, 1))


def write(folder, colours, count, seed=0):
    """Noisy photos, a folder of each colour."""
    generator = np.random.default_rng(seed)
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            noise = generator.normal(0, 25, (24, 24, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    return write(tmp_path_factory.mktemp("coloured"), COLOURS, 7)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    grey = dict.fromkeys(COLOURS, (128, 128, 128))
    return write(tmp_path_factory.mktemp("noise"), grey, 20)


@pytest.fixture(scope="module")
def net():
    generator = torch.Generator().manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2), nn.ReLU(inplace=True), nn.Conv2d(5, 40, 3, stride=2),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 4),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return vizkit.wrap(layers, name="net", transform=Transform((24, 24), (24, 24)))


def test_it_equals_cross_validation_written_out(net, noise):
    found = vizkit.linear_probe(net, noise, folds=4, random_state=3)
    assert list(found.frame.columns) == COLUMNS
    assert (found.classes, found.folds, found.trained) == (tuple(sorted(COLOURS)), 4, 45)
    photos = labelled(noise)
    part = stratified(photos.numbers, 4, 3)
    for tap, maps in vizkit.capture(net, noise).items():
        x = maps.mean(dim=(-2, -1)).double().numpy()
        hits, penalties = 0, []
        for k in range(4):
            learnt, tested = part != k, part == k
            # nothing of the tested part is looked at before the last line
            y = np.eye(3)[photos.numbers[learnt]]
            own = standard(x[learnt])
            errors = [(left_out(own, y, p * learnt.sum()) ** 2).sum() for p in PENALTIES]
            penalties.append(PENALTIES[np.argmin(errors)])
            weights = normal_equations(own, y, penalties[-1] * learnt.sum())
            wide = np.hstack([np.ones((tested.sum(), 1)), standard(x[tested], x[learnt])])
            hits += ((wide @ weights).argmax(axis=1) == photos.numbers[tested]).sum()
        row = found.frame.set_index("layer").loc[tap.name]
        assert row["accuracy"] == hits / 60
        assert (row["low"], row["high"]) == wilson(hits, 60)
        assert row["penalty"] == np.median(penalties)
        assert (row["n"], row["features"], row["model"]) == (60, tap.channels, "net")


def test_no_fit_sees_what_it_is_tested_on(net, coloured, monkeypatch):
    seen = []
    whole = module._accuracy

    def watched(features, numbers, parts):
        for learnt, test in parts:
            assert not set(learnt) & set(test)
        assert sorted(np.concatenate([test for _, test in parts])) == list(range(21))
        return whole(features, numbers, parts)

    def spy(features, labels, count):
        seen.append(len(features))
        return fit(features, labels, count)

    monkeypatch.setattr(module, "_accuracy", watched)
    monkeypatch.setattr(module, "fit", spy)
    found = vizkit.linear_probe(net, coloured)
    assert sum(seen) == len(found.frame) * 4 * 21
    assert max(seen) < 21


def test_separable_classes_are_read_without_fault_and_noise_at_chance(net, coloured, noise):
    found = vizkit.linear_probe(net, coloured)
    assert list(found.frame["accuracy"]) == [1.0] * len(found.frame)
    assert set(found.frame["n"]) == {21}
    shuffled = vizkit.linear_probe(net, noise).frame
    assert (shuffled["low"] < shuffled["chance"]).all()
    assert (shuffled["high"] > shuffled["chance"]).all()
    assert set(shuffled["chance"]) == {1 / 3}


def test_it_does_not_depend_on_batches_or_the_number_of_networks(net, noise):
    alone = vizkit.linear_probe(net, noise, batch_size=60).frame
    assert alone.equals(vizkit.linear_probe(net, noise, batch_size=60).frame)
    again = vizkit.linear_probe({"net": net, "other": net}, noise, batch_size=7).frame
    assert alone.equals(again[again["model"] != "other"])
    other = again[again["model"] == "other"]["accuracy"]
    assert list(other) == list(alone["accuracy"][1:])


def test_the_first_row_is_a_thumbnail_without_a_network(net, coloured):
    row = vizkit.linear_probe(net, coloured).frame.iloc[0]
    assert tuple(row[["model", "stride", "role", "features"]]) == ("pixels", 0, "input", 192)


def test_normalisation_changes_nothing_for_a_linear_reader(demo, noise):
    found = vizkit.linear_probe(demo, noise, ["conv1_1:conv", "conv1_1:norm"], folds=3).frame
    assert found["accuracy"][1] == found["accuracy"][2]


def test_other_photos_can_be_tested(net, coloured, tmp_path):
    few = {"red": COLOURS["red"], "blue": COLOURS["blue"]}
    tested = write(tmp_path / "test", few, 4, seed=1)
    found = vizkit.linear_probe(net, coloured, test=tested)
    assert (found.folds, found.trained) == (0, 21)
    assert set(found.frame["n"]) == {8}
    assert set(found.frame["chance"]) == {0.5}
    assert (found.frame["accuracy"] == 1).all()
    assert "apart from the 21 learnt from" in repr(found)
    write(tmp_path / "more", {"violet": (150, 0, 150)}, 1)
    with pytest.raises(InputError, match="unknown class folder to test on 'violet'"):
        vizkit.linear_probe(net, coloured, test=tmp_path / "more")
    with pytest.raises(InputError, match="among the photos learnt from"):
        vizkit.linear_probe(net, coloured, test=coloured)
    for file in tested.rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(InputError, match="none of the photos to test on can be read"):
        vizkit.linear_probe(net, coloured, test=tested)


def test_unreadable_photos_are_listed_and_not_counted(net, tmp_path):
    folder = write(tmp_path, COLOURS, 5)
    (folder / "red" / "0.png").write_bytes(b"no image")
    found = vizkit.linear_probe(net, folder, folds=4, batch_size=1)
    assert list(found.failed["file"]) == [str(folder / "red" / "0.png")]
    assert set(found.frame["n"]) == {14}
    assert "1 unreadable" in repr(found)
    assert "pixels" not in repr(found)
    with pytest.raises(InputError, match=r"5 folds take 5 readable photos .* red has 4"):
        vizkit.linear_probe(net, folder)


def test_what_cannot_be_probed(net, coloured, tmp_path):
    with pytest.raises(InputError, match="at least two class folders apart, here is red"):
        vizkit.linear_probe(net, write(tmp_path, {"red": COLOURS["red"]}, 3), folds=2)
    with pytest.raises(InputError, match="one folder of photos a class"):
        vizkit.linear_probe(net, tmp_path / "red")
    with pytest.raises(InputError, match="8 folds take 8 readable photos"):
        vizkit.linear_probe(net, coloured, folds=8)
    with pytest.raises(InputError, match="folds must be a whole number of at least 2"):
        vizkit.linear_probe(net, coloured, folds=1)
    broken = vizkit.wrap(nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                         name="broken", transform=net.transform)  # fmt: skip
    nn.init.constant_(broken.module[0].bias, float("nan"))
    with pytest.raises(InputError, match="broken gives NaN or infinity at stride1"):
        vizkit.linear_probe(broken, coloured)


def test_the_network_is_left_as_it_was(net, coloured, unchanged):
    with unchanged(net.module):
        vizkit.linear_probe(net, coloured, at="layers")


def test_a_result_shows_itself(net, coloured):
    found = vizkit.linear_probe({"<b>net</b>": net}, coloured)
    assert repr(found) == (
        "LinearProbe of <b>net</b>: 21 photos of 3 classes, 5-fold cross-validation"
    )
    assert "&lt;b&gt;net" in found._repr_html_()
    assert "<b>" not in found._repr_html_()


def test_depth_helps_on_photos(demo, imagenette, tmp_path):
    for folder in sorted((imagenette / "val").iterdir())[:4]:
        (tmp_path / folder.name).mkdir()
        for file in sorted(folder.iterdir())[:12]:
            (tmp_path / folder.name / file.name).symlink_to(file)
    found = vizkit.linear_probe(demo, tmp_path, folds=3).frame.set_index("stride")
    assert found["accuracy"][32] > found["accuracy"][1]
    assert found["low"][32] > found["accuracy"][0]
