"""Training runs, resumes to the same weights, and refuses what it cannot use."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import vizkit
from vizkit import zoo
from vizkit.errors import InputError, VizkitError, WeightsError
from vizkit.training import Recipe, train

RECIPE = Recipe("demo/vgg11_bn", phases=((32, 1), (40, 2)), batch_size=8)
# everything at once that a resumed run must find again
RICH = Recipe(
    "demo/vgg11_bn", phases=((32, 3),), batch_size=8, optimizer="sgd", schedule="cosine",
    mixup=0.2, cutmix=1.0, augment="randaugment", erase=0.3, ema=0.9, accumulate=2, draws="photo",
    save_as="float32",
)  # fmt: skip


@pytest.fixture(scope="module", params=[RECIPE, RICH], ids=["demo", "rich"])
def whole(request, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    log = train(request.param, photos / "train", out, val=photos / "val", workers=0)
    return request.param, out, log


def weights_of(out):
    return load_file(out / "model.safetensors")


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_what_a_run_leaves(whole):
    recipe, out, log = whole
    assert list(log["epoch"]) == [1, 2, 3]
    assert list(log["size"]) == [recipe.size(epoch) for epoch in range(3)]
    assert np.isfinite(log["loss"]).all()
    assert log["train_top1"].between(0, 1).all()
    assert log["val_top1"].notna()[2]
    assert set(log["weights"]) == {"ema" if recipe.ema else "trained"}
    written = pd.read_csv(out / "log.csv")
    assert np.allclose(written["loss"], log["loss"])
    assert tomllib.loads((out / "recipe.toml").read_text())["arch"] == "demo/vgg11_bn"
    assert {p.name for p in out.iterdir()} == {
        "last.pth", "log.csv", "recipe.toml", "model.safetensors",
    }  # fmt: skip


def test_the_weights_load_into_the_architecture(whole):
    recipe, out, log = whole
    state = weights_of(out)
    assert state["features.0.weight"].dtype == getattr(torch, recipe.save_as)
    with safe_open(out / "model.safetensors", "pt") as file:
        header = json.loads(file.metadata()["vizkit"])
    assert header["classes"] == log.attrs["classes"] == ["blue", "red"]
    assert header["recipe"]["seed"] == 0
    loaded = vizkit.load("demo/vgg11_bn", weights=out / "model.safetensors", device="cpu")
    assert loaded.classes == ("blue", "red")
    assert torch.equal(
        loaded.module.state_dict()["head.fc.weight"], state["head.fc.weight"].float()
    )


def test_the_log_says_what_evaluate_says(photos, tmp_path):
    """At the network's own size, the same photos through the same crop."""
    recipe = Recipe("demo/vgg11_bn", phases=((128, 1),), batch_size=8, save_as="float32")
    log = train(recipe, photos / "train", tmp_path, val=photos / "val", workers=0)
    file = tmp_path / "model.safetensors"
    model = vizkit.load("demo/vgg11_bn", weights=file, classes=["blue", "red"], device="cpu")
    table = vizkit.evaluate(model, photos / "val")
    assert table["top1"][0] == pytest.approx(log["val_top1"][0], abs=1e-12)


def test_a_killed_run_goes_on_to_the_same_weights(photos, whole, tmp_path):
    recipe, out, log = whole
    code = (
        "from pathlib import Path\n"
        "from vizkit.training import read_recipe, train\n"
        f"train(read_recipe({str(out / 'recipe.toml')!r}),"
        f" Path({str(photos / 'train')!r}), Path({str(tmp_path / 'run')!r}),"
        f" val=Path({str(photos / 'val')!r}), workers=0)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        for _ in range(2400):
            if (tmp_path / "run" / "log.csv").exists() or process.poll() is not None:
                break
            time.sleep(0.02)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "run" / "model.safetensors").exists()
    again = train(recipe, photos / "train", tmp_path / "run", val=photos / "val", workers=0)
    assert same(weights_of(tmp_path / "run"), weights_of(out))
    assert np.array_equal(again["loss"], log["loss"])


def test_a_finished_run_changes_nothing(photos, whole):
    recipe, out, _ = whole
    before = (out / "model.safetensors").read_bytes()
    train(recipe, photos / "train", out, val=photos / "val", workers=0)
    assert (out / "model.safetensors").read_bytes() == before


def test_processes_that_read_photos_change_nothing_where_each_photo_draws_its_own(photos, tmp_path):
    for workers in (0, 2):
        train(RICH, photos / "train", tmp_path / str(workers), workers=workers)
    assert same(weights_of(tmp_path / "0"), weights_of(tmp_path / "2"))


def test_another_recipe_in_the_same_folder_is_refused(photos, whole):
    recipe, out, _ = whole
    other = Recipe(**{**vars(recipe), "batch_size": 4, "seed": 3})
    with pytest.raises(InputError, match="another batch_size, seed"):
        train(other, photos / "train", out)


def test_other_photos_in_the_same_folder_are_refused(photos, whole):
    recipe, out, _ = whole
    with pytest.raises(InputError, match="holds a run on 24 photos of 2 classes, not on these 12"):
        train(recipe, photos / "val", out)


