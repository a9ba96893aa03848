"""Photos that cannot be read are named everywhere, and move nothing that belongs to others."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner
from wrecks import LFS, PAGES, encoded

import vizkit
from vizkit.cli import app
from vizkit.evaluation import evaluated
from vizkit.judging import judge

MODELS = ["demo/vgg11", "demo/vgg11_bn"]
# one photo after the other: of sums over several, the last digits depend on which these are
ALONE = {"batch_size": 1}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    root = tmp_path_factory.mktemp("left_out") / "good"
    for n, (name, photo) in enumerate(vizkit.samples().items()):
        folder = root / ("church" if n % 2 else "golf ball")
        folder.mkdir(parents=True, exist_ok=True)
        photo.resize((160, 140)).save(folder / f"{name}.png")
        photo.resize((150, 170)).save(folder / f"{name}-2.jpg")
    return root


@pytest.fixture(scope="module")
def reasons():
    """What is wrong, by the names of files that come before, among and after the good ones."""
    return {
        "church/a.jpg": "an empty file",
        "church/chelsea-3.jpg": "damaged or unreadable (Truncated File Read)",
        "church/zz.jpg": "a link that leads nowhere",
        "golf ball/0.png": "a web page, not the photo",
        "golf ball/m.jpg": "a git-lfs pointer, not the photo: run git lfs pull",
        "golf ball/z.png": "a photo of 1 x 30000 px is too long and narrow",
    }


@pytest.fixture(scope="module")
def bad(good):
    """The same photos with others among them."""
    root = good.parent / "bad"
    shutil.copytree(good, root)
    whole = (good / "church" / "chelsea-2.jpg").read_bytes()
    (root / "church" / "a.jpg").write_bytes(b"")
    (root / "church" / "chelsea-3.jpg").write_bytes(whole[:400])
    (root / "church" / "zz.jpg").symlink_to(root / "nowhere")
    (root / "golf ball" / "0.png").write_bytes(PAGES[0])
    (root / "golf ball" / "m.jpg").write_bytes(LFS)
    narrow = encoded(Image.new("RGB", (1, 30_000)), "PNG")
    (root / "golf ball" / "z.png").write_bytes(narrow)
    return root


def told(failed, root, reasons):
    """Every bad file is named once, with what is wrong with it; nothing else is."""
    assert sorted(failed) == sorted(str(root / name) for name in reasons)
    for name, reason in reasons.items():
        assert reason in failed[str(root / name)], name


def table(frame):
    return dict(zip(frame["file"], frame["reason"], strict=True))


def same(one, other):
    """To the last bit."""
    assert type(one) is type(other)
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key, value in one.items():
            same(value, other[key])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert np.array_equal(one, other)


@pytest.mark.filterwarnings("ignore::vizkit.errors.UnreadableWarning")
class TestNothingMoves:
    def test_predict(self, good, bad):
        same(vizkit.predict(MODELS[0], good), vizkit.predict(MODELS[0], bad))

    def test_embed_and_neighbours(self, good, bad, reasons):
        found = vizkit.embeddings(MODELS[0], bad)
        told(found.failed, bad, reasons)
        same(vizkit.embeddings(MODELS[0], good).to_frame(), found.to_frame())
        same(vizkit.embed(MODELS[0], good, pool=False), vizkit.embed(MODELS[0], bad, pool=False))
        same(vizkit.neighbours(MODELS, good), vizkit.neighbours(MODELS, bad))

    def test_compare(self, good, bad, reasons):
        one, other = (vizkit.compare(MODELS, root / "church") for root in (good, bad))
        inside = {name: why for name, why in reasons.items() if name.startswith("church")}
        told(table(other.failed), bad, inside)
        same(one.predictions, other.predictions)
        for model in MODELS:
            same(dict(one.maps[model]), dict(other.maps[model]))
            for method, maps in one.attributions[model].values.items():
                same(dict(maps), dict(other.attributions[model].values[method]))

    def test_disagreement(self, good, bad, reasons):
        one, other = (vizkit.disagreement(MODELS, root, **ALONE) for root in (good, bad))
        told(table(other.failed), bad, reasons)
        for name in ("predictions", "agreement"):
            same(getattr(one, name), getattr(other, name))
        same(one.scores(), other.scores())
        same(one.confusion(), other.confusion())
        moved = other.ranking.drop(columns="position")
        same(one.ranking.drop(columns="position"), moved)

    def test_describe(self, good, bad, reasons):
        # random places are drawn by an image's place among all
        options = {"statistics": "all", "places": None, **ALONE}
        one, other = (vizkit.describe(MODELS, root, **options) for root in (good, bad))
        told(table(other.failed), bad, reasons)
        assert one.images == other.images == 10
        for name in ("frame", "channels", "distributions"):
            same(getattr(one, name), getattr(other, name))

    def test_top_patches(self, good, bad, reasons):
        one, other = (
            vizkit.top_patches(MODELS[0], root, "stride8", [1, 2], 5) for root in (good, bad)
        )
        told(table(other.failed), bad, reasons)
        same(one.frame.drop(columns="image"), other.frame.drop(columns="image"))
        for crop, the_same in zip(one.crops, other.crops, strict=True):
            same(crop, the_same)

    def test_similarity(self, good, bad, reasons):
        one, other = (vizkit.similarity(MODELS, root) for root in (good, bad))
        told(table(other.failed), bad, reasons)
        assert one.images == other.images == 10
        # photos are shuffled, and sums of another order end with other digits
        assert np.allclose(one.matrix, other.matrix, atol=1e-6)

    def test_receptive_fields(self, good, bad, reasons):
        one, other = (vizkit.receptive_fields(MODELS[0], root) for root in (good, bad))
        told(table(other.failed), bad, reasons)
        same(one.frame, other.frame)

    def test_linear_probe(self, good, bad):
        one, other = (vizkit.linear_probe(MODELS[0], root, folds=2) for root in (good, bad))
        same(one.frame, other.frame)

    def test_evaluate(self, good, bad, reasons):
        one, other = (evaluated(MODELS, root) for root in (good, bad))
        told(table(other.failed), bad, reasons)
        same(one.predictions, other.predictions)
        same(one.confusion(), other.confusion())
        ones, others = (each.table(by_class=True) for each in (one, other))
        same(
            ones.drop(columns="failed", errors="ignore"),
            others.drop(columns="failed", errors="ignore"),
        )
        assert other.table()["failed"].tolist() == [6, 6]

    def test_evaluate_by_a_table(self, good, bad, tmp_path):
        for root in (good, bad):
            files = sorted(root.rglob("*.*g"))
            rows = [
                (each.relative_to(root), "church" if n % 3 else "tench")
                for n, each in enumerate(files)
            ]
            pd.DataFrame(rows, columns=["file", "class"]).to_csv(
                tmp_path / f"{root.name}.csv", index=False
            )
        labels = pd.read_csv(tmp_path / "bad.csv").set_index("file")["class"]
        found = evaluated(MODELS[0], bad, labels=tmp_path / "bad.csv").predictions
        assert len(found) == 10
        assert found.set_index("image")["label"].to_dict() == {
            name: labels[name] for name in found["image"]
        }

    def test_faithfulness_with_boxes(self, good, bad, tmp_path):
        few = {"church/chelsea.png", "golf ball/coffee-2.jpg"}
        # a photo too narrow for the network still stops it
        wrong = {"church/a.jpg", "church/zz.jpg", "golf ball/0.png", "golf ball/m.jpg"}
        frames = []
        for root, names in ((good, few), (bad, few | wrong)):
            for name in names:
                (tmp_path / root.name / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, tmp_path / root.name / name, follow_symlinks=False)
            found = judge(
                [vizkit.load(MODELS[0], device="cpu")],
                tmp_path / root.name,
                ["grad_cam"],
                ["stride16"],
                boxes={name: [(n, n, 90, 80)] for n, name in enumerate(sorted(few | wrong))},
                steps=2,
                randomised=False,
            )
            frames.append(found.frame.drop(columns=["image", "index"], errors="ignore"))
        assert len(found.failed) == 4
        assert {"pointing_game", "energy_in_box", "target"} <= set(frames[0])
        same(*frames)

    def test_files_of_attributions(self, good, bad, reasons, tmp_path):
        written = {}
        for root in (good, bad):
            found = vizkit.export_attributions(
                MODELS, root, tmp_path / root.name, stages=["stride16"], pictures=False
            )
            written[root.name] = {}
            for path in found.files:
                with np.load(path) as arrays:
                    written[root.name][path.name] = dict(arrays)
        told(found.failed, bad, reasons)
        same(written["good"], written["bad"])


def _names(root):
    return [each.relative_to(root).as_posix() for each in sorted(root.rglob("*.*g"))]


@pytest.mark.parametrize(
    "arguments",
    [("predict", "-k", "1", "--json", "-m", "demo/vgg11"), ("evaluate", "demo/vgg11", "--json")],
)
def test_on_the_command_line(arguments, good, bad, reasons):
    one, other = (CliRunner().invoke(app, [*arguments, str(root)]) for root in (good, bad))
    assert (one.exit_code, other.exit_code) == (0, 0)
    ones, others = (json.loads(each.stdout) for each in (one, other))
    for row in (*ones, *others):
        row.pop("failed", None)
    assert ones == others
    for name, reason in reasons.items():
        assert any(name in line and reason in line for line in other.stderr.splitlines()), name


@pytest.mark.filterwarnings("ignore::vizkit.errors.UnreadableWarning")
def test_report(good, bad, reasons, tmp_path):
    vizkit.report(
        MODELS[0], bad, tmp_path / "r", methods="grad_cam", quick=True, max_images=1, speed=False
    )
    told(table(pd.read_csv(tmp_path / "r" / "tables" / "failed.csv")), bad, reasons)
    page = (tmp_path / "r" / "index.html").read_text("utf-8")
    assert "Left out, because they cannot be read: " in page
    assert "over 10 photos" in page
    found = pd.read_csv(tmp_path / "r" / "tables" / "statistics_stages.csv")
    frame = vizkit.describe(MODELS[0], good).frame
    assert found["value"].to_numpy() == pytest.approx(frame["value"].to_numpy(), rel=0.05, abs=1e-3)


def test_a_bad_file_may_come_twice(good, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"no image")
    photo = good / "church" / "chelsea.png"
    with pytest.warns(vizkit.UnreadableWarning, match=r"a\.jpg: not an image"):
        table = vizkit.predict(MODELS[0], [path, photo, path], 1)
    assert table["image"].tolist() == ["chelsea.png"]
