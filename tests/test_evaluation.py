"""Accuracy against counts made by hand."""

import math
import shutil

import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

import vizkit


class Colours(torch.nn.Module):
    """Logits are the mean of each colour; a seventh output never wins."""

    def __init__(self, outputs=7):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, outputs, 1)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.bias.fill_(-100)
            for i in range(min(outputs, 3)):
                self.conv.weight[i] = torch.eye(3)[i].view(3, 1, 1)
                self.conv.bias[i] = 0

    def forward(self, x):
        return self.conv(x).mean(dim=(2, 3))


NAMES = ("red", "green", "blue", "a", "b", "c", "d")


@pytest.fixture
def folder(tmp_path):
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    for name, colour in colours.items():
        (tmp_path / name).mkdir()
        for i in range(4):
            wrong = name == "blue" and i == 0
            Image.new("RGB", (40, 32), (255, 0, 0) if wrong else colour).save(
                tmp_path / name / f"{i}.png"
            )
    return tmp_path


def model(outputs=7):
    return vizkit.wrap(Colours(outputs), classes=NAMES[:outputs], name="colours")


def test_counts(folder):
    row = vizkit.evaluate(model(), folder).iloc[0]
    assert (row["model"], row["n"], row["failed"]) == ("colours", 12, 0)
    assert row["top1"] == pytest.approx(11 / 12)
    assert row["top1_error"] == pytest.approx(1 / 12)
    assert row["top5"] == 1
    low, high = binomtest(11, 12).proportion_ci(method="wilson")
    assert (row["top1_low"], row["top1_high"]) == (pytest.approx(low), pytest.approx(high))


def test_by_class_and_several_models(folder):
    table = vizkit.evaluate({"one": model(), "two": model()}, folder, by_class=True)
    assert len(table) == 6
    blue = table.query("model == 'two' and `class` == 'blue'").iloc[0]
    assert (blue["n"], blue["top1"]) == (4, 0.75)


def test_top5_means_nothing_for_five_classes_or_fewer(folder):
    assert math.isnan(vizkit.evaluate(model(3), folder)["top5"][0])


def test_unreadable_photos_are_counted(folder):
    (folder / "red" / "broken.jpg").write_bytes(b"no image")
    row = vizkit.evaluate(model(), folder).iloc[0]
    assert (row["n"], row["failed"]) == (12, 1)


def test_classes_behind_links_count_and_hidden_folders_do_not(folder):
    (folder / "green").rename(folder / "red" / ".elsewhere")
    (folder / "green").symlink_to(folder / "red" / ".elsewhere")
    for name in (".ipynb_checkpoints", "__MACOSX"):
        shutil.copytree(folder / "red", folder / name)
    shutil.copy(folder / "red" / "0.png", folder / "loose.png")
    (folder / "red" / "gone.png").symlink_to(folder / "nowhere.png")
    table = vizkit.evaluate(model(), folder, by_class=True)
    assert table["class"].tolist() == ["blue", "green", "red"]
    assert table["n"].tolist() == [4, 4, 4]
    assert (table["failed"] == 1).all()


def test_folders_named_by_synset(tmp_path):
    Image.new("RGB", (200, 200), "white").save(_made(tmp_path / "n03445777") / "0.png")
    Image.new("RGB", (200, 200), "gray").save(_made(tmp_path / "n01440764") / "0.png")
    assert vizkit.evaluate("demo/vgg11_bn", tmp_path)["n"][0] == 2


def test_imagenet_classes_that_differ_in_case_only_stay_apart():
    from vizkit.labels import folder_indices
    from vizkit.models import imagenet_classes

    classifier = vizkit.wrap(Colours(), classes=imagenet_classes())
    wanted = {"n02113186": 264, "n02963159": 474, "Cardigan": 264, "cardigan": 474}
    assert folder_indices(classifier, list(wanted)) == wanted


def _made(path):
    path.mkdir(parents=True)
    return path


def test_bad_folders(folder, tmp_path):
    with pytest.raises(vizkit.InputError, match="no such folder"):
        vizkit.evaluate(model(), tmp_path / "missing")
    shutil.copytree(folder / "red", folder / "gren")
    with pytest.raises(vizkit.InputError, match="'gren'; did you mean 'green'"):
        vizkit.evaluate(model(), folder)
    with pytest.raises(vizkit.InputError, match="has no class folders"):
        vizkit.evaluate(model(), folder / "red")
    with pytest.raises(vizkit.InputError, match="no class names"):
        vizkit.evaluate(Colours(), folder)
