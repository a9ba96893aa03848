"""Judging methods on a folder of photos, in the library and on the command line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run
from PIL import Image

import vizkit
from vizkit.attribution import METHODS, attribute, faithfulness
from vizkit.errors import InputError
from vizkit.judging import judge, means

MEASURES = ["deletion_auc", "insertion_auc", "average_drop", "increase", "sensitivity"]
quick = {"steps": 2, "randomised": False, "references": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of the demo: five photos of noise and gradients in one, two in the other."""
    root = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    samples = list(vizkit.samples().values())
    for label, count in {"golf ball": 2, "church": 5}.items():
        (root / label).mkdir()
        for n in range(count):
            noise = Image.fromarray(rng.integers(0, 256, (100, 140, 3), np.uint8))
            photo = samples[n].resize((140, 100))
            Image.blend(photo, noise, 0.3).save(root / label / f"{label[0]}{n}.png")
    return root


@pytest.fixture(scope="module")
def net(demo):
    """The demo on a quarter of its pixels."""
    return replace(demo, transform=replace(demo.transform, size=(64, 64), resize=(73, 73)))


@pytest.fixture(scope="module")
def judged(net, folder):
    return judge([net], folder, ["grad_cam", "cam", "saliency"], ["stride16"], **quick)


class TestJudge:
    def test_rows(self, net, folder, judged):
        assert net.classes[4] == "church"
        assert net.classes[8] == "golf ball"
        expected = [
            ("demo/vgg11_bn", image, method, stage, target, index)
            for names, target, index in (
                ([f"c{n}.png" for n in range(5)], "church", 4),
                ([f"g{n}.png" for n in range(2)], "golf ball", 8),
            )
            for image in names
            for method, stage in (("grad_cam", "stride16"), ("saliency", "input"))
        ]
        keys = ["model", "image", "method", "stage", "target", "index"]
        assert list(judged.frame[keys].itertuples(index=False, name=None)) == expected
        assert list(judged.frame.columns) == [*keys, *MEASURES]
        assert judged.failed == {}

    def test_numbers_are_those_of_each_photo_alone(self, net, folder, judged):
        frame = judged.frame.set_index(["image", "method"])
        for path, label in ((folder / "church" / "c4.png", 4), (folder / "golf ball/g1.png", 8)):
            maps = attribute(net, path, ["grad_cam", "saliency"], label, "stride16")
            alone = faithfulness(net, path, maps, **quick)
            for _, row in alone.iterrows():
                found = frame.loc[(path.name, row["method"]), MEASURES].astype(float)
                expected = row[MEASURES].astype(float)
                # a rounding may swap two places of nearly the same value
                np.testing.assert_allclose(found, expected, atol=5e-3)

    def test_methods_that_cannot_explain_a_network(self, judged):
        ((model, method, reason),) = judged.left_out
        assert (model, method) == ("demo/vgg11_bn", "cam")
        assert "demo/vgg11_bn" in reason
        assert "cam" not in set(judged.frame["method"])

    def test_all_methods(self, net, folder, tmp_path):
        """Every method is in the table or in the list of those left out."""
        (tmp_path / "church").mkdir()
        small = Image.open(folder / "church" / "c0.png")
        small.save(tmp_path / "church" / "one.png")
        tiny = replace(net, transform=replace(net.transform, size=(32, 32), resize=(36, 36)))
        found = judge([tiny], tmp_path, stages=["stride8"], **(quick | {"steps": 1}))
        out = [method for _, method, _ in found.left_out]
        assert "cam" in out
        used = list(dict.fromkeys(found.frame["method"]))
        assert used == [name for name in METHODS if name not in out]

    def test_the_network_is_left_as_it_was(self, net, folder, unchanged):
        with unchanged(net.module):
            judge([net], folder, ["saliency"], per_class=1, steps=1)

    @pytest.mark.parametrize(
        ("per_class", "expected"),
        [
            (1, ["c0", "g0"]),
            (2, ["c0", "c4", "g0", "g1"]),
            (3, ["c0", "c2", "c4", "g0", "g1"]),
            (9, ["c0", "c1", "c2", "c3", "c4", "g0", "g1"]),
            (0, ["c0", "c1", "c2", "c3", "c4", "g0", "g1"]),
        ],
    )
    def test_photos_of_each_class(self, net, folder, per_class, expected):
        frame = judge([net], folder, ["saliency"], per_class=per_class, **quick).frame
        assert list(frame["image"]) == [f"{name}.png" for name in expected]

    def test_several_networks(self, net, folder, judged):
        other = replace(vizkit.load("demo/vgg11", device="cpu"), transform=net.transform)
        chosen = ["grad_cam", "cam", "saliency"]
        found = judge([net, other], folder, chosen, ["stride16"], **quick)
        assert [row[:2] for row in found.left_out] == [
            ("demo/vgg11_bn", "cam"),
            ("demo/vgg11", "cam"),
        ]
        first = found.frame[found.frame["model"] == "demo/vgg11_bn"]
        pd.testing.assert_frame_equal(first, judged.frame)
        second = found.frame[found.frame["model"] == "demo/vgg11"].reset_index(drop=True)
        assert list(second["image"]) == list(first["image"])
        alone = judge([other], folder, chosen, ["stride16"], **quick).frame
        pd.testing.assert_frame_equal(second, alone)

    def test_a_file_of_the_same(self, net, folder, judged, tmp_path):
        path = tmp_path / "maps.csv"
        path.write_text("of yesterday")
        judge([net], folder, ["grad_cam", "saliency"], ["stride16"], out=path, **quick)
        written = pd.read_csv(path)
        pd.testing.assert_frame_equal(written, judged.frame, rtol=1e-12, check_dtype=False)
        assert [each.name for each in tmp_path.iterdir()] == ["maps.csv"]

    def test_the_file_grows_from_few_photos_to_few(self, net, folder, tmp_path, monkeypatch):
        path, counts = tmp_path / "maps.csv", []
        to_csv = pd.DataFrame.to_csv

        def counting(frame, *args, **options):
            counts.append(frame["image"].nunique())
            return to_csv(frame, *args, **options)

        monkeypatch.setattr(pd.DataFrame, "to_csv", counting)
        judge([net], folder, ["saliency"], out=path, **quick)
        assert counts[0] < counts[-1] == 7
        assert counts == sorted(counts)

    def test_boxes_by_file_name(self, net, folder):
        boxes = {"c0.png": [(0, 0, 140, 100)], "g0.png": [(0, 0, 70, 100)]}
        frame = judge([net], folder, ["saliency"], boxes=boxes, **quick).frame
        by_image = frame.set_index("image")[["pointing_game", "energy_in_box"]]
        assert by_image.loc["c0.png"].tolist() == [1, 1]
        assert 0 < by_image.loc["g0.png", "energy_in_box"] < 1
        assert by_image.drop(["c0.png", "g0.png"]).isna().all(axis=None)

    def test_photos_that_cannot_be_read(self, net, folder, tmp_path):
        for label, name in (("church", "c0.png"), ("golf ball", "g0.png")):
            (tmp_path / label).mkdir()
            (tmp_path / label / name).write_bytes((folder / label / name).read_bytes())
        (tmp_path / "church" / "b.jpg").write_text("no photo")
        (tmp_path / "church" / "notes.txt").write_text("no photo either")
        found = judge([net], tmp_path, ["saliency"], **quick)
        assert list(found.frame["image"]) == ["c0.png", "g0.png"]
        ((path, reason),) = found.failed.items()
        assert path == str(tmp_path / "church" / "b.jpg")
        assert "not an image that can be read" in reason
        # and with none left
        (tmp_path / "golf ball" / "g0.png").unlink()
        (tmp_path / "church" / "c0.png").unlink()
        with pytest.raises(InputError, match="not an image that can be read"):
            judge([net], tmp_path, ["saliency"], **quick)

    def test_unknown_names(self, net, folder):
        with pytest.raises(InputError, match="unknown method 'salency'; did you mean 'saliency'"):
            judge([net], folder, ["saliency", "salency"], **quick)
        with pytest.raises(InputError, match="'stride5'; did you mean"):
            judge([net], folder, ["grad_cam"], ["stride5"], **quick)
        with pytest.raises(InputError, match="unknown baseline 'grey'"):
            judge([net], folder, ["saliency"], baseline="grey", **quick)

    def test_no_usable_method(self, net, folder):
        with pytest.raises(InputError, match=r"^cam: "):
            judge([net], folder, ["cam"], **quick)

    def test_folders(self, net, folder, tmp_path):
        with pytest.raises(InputError, match="no such folder"):
            judge([net], tmp_path / "missing")
        with pytest.raises(InputError, match="no class folders with photos"):
            judge([net], tmp_path)
        (tmp_path / "curch").mkdir()
        Image.new("RGB", (40, 40)).save(tmp_path / "curch" / "a.png")
        with pytest.raises(InputError, match=r"unknown class folder .*did you mean 'church'"):
            judge([net], tmp_path, ["saliency"], **quick)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"per_class": -1}, "per_class must be a whole number of at least 0, not -1"),
            ({"out": Path("missing") / "x.csv"}, "no such folder: missing"),
        ],
    )
    def test_mistakes_are_found_before_any_work(self, net, folder, options, message):
        with pytest.raises(InputError, match=message):
            judge([net], folder, ["grad_cam"], ["stride16"], **options)

    def test_no_network(self, folder):
        with pytest.raises(InputError, match="no models"):
            judge([], folder)


