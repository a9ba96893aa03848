"""A network of 1000 classes that may choose among ten says what one of these ten does."""

import json
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from nets import ANIMALS, SMALL, a_net, a_thousand, photos
from PIL import Image

import vizkit
from vizkit.evaluation import evaluated
from vizkit.labels import folder_indices

COUNTS = ["n", "top1", "top5", "top1_low", "top1_high", "outputs"]
MEANS = ["confidence", "own", "nll", "brier", "ece"]


@pytest.fixture(scope="module")
def heads():
    return a_thousand()


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """Noise of many colours, in folders named by the synsets of Imagenette."""
    synsets = ["n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916",
               "n03417042", "n03425413", "n03445777", "n03888257"]  # fmt: skip
    return photos(tmp_path_factory.mktemp("synsets"), synsets, 40)


@pytest.fixture(scope="module")
def real(imagenette, tmp_path_factory):
    root = tmp_path_factory.mktemp("imagenette")
    for own in sorted((imagenette / "val").iterdir()):
        (root / own.name).mkdir()
        for file in sorted(own.iterdir())[:10]:
            (root / own.name / file.name).symlink_to(file)
    return root


def check(heads, folder):
    thousand, cut, _ = heads
    found = evaluated([thousand, cut], folder, among="folders")
    table = found.table().set_index("model")
    for name in COUNTS:
        assert table.loc[thousand.name, name] == table.loc[cut.name, name], name
    for name in MEANS:
        assert table.loc[thousand.name, name] == pytest.approx(table.loc[cut.name, name], abs=1e-6)
    one, two = (
        found.predictions.query("model == @each.name").reset_index(drop=True)
        for each in (thousand, cut)
    )
    for name in ("image", "folder", "label", "class", "right", "rank"):
        pd.testing.assert_series_equal(one[name], two[name])
    assert np.allclose(one["own"], two["own"], atol=1e-6)
    # the numbers of the outputs are the networks' own
    assert set(one["index"]) <= set(folder_indices(thousand, sorted(set(one["folder"]))).values())
    # the ten alone are not changed by it
    free = vizkit.evaluate([thousand, cut], folder).set_index("model")
    pd.testing.assert_series_equal(free.loc[cut.name], table.loc[cut.name])
    assert free["outputs"].tolist() == [1000, 10]
    # to choose among fewer can only help
    assert free.loc[thousand.name, "top1"] <= table.loc[thousand.name, "top1"]
    assert free.loc[thousand.name, "nll"] > table.loc[thousand.name, "nll"]
    return free, table


def test_heads_of_1000_and_10_classes_agree_on_synthetic_photos(heads, synthetic):
    check(heads, synthetic)


def test_heads_of_1000_and_10_classes_agree_on_real_photos(heads, real):
    free, table = check(heads, real)
    assert table["top1"].iloc[0] > 0.75
    # the 990 others win often enough for the test to mean something
    assert 0.05 < free["top1"].iloc[0] < table["top1"].iloc[0] - 0.05
    bundled = vizkit.evaluate(heads[2], real).iloc[0]
    assert all(bundled[name] == table.iloc[1][name] for name in COUNTS)


def test_counts_are_those_of_the_predictions(heads, real):
    """Every count of the tables, made again photo by photo."""
    thousand, _, ten = heads
    for model, among in ((thousand, "outputs"), (ten, "outputs"), (thousand, "folders")):
        found = evaluated(model, real, among=among)
        pairs = list(zip(found.predictions["label"], found.predictions["class"], strict=True))
        (row,) = found.table().to_dict("records")
        assert row["top1"] == sum(own == said for own, said in pairs) / len(pairs)
        assert row["top5"] == sum(rank <= 5 for rank in found.predictions["rank"]) / len(pairs)
        classes = found.table(by_class=True)
        assert classes["name"].tolist() == list(found.labels)
        for each in classes.itertuples():
            mine = [own == said for own, said in pairs if own == each.name]
            assert (each.n, each.top1) == (len(mine), sum(mine) / len(mine))
        counted = {(each.label, each[3]): each.n for each in found.confusion().itertuples()}
        assert counted == Counter(pairs)


