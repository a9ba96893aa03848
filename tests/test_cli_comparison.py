"""The commands that compare: report made again, disagree."""

import json

import pandas as pd
import pytest
from commands import run, run_apart

import vizkit

MODELS = "demo/vgg11,demo/vgg11_bn"


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    root = tmp_path_factory.mktemp("classes")
    for name, photo in vizkit.samples().items():
        folder = root / ("church" if name == "rocket" else "golf ball")
        folder.mkdir(exist_ok=True)
        photo.save(folder / f"{name}.png")
    return root


def test_a_report_is_made_again_and_says_whether_it_is_the_same(classes, tmp_path):
    photo = classes / "church" / "rocket.png"
    options = ["--methods", "grad_cam", "--no-speed", "--quick"]
    first = run("report", "-m", "demo/vgg11", "-i", photo, "-o", tmp_path / "one", *options)
    assert first.returncode == 0, first.stderr
    again = run_apart(
        "report", "--from", tmp_path / "one" / "manifest.json", "-o", tmp_path / "two"
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip() == str(tmp_path / "two" / "index.html")
    count = len(json.loads((tmp_path / "one" / "manifest.json").read_text())["files"])
    assert f"all {count} files are the same to the byte" in again.stderr
    page = tmp_path / "one" / "index.html"
    page.write_text(page.read_text().replace("Summary", "Resume"))
    manifest = tmp_path / "one" / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["files"]["index.html"] = "0" * 64
    manifest.write_text(json.dumps(facts))
    other = run("report", "--from", manifest, "-o", tmp_path / "three")
    assert f"1 of {count} files differ from the manifest: index.html" in other.stderr
    both = run("report", "--from", manifest, "-m", "demo/vgg13", "--channels", 3)
    assert both.returncode == 2
    assert "the manifest decides --models, --channels" in both.stderr
    missing = run("report", "--from", tmp_path / "none.json", "-o", tmp_path / "four")
    assert missing.returncode == 2
    assert "no manifest that can be read" in missing.stderr
    assert not (tmp_path / "four").exists()


def test_disagree_ranks_photos_and_counts_flips(classes, tmp_path):
    done = run("disagree", classes, "-m", MODELS, "-k", 3, "--out", tmp_path / "parts")
    assert done.returncode == 0, done.stderr
    found = vizkit.disagreement(MODELS.split(","), classes)
    for name in found.ranking["image"].head(3):
        assert name in done.stdout
    assert "only_a" in done.stdout
    names = {path.name for path in (tmp_path / "parts").iterdir()}
    assert names == {
        "overview.png", "disputed.png", "calibration.png", "confusion.png", "disputed.csv",
        "predictions.csv", "agreement.csv", "scores.csv", "flip_counts.csv", "calibration.csv",
        "confusion.csv",
    }  # fmt: skip
    table = pd.read_csv(tmp_path / "parts" / "scores.csv")
    assert table["accuracy"].to_list() == pytest.approx(found.scores()["accuracy"].to_list())
    as_json = run("disagree", classes, "-m", MODELS, "--no-maps", "--json", "--by", "divergence")
    records = json.loads(as_json.stdout)
    assert [each["image"] for each in records] == list(found.ranking["image"])


def test_disagree_says_what_is_wrong(classes, tmp_path):
    one = run("disagree", classes, "-m", "demo/vgg11")
    assert one.returncode == 2
    assert "two" in one.stderr
    bad = run("disagree", classes, "-m", MODELS, "--by", "mood")
    assert bad.returncode == 2
    assert "divergence" in bad.stderr
    assert len(bad.stderr.strip().splitlines()[-1]) < 200


@pytest.mark.parametrize("kind", ["overview", "calibration", "confusion", "gallery"])
def test_disagreement_is_shown(classes, kind, tmp_path):
    picture = vizkit.show_disagreement(MODELS.split(","), classes, kind, count=2, theme="dark")
    assert picture.save(tmp_path / "a.png").stat().st_size > 10_000
    assert len(picture.to_frame())


def test_an_unknown_kind_of_picture_is_refused_at_once(classes):
    with pytest.raises(vizkit.InputError, match="unknown kind of picture 'galery'; did you mean"):
        vizkit.show_disagreement(MODELS.split(","), classes, "galery")
