"""`vizkit evaluate` as a user types it, in this process; stopped and shared: tests/evaluation."""

import json

import commands
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import vizkit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    generator = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("val")
    for i in range(12):
        place = root / ("church", "golf_ball", "n01440764")[i % 3]
        place.mkdir(exist_ok=True)
        pixels = generator.normal(20 * i, 50, (140, 150, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{i:02}.png")
    (root / "church" / "bad.jpg").write_bytes(b"no image")
    return root


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *words: commands.run("evaluate", *words)


@pytest.mark.parametrize(
    "words",
    [
        ["demo/vgg11", "demo/vgg11_bn", "{}"],
        ["demo/vgg11,demo/vgg11_bn", "{}"],
        ["{}", "--models", "demo/vgg11,demo/vgg11_bn"],
        ["-m", "demo/vgg11,demo/vgg11_bn", "{}"],
    ],
)
def test_models_before_the_folder_or_as_an_option(run, folder, words):
    code, out, err = run(*(word.format(folder) for word in words), "--json", "--device", "cpu")
    assert code == 0
    printed = pd.DataFrame(json.loads(out))
    models = [vizkit.load(f"demo/{name}", device="cpu") for name in ("vgg11", "vgg11_bn")]
    pd.testing.assert_frame_equal(printed, vizkit.evaluate(models, folder), check_exact=True)
    assert f"left out {folder / 'church' / 'bad.jpg'}" in err


def test_a_folder_alone_is_judged_by_the_usual_model(run, folder):
    code, out, _ = run(folder, "--json")
    assert (code, [row["model"] for row in json.loads(out)]) == (0, ["demo/vgg16_bn"])


def test_by_class_among_folders_and_confusions(run, folder):
    code, out, _ = run("demo/vgg11", folder, "--by-class", "--among-folders", "--confused", 2)
    assert code == 0
    table, _, pairs = out.partition("\n\n")
    assert [line.split()[1] for line in table.splitlines()[1:]] == [
        "church", "golf_ball", "n01440764",
    ]  # fmt: skip
    assert "tench" in table
    assert pairs.split()[:5] == ["model", "label", "class", "n", "share"]
    expected = vizkit.evaluate("demo/vgg11", folder, by_class=True, among="folders")
    assert expected["outputs"].tolist() == [3, 3, 3]


def test_published_figures_on_the_screen(run, folder):
    code, out, err = run("demo/vgg11", folder, "--published")
    assert code == 0
    assert "published_top1" in out
    assert "0.8214" in out
    assert "demo/vgg11: published over 3791 photos, here 12" in err


def test_a_table_of_labels(run, folder, tmp_path):
    rows = [(path.relative_to(folder), path.parent.name) for path in folder.rglob("*.*")]
    pd.DataFrame(rows, columns=["file", "class"]).to_csv("labels.csv", index=False)
    code, out, _ = run("demo/vgg11", folder, "--labels", "labels.csv", "--json")
    assert code == 0
    own, byfolder = json.loads(out)[0], vizkit.evaluate("demo/vgg11", folder).iloc[0]
    assert (own["n"], own["failed"], own["top1"]) == (12, 1, byfolder["top1"])


def test_a_folder_of_results(run, folder, tmp_path):
    code, out, err = run("demo/vgg11", folder, "--out", "found", "--resume", "--theme", "dark")
    assert code == 0
    assert "nothing to go on with in found: starting anew" in err
    assert "evaluation" not in out
    names = {path.name for path in (tmp_path / "found").iterdir()}
    assert names == {
        "summary.csv", "by_class.csv", "predictions.csv", "confusion.csv", "calibration.csv",
        "failed.csv", "calibration.png", "confusion.png", "manifest.json",
    }  # fmt: skip
    for name in ("calibration", "confusion"):
        with Image.open(tmp_path / "found" / f"{name}.png") as picture:
            assert sum(picture.convert("RGB").getpixel((1, 1))) < 150
    summary = pd.read_csv("found/summary.csv")
    assert summary["top1"][0] == vizkit.evaluate("demo/vgg11", folder)["top1"][0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["demo/vgg11"], "no such folder: demo/vgg11"),
        (["{}", "demo/vgg11"], "the folder comes last, after the models: {}"),
        (["demo/vgg11", "{}", "-m", "demo/vgg13"], "before the folder or with --models, not both"),
        (["demo/vgg12", "{}"], "did you mean 'vgg1"),
        (["demo/vgg11", "{}/church"], "has no class folders"),
        (["demo/vgg11", "{}", "--labels", "none.csv"], "none.csv cannot be read"),
        (["demo/vgg11", "{}", "--batch-size", "0"], "batch_size must be a whole number"),
        (["demo/vgg11", "{}", "--test-size"], "no other test size is known"),
        (["demo/vgg11", "{}", "--resume"], "resume needs the folder of the run"),
        (["demo/vgg11", "{}", "--out", "x", "--theme", "drak"], "did you mean 'dark'"),
        (["demo/vgg11", "{}", "--confused", "-1"], "confused must be a whole number"),
    ],
)
def test_bad_input_is_one_clear_line(run, folder, tmp_path, words, message):
    code, out, err = run(*(word.format(folder) for word in words))
    assert (code, out) == (2, "")
    line = err.strip().splitlines()[-1]
    assert line.startswith("vizkit: ")
    assert message.format(folder) in line
    assert list(tmp_path.iterdir()) == []
