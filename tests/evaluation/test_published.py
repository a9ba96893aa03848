"""Published figures stand beside those of the very weights they belong to, and of no others."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from nets import a_net, photos

import vizkit
from vizkit import zoo
from vizkit.evaluation import evaluated, published
from vizkit.images import Transform
from vizkit.provenance import file_hash

COLUMNS = ["published_top1", "top1_difference", "published_top5", "top5_difference",
           "published_size", "published_source", "published_note"]  # fmt: skip
TEN = ["church", "golf ball", "tench"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("ten"), TEN, 6)


def pretrained(name, **options):
    """A network as `load` gives it with its published weights, but for their values."""
    found = vizkit.load(name, weights=None, device="cpu", **options)
    return replace(found, recipe={**found.recipe, "weights": "default"})


def only(models, folder):
    table = vizkit.evaluate(models, folder, published=True)
    assert list(table.columns[-len(COLUMNS) :]) == COLUMNS
    return table.set_index("model")


def test_bundled_models_stand_beside_their_card(folder):
    names = ["demo/vgg11", "demo/vovnet19b"]
    table = only(names, folder)
    for name in names:
        entry = zoo.recipes()["models"][name.removeprefix("demo/")]
        row = table.loc[name]
        assert row["published_top1"] == pytest.approx(entry["top1"] / 100)
        assert row["published_top5"] == pytest.approx(entry["top5"] / 100)
        assert row["top1_difference"] == pytest.approx(row["top1"] - entry["top1"] / 100)
        assert row["top5_difference"] == pytest.approx(row["top5"] - entry["top5"] / 100)
        assert row["published_size"] == 128
        assert row["published_note"] == (
            "published over 3791 photos, here 6; published over 10 classes, here 3"
        )


def test_bundled_models_on_their_own_photos_need_no_note(imagenette, tmp_path):
    from vizkit.evaluation.published import figures_of

    figures = figures_of(vizkit.load("demo/vgg11", device="cpu"))
    files = list((imagenette / "val").rglob("*.JPEG"))
    assert (figures.photos, figures.classes) == (len(files), len({f.parent for f in files}))
    assert figures.setting == str(vizkit.load("demo/vgg11", device="cpu").transform)


def test_another_transform_is_told(folder):
    model = vizkit.load("demo/vgg11", device="cpu")
    other = replace(model, transform=Transform((96, 96), (128, 128), interpolation="bicubic"))
    note = only(other, folder)["published_note"].iloc[0]
    assert "published at 128 px, bilinear, crop 0.877, here 96 px, bicubic, crop 0.75" in note


@pytest.mark.parametrize(
    ("name", "options", "figures"),
    [
        ("ese_vovnet19b_dw", {}, (0.7683, 0.9328, 224)),
        ("ese_vovnet19b_dw.ra_in1k", {}, (0.7683, 0.9328, 224)),
        ("timm/ese_vovnet19b_dw", {}, (0.7683, 0.9328, 224)),
        ("ese_vovnet19b_dw", {"use_test_size": True}, (0.7779, 0.9377, 288)),
        ("torchvision/squeezenet1_1", {}, (0.58178, 0.80624, 224)),
    ],
)
def test_figures_of_1000_classes(folder, name, options, figures):
    row = only(pretrained(name, **options), folder).loc[name]
    found = tuple(row[column] for column in ("published_top1", "published_top5", "published_size"))
    assert found == pytest.approx(figures)
    # made at the model's own size, so that only the photos differ
    assert row["published_note"] == (
        "published over 50000 photos, here 6; published over 1000 classes, here 3"
    )
    among = vizkit.evaluate(pretrained(name, **options), folder, published=True, among="folders")
    assert "published among 1000 outputs, here 3" in among["published_note"][0]


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("torchvision/vgg16_bn", (73.36, 91.516)),
        ("mmpretrain/vgg16_bn", (73.74, 91.66)),
        ("mmpretrain/vgg19", (72.41, 90.80)),
        ("mmpretrain/vgg11_bn", (70.67, 90.16)),
    ],
)
def test_published_files_are_known_by_their_content(folder, monkeypatch, name, figures):
    file = zoo.weights_path("vgg11")
    model = vizkit.load("demo/vgg11", weights=file, device="cpu")
    assert published.figures_of(model) is None
    # as if this file were the published one
    monkeypatch.setattr(published, "_files", lambda: {file_hash(file)[:8]: name})
    found = published.figures_of(model)
    assert (found.top1, found.top5, found.size) == (*figures, 224)
    note = only(model, folder)["published_note"].iloc[0]
    assert "published at 224 px, bilinear, crop 0.875, here 128 px" in note


def test_the_hashes_are_those_of_the_published_names():
    names = [f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")]
    known = published._files()
    assert len(known) == 16
    assert set(known.values()) == {f"{s}/{n}" for s in ("torchvision", "mmpretrain") for n in names}
    assert known["6c64b313"] == "torchvision/vgg16_bn"
    assert known["7e55cd29"] == "mmpretrain/vgg16_bn"
    assert all(len(digits) == 8 and int(digits, 16) >= 0 for digits in known)


@pytest.mark.parametrize(
    "make",
    [
        lambda: a_net(classes=TEN),
        lambda: vizkit.load("demo/vgg11", weights=None, device="cpu"),
        lambda: pretrained("resnet18.a3_in1k"),
    ],
)
def test_other_weights_have_no_published_figures(make, folder):
    model = make()
    assert published.figures_of(model) is None
    row = published.published_figures([model], [None], evaluated("demo/vgg11", folder)).iloc[0]
    assert row["published_note"].startswith("no published figures are known for these weights")
    assert math.isnan(row["published_top1"])
    assert row["published_source"] is None


def test_models_with_and_without_figures_in_one_table(folder):
    table = only({"mine": a_net(classes=TEN), "theirs": "demo/vgg11"}, folder)
    assert table["published_top1"].isna().tolist() == [True, False]
    assert table["top1_difference"].isna().tolist() == [True, False]
    plain = vizkit.evaluate({"mine": a_net(classes=TEN), "theirs": "demo/vgg11"}, folder)
    pd.testing.assert_frame_equal(table.reset_index()[list(plain.columns)], plain)


def test_other_classes_have_no_published_figures():
    names = vizkit.load("demo/vgg11", device="cpu").classes
    assert published.figures_of(vizkit.load("demo/vgg11", classes=names, device="cpu"))
    turned = vizkit.load("demo/vgg11", classes=names[::-1], device="cpu")
    assert published.figures_of(turned) is None


def test_a_file_that_is_gone_has_no_published_figures(tmp_path):
    torch.manual_seed(0)
    torch.save(zoo.build("vgg11", 10).state_dict(), tmp_path / "a.pth")
    model = vizkit.load("demo/vgg11", weights=tmp_path / "a.pth", device="cpu")
    (tmp_path / "a.pth").unlink()
    assert published.figures_of(model) is None
