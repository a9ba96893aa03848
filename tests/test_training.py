"""Training runs, resumes to the same weights, and refuses what it cannot use."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from vizkit import zoo
from vizkit.errors import InputError, WeightsError
from vizkit.training import Recipe, train

RECIPE = Recipe("demo/vgg11_bn", phases=((32, 1), (40, 2)), batch_size=8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for split, count in {"train": 12, "val": 6}.items():
        for name, colour in {"blue": (40, 60, 200), "red": (200, 60, 40)}.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = generator.integers(-40, 40, (44, 40, 3))
                pixels = np.clip(noise + colour, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
    return root


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    log = train(RECIPE, photos / "train", out, val=photos / "val", workers=0)
    return out, log


def test_what_a_run_leaves(whole):
    out, log = whole
    assert list(log["epoch"]) == [1, 2, 3]
    assert list(log["size"]) == [32, 40, 40]
    assert np.isfinite(log["loss"]).all()
    assert log["train_top1"].between(0, 1).all()
    assert log["val_top1"].notna()[2]
    written = pd.read_csv(out / "log.csv")
    assert np.allclose(written["loss"], log["loss"])
    assert json.loads((out / "recipe.json").read_text())["arch"] == "demo/vgg11_bn"
    assert {p.name for p in out.iterdir()} == {
        "last.pth", "log.csv", "recipe.json", "model.safetensors",
    }  # fmt: skip


def test_the_weights_load_into_the_architecture(whole):
    out, _ = whole
    net = zoo.build("vgg11_bn", 2)
    state = load_file(out / "model.safetensors")
    assert state["features.0.weight"].dtype == torch.float16
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    with safe_open(out / "model.safetensors", "pt") as file:
        header = json.loads(file.metadata()["vizkit"])
    assert header["classes"] == ["blue", "red"]
    assert header["recipe"]["seed"] == 0


def test_a_killed_run_goes_on_to_the_same_weights(photos, whole, tmp_path):
    code = (
        "from pathlib import Path\nimport torch\ntorch.set_num_threads(1)\n"
        "from vizkit.training import Recipe, train\n"
        f"train(Recipe('demo/vgg11_bn', phases=((32, 1), (40, 2)), batch_size=8),"
        f" Path({str(photos / 'train')!r}), Path({str(tmp_path / 'run')!r}),"
        f" val=Path({str(photos / 'val')!r}), workers=0)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        for _ in range(1200):
            if (tmp_path / "run" / "log.csv").exists() or process.poll() is not None:
                break
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert (tmp_path / "run" / "last.pth").exists()
    log = train(RECIPE, photos / "train", tmp_path / "run", val=photos / "val", workers=0)
    ours = load_file(tmp_path / "run" / "model.safetensors")
    theirs = load_file(whole[0] / "model.safetensors")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert np.allclose(log["loss"], whole[1]["loss"], rtol=0, atol=0)


def test_a_finished_run_changes_nothing(photos, whole):
    before = (whole[0] / "model.safetensors").read_bytes()
    train(RECIPE, photos / "train", whole[0], val=photos / "val", workers=0)
    assert (whole[0] / "model.safetensors").read_bytes() == before


def test_another_recipe_in_the_same_folder_is_refused(photos, whole):
    other = Recipe("demo/vgg11_bn", phases=RECIPE.phases, batch_size=4, seed=3)
    with pytest.raises(InputError, match="another batch_size, seed"):
        train(other, photos / "train", whole[0])


def test_it_starts_from_a_shallower_network(photos, whole, tmp_path):
    start = f"demo/vgg11_bn={whole[0] / 'model.safetensors'}"
    recipe = Recipe("demo/vgg13_bn", start=start, phases=((32, 1),), batch_size=8)
    log = train(recipe, photos / "train", tmp_path / "run", workers=0)
    assert np.isfinite(log["loss"]).all()
    missing = Recipe("demo/vgg13_bn", start="demo/vgg11_bn=missing.safetensors")
    with pytest.raises(WeightsError, match="no such weights file"):
        train(missing, photos / "train", tmp_path / "other", workers=0)


def test_bad_folders(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no folder of class folders"):
        train(RECIPE, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="no folder of class folders"):
        train(RECIPE, tmp_path / "missing", tmp_path / "out")
    (tmp_path / "val" / "green").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "val" / "green" / "a.jpg")
    with pytest.raises(InputError, match="has classes"):
        train(RECIPE, photos / "train", tmp_path / "out", val=tmp_path / "val")
    assert not (tmp_path / "out").exists()


def test_bad_choices(photos, tmp_path):
    with pytest.raises(InputError, match="unknown architecture 'demo/vgg12'"):
        train(Recipe("demo/vgg12"), photos / "train", tmp_path / "out")
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        train(Recipe("resnet81"), photos / "train", tmp_path / "out")
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        train(RECIPE, photos / "train", tmp_path / "out", device="gpu")
    for bad in ({"batch_size": 0}, {"learning_rate": 0.0}, {"min_crop": 2.0}, {"phases": ()},
                {"label_smoothing": 1.0}):  # fmt: skip
        with pytest.raises(InputError, match=next(iter(bad))):
            Recipe("demo/vgg11_bn", **bad)
    assert not (tmp_path / "out").exists()


def test_a_loss_that_explodes_says_what_to_try(photos, tmp_path):
    wild = Recipe("demo/vgg11", phases=((32, 2),), batch_size=8, learning_rate=1e30)
    with pytest.raises(InputError, match=r"the loss became .*learning rate below 1e\+30"):
        train(wild, photos / "train", tmp_path / "out", workers=0)
