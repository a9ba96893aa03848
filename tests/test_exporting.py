"""Attributions as files."""

import numpy as np
import pytest
import torch
from PIL import Image

import vizkit
from vizkit.errors import InputError

MODEL = "demo/vgg11_bn"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for part in ("a", "b"):
        (folder / part).mkdir(parents=True)
        vizkit.samples()["rocket"].resize((160, 150)).save(folder / part / "rocket.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    return folder


def test_values_and_pictures_of_each_photo(photos, tmp_path):
    out = tmp_path / "deep" / "out"
    found = vizkit.export_attributions(
        [MODEL, "demo/vgg11"], photos, out, ["grad_cam", "saliency"], ["church", 0], ["stride16"]
    )
    names = ["rocket.npz", "rocket.png", "rocket-2.npz", "rocket-2.png"]
    assert [path.name for path in found.files] == names
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert list(found.failed) == [str(photos / "broken.jpg")]
    expected = vizkit.attribute(
        MODEL, photos / "a" / "rocket.png", ["grad_cam", "saliency"], ["church", 0], ["stride16"]
    )
    with np.load(out / "rocket.npz") as arrays:
        assert len(arrays.files) == 2 * 6
        maps = arrays[f"{MODEL}/grad_cam/stride16"]
        assert np.array_equal(maps, expected.values["grad_cam"]["stride16"][0].numpy())
        fine = arrays[f"{MODEL}/saliency/input"]
        assert np.array_equal(fine, expected.values["saliency"]["input"][0].numpy())
        assert arrays[f"{MODEL}/targets"].tolist() == expected.targets[0].tolist()
        assert arrays[f"{MODEL}/names"].tolist() == ["church", "tench"]
        assert arrays[f"{MODEL}/box"].tolist() == pytest.approx(expected.seen.boxes[0])
    with Image.open(out / "rocket.png") as picture:
        assert picture.size[0] > 300


def test_values_alone(photos, tmp_path):
    found = vizkit.export_attributions(
        MODEL, photos / "a", tmp_path / "out", stages=["stride32"], pictures=False
    )
    assert [path.name for path in found.files] == ["rocket.npz"]


def test_the_same_again_gives_the_same_bytes(photos, tmp_path):
    contents = []
    for _ in range(2):
        found = vizkit.export_attributions(
            MODEL, photos / "a", tmp_path / "out", stages=["stride32"]
        )
        contents.append([path.read_bytes() for path in found.files])
    assert contents[0] == contents[1]


def test_a_file_is_no_folder(photos, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file, not a folder"):
        vizkit.export_attributions(MODEL, photos, tmp_path / "out")


def test_a_mistake_writes_nothing(photos, tmp_path):
    with pytest.raises(InputError, match="unknown method 'gradcam'"):
        vizkit.export_attributions(MODEL, photos, tmp_path / "out", "gradcam")
    with pytest.raises(InputError, match="unknown theme 'blue'"):
        vizkit.export_attributions(MODEL, photos, tmp_path / "out", theme="blue")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_drawn_is_refused_before_any_photo_is_read(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("vizkit.images.photos.read", None)
    for drawing, said in (({"colour": 1}, "option of drawing 'colour'"), (["on"], "drawing must")):
        with pytest.raises(InputError, match=said):
            vizkit.export_attributions(MODEL, photos, tmp_path / "out", drawing=drawing)


def test_classes_given_photo_by_photo(photos, tmp_path):
    targets = torch.tensor([4, 7, 2])
    found = vizkit.export_attributions(
        MODEL, photos, tmp_path, targets=targets, stages=["stride32"], pictures=False
    )
    classes = []
    for path in found.files:
        with np.load(path) as arrays:
            classes.append(arrays[f"{MODEL}/targets"].tolist())
    # the third file, broken.jpg, cannot be read
    assert classes == [[4], [7]]
