"""Training from the shell: what is printed works, what is refused is one line."""

import json
import shlex
import subprocess
import sys
import tomllib

import pandas as pd
import pytest
import typer
from commands import run
from PIL import Image

import vizkit
from vizkit import zoo
from vizkit.cli import app
from vizkit.cli.parsing import phases_of
from vizkit.training import read_recipe


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("place")
    for name, synset in {"church": "n03028079", "tench": "n01440764"}.items():
        for split in ("ours/train", "ours/val"):
            folder = root / split / (synset if split.endswith("val") else name)
            folder.mkdir(parents=True)
            for i in range(8):
                shade = (200, 30 + i, 30) if name == "church" else (30, 60, 150 + i)
                Image.new("RGB", (40, 36), shade).save(folder / f"{i}.png")
    return root


def test_fine_tuning_and_the_command_that_it_prints(place):
    words = [
        "train", "ours/train", "--val", "ours/train", "-o", "run", "--model", "demo/vgg11_bn",
        "--weights", "default", "--freeze", "stride1,stride2", "--epochs", "1", "--size", "64",
        "--batch-size", "8", "--lr", "1e-3", "--ema", "0.5", "--set", "momentum=0.8",
        "--set", "draws=order", "--device", "cpu", "--workers", "0",
    ]  # fmt: skip
    done = run(*words, cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "run/model.safetensors"
    assert "started from: weights default; head.fc keeps 2 of its 10 outputs" in done.stderr
    assert "moving average" in done.stderr
    assert {p.name for p in (place / "run").iterdir()} == {
        "curve.png", "last.pth", "log.csv", "model.safetensors", "recipe.toml",
    }  # fmt: skip
    recipe = tomllib.loads((place / "run" / "recipe.toml").read_text())
    assert recipe["freeze"] == ["stride1", "stride2"]
    assert (recipe["phases"], recipe["momentum"], recipe["draws"]) == ([[64, 1]], 0.8, "order")
    # what finetune.toml says and no option changed
    assert (recipe["schedule"], recipe["label_smoothing"]) == ("cosine", 0.1)
    assert list(pd.read_csv(place / "run" / "log.csv")["weights"]) == ["ema"]
    printed = done.stderr.split("to use it: ")[1].splitlines()[0]
    command = shlex.split(printed)
    assert command[:2] == ["vizkit", "evaluate"]
    table = json.loads(run(*command[1:], "--json", cwd=place).stdout)
    assert (table[0]["n"], table[0]["outputs"]) == (16, 2)


def test_a_file_recipe_and_options_that_come_before_it(place):
    (place / "own.toml").write_text(
        'arch = "demo/vgg11"\nphases = [[32, 2]]\nbatch_size = 4\nmixup = 0.2\n'
        "learning_rate = 0.01\noptimizer_options = { betas = [0.9, 0.95] }\n"
    )
    words = ["train", "ours/train", "-o", "own", "--recipe", "own.toml", "--workers", "0",
             "--batch-size", "8", "--epochs", "1", "--save-as", "float32"]  # fmt: skip
    assert run(*words, cwd=place).returncode == 0
    recipe = tomllib.loads((place / "own" / "recipe.toml").read_text())
    assert (recipe["batch_size"], recipe["phases"]) == (8, [[32, 1]])
    assert (recipe["learning_rate"], recipe["mixup"], recipe["save_as"]) == (0.01, 0.2, "float32")
    # the effective recipe is a recipe
    again = ["train", "ours/train", "-o", "own", "--recipe", "own/recipe.toml", "--workers", "0"]
    assert run(*again, cwd=place).returncode == 0
    model = vizkit.load("demo/vgg11", weights=place / "own" / "model.safetensors", device="cpu")
    assert model.classes == ("church", "tench")


def test_recipes_are_listed():
    rows = {row["recipe"]: row for row in json.loads(run("recipes", "--json").stdout)}
    assert rows["vgg16bn_8xb32_in1k"]["learning_rate"] == 0.1
    assert rows["finetune"]["weights"] == "default"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "vgg12_8xb32_in1k"], "unknown recipe 'vgg12_8xb32_in1k'; did you mean"),
        (["--set", "momentun=0.8"], "did you mean 'momentum'"),
        (["--set", "momentum"], "write name=value"),
        (["--set", "momentum=much"], "momentum must be a number, not 'much'"),
        (["--weights", "default"], "is for any model: give arch (--model)"),
        (["--weights", "default", "-m", "demo/vgg11", "--freeze", "stride5"], "did you mean"),
        (["--epochs", "3"], "the recipe has several phases"),
        (["--schedule", "cosin"], "did you mean 'cosine'"),
        (["--precision", "float16", "--device", "cpu"], "needs a CUDA GPU"),
        (["--val", "ours"], "only one of them has church, tench, train, val"),
        (["-m", "demo/vgg12"], "unknown demo model 'vgg12'"),
        (["-w", "missing.pth", "-m", "demo/vgg11"], "no such weights file: missing.pth"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(place, words, message):
    out = place / "refused"
    done = run("train", "ours/train", "-o", out, *words, cwd=place)
    assert (done.returncode, done.stdout) == (2, "")
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("vizkit: ")
    assert message in line
    assert not out.exists()


def test_an_interrupted_run_goes_on(place):
    """Ctrl-C after the first epoch, then the same command again."""
    import signal
    import time

    words = [sys.executable, "-m", "vizkit", "train", "ours/train", "-o", "stopped", "-m",
             "demo/vgg11", "--phases", "32x30", "--batch-size", "4", "--workers", "0",
             "--device", "cpu"]  # fmt: skip
    process = subprocess.Popen(words, cwd=place, stderr=subprocess.PIPE, text=True)
    log = place / "stopped" / "log.csv"
    for _ in range(1200):
        if log.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    done = len(pd.read_csv(log))
    assert 1 <= done < 30
    assert run(*words[3:], cwd=place).returncode == 0
    again = pd.read_csv(log)
    assert list(again["epoch"]) == list(range(1, 31))


def test_the_bundled_models_commands_mean_what_they_meant():
    """Parsed by the program itself; whatever they leave open comes from the recipe 'demo'."""
    command = typer.main.get_command(app).commands["train"]
    words = [
        shlex.split(run) for entry in zoo.recipes()["models"].values() for run in entry["runs"]
    ]
    for each in words:
        given = command.make_context("train", each[2:]).params
        assert (given["recipe"], given["weights"], given["precision"]) == ("", None, None)
        said = dict(zip(each[3::2], each[4::2], strict=True))
        recipe = read_recipe("demo", {
            "arch": given["arch"], "phases": phases_of(given["phases"]), "seed": given["seed"],
            "batch_size": given["batch_size"], "learning_rate": given["learning_rate"],
            "start": given["start"] or "",
        })  # fmt: skip
        assert recipe.arch == said["--arch"]
        assert recipe.learning_rate == float(said["--learning-rate"])
        assert (recipe.start, recipe.draws) == (said.get("--start", ""), "order")
