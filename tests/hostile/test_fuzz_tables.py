"""However a table or a recipe is damaged: it is read as it says, or an error names it."""

import dataclasses
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import Watched, damaged, fuzzed

from vizkit.boxes import read_boxes
from vizkit.errors import InputError, VizkitError
from vizkit.labels import labelled
from vizkit.reports.rebuilding import read_manifest
from vizkit.training import read_recipe, recipe_names
from vizkit.training.recipe_files import write_recipe

BOXES = [
    b"file,x0,y0,x1,y1\na.png,1,2.5,30,40\nphotos/deep/b.png,-3,0,7,9\n",
    b'y1,file,note,x0,y0,x1\r\n40,"a, b.png","big ""one""",1,2.5,30\r\n',
    "\ufefffile,x0,y0,x1,y1\nä.png,0,0,1e3,1e3\n".encode(),
]
LABELS = [
    b"file,class\na.png,church\nsub/b.png,golf ball\n",
    b"ImageId,PredictionString\nILSVRC2012_val_00000001,n03995372 85 1 499 272\n",
]


def outcome(read):
    try:
        return read(), ""
    except VizkitError as error:
        return None, str(error)


def test_damaged_boxes(tmp_path):
    path = tmp_path / "boxes.csv"

    @fuzzed(120)
    @given(damaged(BOXES))
    def check(data):
        path.write_bytes(data)
        with Watched():
            boxes, said = outcome(lambda: read_boxes(path))
        if boxes is None:
            assert str(path) in said
        for x0, y0, x1, y1 in (box for some in (boxes or {}).values() for box in some):
            assert x0 < x1
            assert y0 < y1

    check()


def test_damaged_labels(tmp_path):
    path, root = tmp_path / "labels.csv", tmp_path / "photos"
    for name in ("a.png", "sub/b.png", "ILSVRC2012_val_00000001.JPEG"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")

    @fuzzed(120)
    @given(damaged(LABELS))
    def check(data):
        path.write_bytes(data)
        with Watched():
            photos, said = outcome(lambda: labelled(root, path))
        if photos is None:
            assert str(path) in said
        else:
            files = [file for file, _ in photos]
            assert len(set(files)) == len(files)
            assert all(isinstance(name, str) for _, name in photos)

    check()


def test_damaged_recipes(tmp_path):
    path = tmp_path / "recipe.toml"
    files = []
    for name in recipe_names():
        write_recipe(read_recipe(name, {"arch": "demo/vgg11"}), path)
        files.append(path.read_bytes())

    @fuzzed(120)
    @given(damaged(files))
    def check(data):
        path.write_bytes(data)
        with Watched():
            recipe, said = outcome(lambda: read_recipe(path))
        assert said or recipe.arch

    check()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside),
    max_leaves=6,
)


def test_recipes_of_any_values(tmp_path):
    """Whatever stands behind a key that is known."""
    keys = list(dataclasses.asdict(read_recipe("demo")))

    @fuzzed(150)
    @given(st.sampled_from(keys), VALUES)
    def check(key, value):
        _, said = outcome(lambda: read_recipe("demo", {key: value}))
        assert "\n" not in said

    check()


MANIFEST = {
    "what": "vizkit report",
    "options": {
        "channels": 9, "scale": None, "max_images": 2, "methods": ["grad_cam"],
        "same_pixels": False, "speed": False, "quick": False,
    },
    "models": [{"name": "demo/vgg11", "sha256": "0", "transform": "", "recipe": None}],
    "images": [{"name": "a.png", "sha256": "0", "path": "../a.png"}],
    "measured": {"speed": []},
    "bundled photos": False,
    "threads": 1,
    "files": {},
}  # fmt: skip


def test_damaged_manifests(tmp_path):
    path = tmp_path / "manifest.json"

    @fuzzed(120)
    @given(damaged([json.dumps(MANIFEST, indent=1).encode()]))
    def check(data):
        path.write_bytes(data)
        with Watched():
            facts, said = outcome(lambda: read_manifest(path))
        if facts is None:
            assert str(path) in said
        else:
            assert 0 < facts["threads"] <= 4096

    check()
    path.write_text(json.dumps(MANIFEST))
    assert read_manifest(path) == MANIFEST


@pytest.mark.parametrize(
    "read", [read_boxes, lambda path: labelled(path.parent, path), read_recipe]
)
def test_what_is_no_file_is_never_opened(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe"):
        read(tmp_path / "pipe")
