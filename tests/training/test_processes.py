"""Several processes share a run: real ones, that torchrun starts."""

import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from vizkit.training import Recipe, train, write_recipe


def torchrun(recipe, photos, out, processes=2, workers=0):
    path = out.parent / f"{out.name}.toml"
    write_recipe(recipe, path)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
         str(processes), "-m", "vizkit", "train", photos / "train", "--val", photos / "val",
         "--out", out, "--recipe", path, "--device", "cpu", "--workers", str(workers)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("batch_size", [8, 23], ids=["even", "a last step of one photo"])
def test_two_processes_end_as_one_does(photos, tmp_path, batch_size):
    recipe = Recipe(
        "demo/vgg11", weights="default", phases=((32, 2),), batch_size=batch_size,
        optimizer="sgd", learning_rate=1e-2, precision="float32", save_as="float32",
        draws="photo", ema=0.5, accumulate=2,
    )  # fmt: skip
    one = train(
        recipe, photos / "train", tmp_path / "one", val=photos / "val", workers=0, device="cpu",
        validate_every=1,
    )  # fmt: skip
    done = torchrun(recipe, photos, tmp_path / "two")
    assert done.stdout.strip() == str(tmp_path / "two" / "model.safetensors")
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    start = torch.cat([value.flatten() for value in ours.values()])
    assert torch.allclose(
        torch.cat([value.flatten() for value in theirs.values()]), start, atol=1e-5
    )
    two = pd.read_csv(tmp_path / "two" / "log.csv")
    assert two["loss"].to_numpy() == pytest.approx(one["loss"].to_numpy(), abs=1e-5)
    for column in ("train_top1", "val_top1"):
        assert two[column].to_numpy() == pytest.approx(one[column].to_numpy(), abs=1e-6)
    assert (tmp_path / "two" / "curve.png").stat().st_size > 1000


def test_batch_norm_and_resuming_in_two_processes(photos, tmp_path):
    """Running statistics are the first process's; a run is finished by another number of them."""
    recipe = Recipe("demo/vgg11_bn", phases=((32, 2),), batch_size=8, draws="photo")
    torchrun(recipe, photos, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "last.pth", weights_only=True)
    assert all(torch.isfinite(value).all() for value in state["model"].values())
    assert len(state["rows"]) == 2
    again = train(recipe, photos / "train", tmp_path / "run", workers=0, device="cpu")
    assert len(again) == 2