class TestMeans:
    def test_by_hand(self):
        frame = pd.DataFrame(
            {
                "model": ["a", "a", "a", "b"],
                "image": ["x", "y", "x", "x"],
                "method": ["m", "m", "n", "m"],
                "stage": ["s", "s", "input", "s"],
                "target": ["cat"] * 4,
                "index": [3, 3, 3, 3],
                "deletion_auc": [0.2, 0.4, 1.0, 0.5],
                "energy_in_box": [np.nan, 0.8, np.nan, 0.1],
            }
        )
        expected = pd.DataFrame(
            {
                "model": ["a", "a", "b"],
                "method": ["m", "n", "m"],
                "stage": ["s", "input", "s"],
                "n": [2, 1, 1],
                "deletion_auc": [0.3, 1.0, 0.5],
                "energy_in_box": [0.8, np.nan, 0.1],
            }
        )
        pd.testing.assert_frame_equal(means(frame), expected)

    def test_of_what_was_judged(self, judged):
        table = means(judged.frame)
        assert list(table.columns) == ["model", "method", "stage", "n", *MEASURES]
        assert list(table["method"]) == ["grad_cam", "saliency"]
        assert list(table["n"]) == [7, 7]
        for _, row in table.iterrows():
            own = judged.frame[judged.frame["method"] == row["method"]]
            for name in MEASURES:
                assert row[name] == pytest.approx(np.nanmean(own[name].to_numpy()))