def test_the_calibration_error_is_the_sum_over_fifteen_bins(heads, real):
    found = evaluated(heads[2], real)
    sure, right = found.predictions["probability"], found.predictions["right"]
    total = 0.0
    for k in range(15):
        inside = (sure > k / 15) & (sure <= (k + 1) / 15)
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - sure[inside].mean())
    assert found.table()["ece"][0] == pytest.approx(total / len(sure), abs=1e-12)
    bins = found.calibration()
    assert bins["n"].sum() == len(sure)
    assert (bins["n"] * bins["accuracy"]).sum() == pytest.approx(right.sum())


def test_the_most_confused_classes_come_first(tmp_path):
    found = evaluated([a_net(), a_net(1, "other")], photos(tmp_path / "p"))
    table = found.most_confused(2)
    assert table.groupby("model")["n"].apply(lambda n: n.is_monotonic_decreasing).all()
    assert table["model"].value_counts().max() == 2
    for row in table.itertuples():
        own = found.predictions.query("model == @row.model and label == @row.label")
        assert row.n == (own["class"] == row[3]).sum()
        assert row.share == pytest.approx(row.n / len(own))
    with pytest.raises(vizkit.InputError, match="k must be"):
        found.most_confused(0)


@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_results_do_not_depend_on_the_batch_size(tmp_path, batch_size):
    folder = photos(tmp_path / "p")
    one, other = (evaluated(a_net(), folder, batch_size=n) for n in (4, batch_size))
    pd.testing.assert_frame_equal(one.predictions, other.predictions, atol=1e-5, rtol=1e-5)
    pd.testing.assert_frame_equal(one.failed, other.failed)
    assert (one.predictions["rank"] == other.predictions["rank"]).all()


def test_one_bad_file_never_shifts_a_label(tmp_path):
    folder = photos(tmp_path / "p")
    with_bad = evaluated(a_net(), folder, batch_size=3)
    assert len(with_bad.failed) == 2
    assert all(reason for reason in with_bad.failed["reason"])
    for path in folder.rglob("*.jpg"):
        path.unlink()
    without = evaluated(a_net(), folder, batch_size=3)
    pd.testing.assert_frame_equal(with_bad.predictions, without.predictions, atol=1e-5, rtol=1e-5)
    assert with_bad.table()["failed"].tolist() == [2]


def test_a_folder_is_judged_by_each_network_s_own_numbers(tmp_path):
    """Two networks of the same weights, whose classes stand in another order."""
    folder = photos(tmp_path / "p")
    first = a_net(classes=ANIMALS)
    order = [3, 1, 6, 0, 2, 5, 4]
    other = a_net(classes=tuple(ANIMALS[n] for n in order), name="turned")
    last, its = first.module[-1], other.module[-1]
    its.weight.data, its.bias.data = last.weight.data[order], last.bias.data[order]
    table = vizkit.evaluate([first, other], folder)
    assert table["top1"].iloc[0] == table["top1"].iloc[1]
    assert table["nll"].iloc[0] == pytest.approx(table["nll"].iloc[1], abs=1e-6)
    kept = folder / "cat"
    for name in ANIMALS[1:]:
        shutil.rmtree(folder / name)
    few = vizkit.evaluate([first, other], folder, among="folders")
    assert few["top1"].tolist() == [1, 1]
    assert few["nll"].tolist() == [0, 0]
    assert kept.is_dir()


def test_networks_that_give_no_numbers_are_named(tmp_path):
    broken = a_net(name="broken")
    broken.module[-1].bias.data[0] = float("nan")
    with pytest.raises(vizkit.InputError, match="broken gives NaN or infinity"):
        vizkit.evaluate(broken, photos(tmp_path / "p"))
    narrow = vizkit.wrap(
        a_net().module,
        name="narrow",
        transform=SMALL,
        classes=[*(f"c{n}" for n in range(7)), "cat"],
    )
    (tmp_path / "q" / "cat").mkdir(parents=True)
    Image.new("RGB", (300, 300)).save(tmp_path / "q" / "cat" / "a.png")
    with pytest.raises(vizkit.InputError, match="narrow has 7 outputs, and none for 'cat'"):
        vizkit.evaluate(narrow, tmp_path / "q")


def test_repr_says_what_matters(tmp_path):
    found = evaluated(a_net(), photos(tmp_path / "p"))
    assert repr(found).startswith("Evaluation on 26 photos of 7 classes: net ")
    assert "2 unreadable" in repr(found)
    assert "<table" in found._repr_html_()
    assert json.dumps(found.table().to_dict("records"), default=float)