@pytest.mark.parametrize("content", [b"", b"no pickle", b"cut"])
def test_a_damaged_checkpoint_is_named(photos, whole, tmp_path, content):
    recipe, out, _ = whole
    good = (out / "last.pth").read_bytes()
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.pth").write_bytes(good[: len(good) // 2] if content == b"cut" else content)
    with pytest.raises(InputError, match=r"last\.pth is damaged .* or delete it to begin again"):
        train(recipe, photos / "train", run, workers=0)


def test_a_checkpoint_that_would_run_code_is_refused(photos, tmp_path):
    torch.save({"model": os.system}, tmp_path / "last.pth")
    with pytest.raises(InputError, match=r"last\.pth is damaged"):
        train(RECIPE, photos / "train", tmp_path, workers=0)
    torch.save({"model": {}}, tmp_path / "last.pth")
    with pytest.raises(InputError, match="is no state of a run"):
        train(RECIPE, photos / "train", tmp_path, workers=0)


def test_it_starts_from_a_shallower_network(photos, whole, tmp_path):
    _, out, _ = whole
    start = f"demo/vgg11_bn={out / 'model.safetensors'}"
    recipe = Recipe("demo/vgg13_bn", start=start, phases=((32, 1),), batch_size=8)
    log = train(recipe, photos / "train", tmp_path / "run", workers=0)
    assert np.isfinite(log["loss"]).all()
    assert "tensors of" in log.attrs["start"]
    missing = Recipe("demo/vgg13_bn", start="demo/vgg11_bn=missing.safetensors")
    with pytest.raises(WeightsError, match="no such weights file"):
        train(missing, photos / "train", tmp_path / "other", workers=0)


def test_bad_folders(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no class folders with photos"):
        train(RECIPE, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="no such folder"):
        train(RECIPE, tmp_path / "missing", tmp_path / "out")
    (tmp_path / "val" / "green").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "val" / "green" / "a.jpg")
    with pytest.raises(InputError, match="only one of them has blue, green, red"):
        train(RECIPE, photos / "train", tmp_path / "out", val=tmp_path / "val")
    assert not (tmp_path / "out").exists()


def test_bad_choices(photos, tmp_path):
    def refused(message, recipe=RECIPE, **options):
        with pytest.raises(VizkitError, match=message):
            train(recipe, photos / "train", tmp_path / "out", **options)

    refused("unknown demo model 'vgg12'", Recipe("demo/vgg12"))
    refused("did you mean 'resnet18'", Recipe("resnet81"))
    refused("unknown device 'gpu'", device="gpu")
    refused("workers must be a whole number of at least 0", workers=-1)
    refused("float16' needs a CUDA GPU", Recipe("demo/vgg11", precision="float16"), device="cpu")
    refused("sync_bn needs CUDA", Recipe("demo/vgg11_bn", sync_bn=True), device="cpu")
    refused("unknown optimizer 'adamv'; did you mean", Recipe("demo/vgg11", optimizer="adamv"))
    refused("does not run on a .*3, 8, 8. input", Recipe("demo/vgg11", phases=((64, 1), (8, 1))))
    odd = Recipe("demo/vgg11", optimizer_options={"warmth": 3})
    refused("cannot be made with {'warmth': 3}", odd)
    assert not (tmp_path / "out").exists()


def test_a_loss_that_explodes_says_what_to_try(photos, tmp_path):
    wild = Recipe("demo/vgg11", phases=((32, 2),), batch_size=8, learning_rate=1e30)
    with pytest.raises(InputError, match=r"the loss became .*learning rate below 1e\+30"):
        train(wild, photos / "train", tmp_path / "out", workers=0)


def test_photos_that_cannot_be_read_are_named_and_left_out(some_photos, tmp_path):
    bad = some_photos / "train" / "red" / "03.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    (some_photos / "val" / "blue" / "00.jpg").write_text("no photo")
    recipe = Recipe("demo/vgg11", phases=((32, 1),), batch_size=4)
    for workers in (0, 1):
        out = tmp_path / str(workers)
        log = train(recipe, some_photos / "train", out, val=some_photos / "val", workers=workers)
        failed = log.attrs["failed"]
        assert sorted(failed) == [str(bad), str(some_photos / "val" / "blue" / "00.jpg")]
        assert log["train_top1"][0] * 11 == pytest.approx(round(log["train_top1"][0] * 11))
        assert log["val_top1"][0] * 5 == pytest.approx(round(log["val_top1"][0] * 5))
    for path in (some_photos / "train").rglob("*.jpg"):
        path.write_text("no photo")
    with pytest.raises(InputError, match="no photo of a step can be read"):
        train(recipe, some_photos / "train", tmp_path / "none", workers=0)


def test_numbers_too_large_for_float16_are_not_lost_silently(tmp_path):
    from vizkit.training import save_weights

    net = zoo.build("vgg11_bn", 2)
    with torch.no_grad():
        net.features[0].weight[0, 0, 0, 0] = 1e6
    with pytest.raises(InputError, match=r"features\.0\.weight does not fit float16"):
        save_weights(net, tmp_path / "a.safetensors", RECIPE, ["a", "b"])
    assert list(tmp_path.iterdir()) == []
    exact = Recipe("demo/vgg11_bn", save_as="float32")
    save_weights(net, tmp_path / "a.safetensors", exact, ["a", "b"])
    assert same(load_file(tmp_path / "a.safetensors"), net.state_dict())