class TestCommandLine:
    def run(self, *words, cwd):
        options = ["--no-randomised", "--steps", 2, "--per-class", 1, "--device", "cpu"]
        return run("faithfulness", *words, "-m", "demo/vgg11_bn", *options, cwd=cwd)

    def test_a_table(self, demo, folder, tmp_path):
        boxes = tmp_path / "boxes.csv"
        boxes.write_text("file,x0,y0,x1,y1\nc0.png,10,10,90,90\ng0.png,0,0,70,100\n")
        words = ["--methods", "grad_cam,cam", "--stages", "stride8,stride16", "--boxes", boxes]
        done = self.run(folder, *words, "-o", "maps.csv", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        header, *rows = done.stdout.strip().splitlines()
        columns = ["model", "method", "stage", "n", *MEASURES, "pointing_game", "energy_in_box"]
        assert header.split() == columns
        assert [row.split()[:4] for row in rows] == [
            ["demo/vgg11_bn", "grad_cam", "stride8", "2"],
            ["demo/vgg11_bn", "grad_cam", "stride16", "2"],
            ["demo/vgg11_bn", "(centre)", "input", "2"],
            ["demo/vgg11_bn", "(uniform)", "input", "2"],
        ]
        assert "left out cam of demo/vgg11_bn: " in done.stderr
        written = pd.read_csv(tmp_path / "maps.csv")
        expected = judge(
            [demo],
            folder,
            ["grad_cam"],
            ["stride8", "stride16"],
            boxes=vizkit.read_boxes(boxes),
            per_class=1,
            steps=2,
            randomised=False,
        ).frame
        pd.testing.assert_frame_equal(written, expected, check_dtype=False, atol=5e-3)

    def test_bad_input_is_one_line(self, folder, tmp_path):
        words = ["--methods", "saliency", "--baseline", "grey", "-o", "maps.csv"]
        done = self.run(folder, *words, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stdout == ""
        line = done.stderr.strip().splitlines()[-1]
        assert line.startswith("vizkit: unknown baseline 'grey'")
        assert "Traceback" not in done.stderr
        assert list(tmp_path.iterdir()) == []
