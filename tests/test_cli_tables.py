"""The commands that print tables of models: profile --pages, models --count, bench speed."""

import json

import pandas as pd
import pytest
from commands import run


def test_pages_beside_what_is_counted():
    done = run("profile", "vgg16_bn,ese_vovnet19b_dw", "--pages")
    assert done.returncode == 0, done.stderr
    table, _, words = done.stdout.partition("\n\n")
    lines = table.splitlines()
    assert len(lines) == 1 + 5 + 3
    assert "mmpretrain" in lines[5]
    assert "15.53 " in lines[5]
    assert "15.5305933" in lines[5]
    assert sum(" yes " in line for line in lines) == 7
    assert "mmpretrain: Flops (G): multiply-accumulates, additions of biases" in words


def test_pages_as_json():
    done = run("profile", "torchvision/vgg11_bn", "--pages", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["page"]: row for row in json.loads(done.stdout)}
    assert rows["torchvision"]["gmacs"] == 7.609
    assert rows["torchvision"]["agrees"] is True
    assert rows["torchvision"]["activations"] is None
    assert rows["torch.hub"]["agrees"] is None
    assert "misprint" in rows["torch.hub"]["note"]
    assert "two operations for each element" in rows["timm card"]["convention"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("profile", "resnet50", "--pages"), "unknown model on the pages 'resnet50'"),
        (("profile", "vgg11", "--pages", "--size", 96), "leave --size"),
        (("models", "--count"), "too many to count"),
        (("bench", "sped"), "unknown suite 'sped'; did you mean 'speed'?"),
        (("bench", "speed", "--batch", "1,x"), "unknown batch '1,x'"),
        (("bench", "speed", "--precision", "int8"), "unknown precision 'int8'"),
        (("bench", "speed", "--picture", "speed.gif"), "unknown figure format 'gif'"),
        (("bench", "speed", "--out", "no/such/folder.csv"), "no such folder"),
    ],
)
def test_bad_input_is_one_line(arguments, words):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.startswith("vizkit: ")


def test_models_are_counted():
    done = run("models", "demo/vgg1[13]", "--count", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["name"] for row in rows] == ["demo/vgg11", "demo/vgg13"]
    assert all(row["params"] == row["counted_params"] for row in rows)
    assert rows[0]["gmacs"] < rows[1]["gmacs"]
    assert "gmacs" not in run("models", "demo/vgg11").stdout


def test_speed_as_table_csv_and_picture(tmp_path):
    out, picture = tmp_path / "speed.csv", tmp_path / "speed.png"
    options = ["--runs", 2, "--batch", 2, "--precision", "float32", "--out", out]
    done = run(
        "bench", "speed", "-m", "demo/vgg11,demo/vgg11_bn", *options, "--picture", picture,
        "--no-memory", "--theme", "dark",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "demo/vgg11_bn" in done.stdout
    assert "medians of 2 rounds with quartiles, 1 CPU thread(s)" in done.stdout
    table = pd.read_csv(out)
    assert list(table["model"]) == ["demo/vgg11"] * 2 + ["demo/vgg11_bn"] * 2
    assert (table["images_per_second"] > 0).all()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_speed_beside_timms_figures_as_json():
    options = ["--runs", 1, "--batch", 1, "--precision", "float32", "--layout", "channels_last"]
    done = run(
        "bench", "speed", "-m", "ese_vovnet19b_dw", "-w", "none", *options, "--device", "cpu",
        "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    here, *theirs = json.loads(done.stdout)
    assert here["source"] == "here"
    assert here["size"] == "224 x 224"
    assert here["peak_mb"] > here["weights_mb"] == pytest.approx(26.2, abs=0.2)
    assert {row["source"] for row in theirs} == {"timm"}
    assert {row["device"] for row in theirs} == {"RTX 3090", "RTX 4090", "CPU i9-10940X"}
    assert all(row["peak_mb"] is None for row in theirs)
