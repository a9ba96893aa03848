"""The command line as a user runs it: its output, its exit code and what it writes."""

import json
import re
import subprocess
import sys

import pandas as pd
import pytest
from commands import run, run_apart
from PIL import Image

import vizkit
from vizkit.attribution import METHODS
from vizkit.errors import InputError


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "rocket.jpg"
    vizkit.samples()["rocket"].save(path)
    return path


@pytest.mark.parametrize(
    "command",
    ["report", "predict", "attribute", "methods", "faithfulness", "stats", "statistics",
     "patches", "fields", "probe", "similarity", "compare", "disagree", "evaluate", "train",
     "profile", "models", "lab", "bench"],
)  # fmt: skip
def test_every_command_explains_itself(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"vizkit {command}" in done.stdout


def test_help_and_version_import_no_torch():
    code = (
        "import sys\nfrom vizkit.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert run_apart("--version").stdout.strip() == vizkit.__version__


def test_predict_equals_the_library(photo):
    done = run_apart("predict", photo, "-m", "demo/vgg11_bn,demo/vgg11", "-k", 2, "--json")
    rows = json.loads(done.stdout)
    expected = vizkit.predict("demo/vgg11_bn", photo, 2)
    assert [row["model"] for row in rows] == ["demo/vgg11_bn"] * 2 + ["demo/vgg11"] * 2
    assert [row["class"] for row in rows[:2]] == list(expected["class"])
    assert rows[0]["probability"] == pytest.approx(expected["probability"][0], abs=1e-5)


def test_tables_are_printed_for_people(photo):
    assert "church" in run("predict", photo, "-m", "demo/vgg11_bn").stdout
    table = run("profile", "demo/vgg11_bn").stdout
    assert "receptive_field" in table
    assert "total" in table
    assert "demo/vovnet19b" in run("models", "demo/*").stdout
    assert "sparsity" in run("stats", photo, "-m", "demo/vgg11_bn").stdout


def test_stats_writes_tables_and_a_picture(photo, tmp_path):
    out, picture = tmp_path / "out", tmp_path / "all.png"
    done = run("stats", photo, "-m", "demo/vgg11_bn", "--statistics", "all", "-o", out,
               "--picture", picture, "--json")  # fmt: skip
    rows = json.loads(done.stdout)
    written = vizkit.read_statistics(out)
    assert [row["statistic"] for row in rows] == list(written.frame["statistic"])
    assert "left out gamma, beta, mean_drift, variance_ratio: it is read behind" in done.stderr
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 1000
    listed = run("statistics").stdout
    assert all(row["statistic"] in listed for row in rows)


def test_patches_and_fields_are_drawn(photo, tmp_path):
    gallery, fields, table = (tmp_path / name for name in ("a.png", "b.png", "c.csv"))
    done = run("patches", photo, "-m", "demo/vgg11_bn", "--at", "stride4", "--channels", "1,5",
               "-k", 1, "-o", gallery, "--csv", table)  # fmt: skip
    assert done.stdout.split() == [str(gallery), str(table)]
    assert list(pd.read_csv(table)["channel"]) == [1, 5]
    rows = json.loads(run("fields", photo, "-m", "demo/vgg11_bn", "-o", fields, "--json").stdout)
    assert [row["theoretical"] for row in rows] == [3, 8, 26, 62, 134, 150]
    for picture in (gallery, fields):
        with Image.open(picture) as drawn:
            assert drawn.size[0] > 200


def test_compare_draws_a_page_a_file(photo, tmp_path):
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(photo.read_bytes()[:200])
    picture = tmp_path / "all.png"
    done = run(
        "compare", photo, damaged, photo, "-m", "demo/vgg11,demo/vovnet19b", "--per-page", 1,
        "--target", "church", "--show", "attributions", "-o", picture,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = [tmp_path / f"all-{n}.png" for n in (1, 2)]
    assert done.stdout.split() == [str(path) for path in written]
    assert str(damaged) in done.stderr
    assert sorted(tmp_path.iterdir()) == [*written, damaged]
    drawn = vizkit.show_comparison(
        ["demo/vgg11", "demo/vovnet19b"], [photo, photo], targets="church",
        show="attributions", per_page=1, page=2,
    ).save(tmp_path / "library.png")  # fmt: skip
    assert written[1].read_bytes() == drawn.read_bytes()


def test_compare_layer_by_layer_in_one_file(photo, tmp_path):
    words = ["compare", photo, photo, "-m", "demo/vgg11,demo/vgg11_bn", "--at", "layers", "--role",
             "conv", "--per-page", 1, "--theme", "dark", "--same-pixels", "--show", "energy",
             "-o", tmp_path / "a.pdf"]  # fmt: skip
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "a.pdf")]
    content = (tmp_path / "a.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) == 2


def test_profile_needs_no_weights():
    rows = json.loads(run("profile", "vgg19", "--json").stdout)
    total = next(row for row in rows if row["stage"] == "total")
    assert total["params"] == 143667240
    assert total["gmacs"] == pytest.approx(19.63, abs=0.01)


def test_attribute_writes_a_picture(photo, tmp_path):
    done = run(
        "attribute", photo, "-m", "demo/vgg11_bn", "--target", "church", "-o", tmp_path / "a.png"
    )
    assert done.stdout.strip() == str(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] > 500


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "missing.jpg"], "no such image: missing.jpg"),
        (["predict", "{photo}", "-m", "demo/vgg12"], "did you mean 'vgg1"),
        (["predict", "{photo}", "-m", "vgg11"], "weights=None"),
        (["predict", "{photo}", "-k", "0"], "k must be a whole number of at least 1"),
        (["predict", "{photo}", "--device", "gpu"], "unknown device 'gpu'"),
        (["predict", "{photo}", "-w", "none.pth"], "no such weights file"),
        (["stats", "{photo}", "--statistics", "sparsty"], "did you mean 'sparsity'"),
        (["stats", "{photo}", "--resume"], "resume needs the folder of the run"),
        (["stats", "{photo}", "--at", "gates"], "has no gates"),
        (["stats", "{photo}", "--picture", "x.gif"], "unknown figure format 'gif'"),
        (["patches", "{photo}", "-o", "x.gif"], "unknown figure format 'gif'"),
        (["fields", "{photo}", "-o", "nowhere/x.png"], "no such folder: nowhere"),
        (["attribute", "{photo}", "--methods", "gradcam"], "did you mean 'grad_cam'"),
        (["attribute", "{photo}", "--target", "churhc"], "did you mean 'church'"),
        (["evaluate", "missing"], "no such folder"),
        (["probe", "missing"], "no such image: missing"),
        (["similarity", "{photo}", "--kernel", "rbff"], "did you mean 'rbf'"),
        (["similarity", "{photo}", "-m", "demo/vgg11"], "at least 4 readable images"),
        (["compare", "missing.jpg"], "no such image: missing.jpg"),
        (["compare", "{photo}", "-m", "demo/vgg12"], "did you mean 'vgg1"),
        (["compare", "{photo}", "--at", "conv9_9"], "unknown stage, layer or module 'conv9_9'"),
        (["compare", "{photo}", "--role", "atc"], "did you mean 'act'"),
        (["compare", "{photo}", "--methods", "gradcam"], "did you mean 'grad_cam'"),
        (["compare", "{photo}", "--target", "churhc"], "did you mean 'church'"),
        (["compare", "{photo}", "--show", "map"], "did you mean 'maps'"),
        (["compare", "{photo}", "--scale", "pannel"], "did you mean 'panel'"),
        (["compare", "{photo}", "--theme", "drak"], "did you mean 'dark'"),
        (["compare", "{photo}", "--per-page", "0"], "per_page must be a whole number"),
        (["compare", "{photo}", "-o", "x.gif"], "unknown figure format 'gif'"),
        (["compare", "{photo}", "-o", "nowhere/x.png"], "no such folder: nowhere"),
        (["train", "missing", "-o", "run", "--phases", "64"], "unknown phases '64'"),
        (["lab", "missing"], "no such folder"),
        (["report", "--scale", "pannel"], "did you mean 'panel'"),
        (["report", "--channels", "0"], "channels must be a whole number of at least 1, not 0"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(words, message, photo, tmp_path):
    words = [word.format(photo=photo) for word in words]
    if "-m" not in words and words[0] in {"predict", "stats", "attribute", "evaluate", "compare"}:
        words += ["-m", "demo/vgg11_bn"]
    if words[0] == "report":
        words += ["-m", "demo/vgg11_bn"]
    done = run(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("vizkit: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_bad_input_of_a_real_process(tmp_path):
    done = run_apart("predict", "missing.jpg", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip().splitlines()[-1] == "vizkit: no such image: missing.jpg"
    assert "Traceback" not in done.stderr


def test_train_evaluate_and_use_what_was_trained(tmp_path):
    for split in ("train", "val"):
        for name, colour in {"red": (200, 30, 30), "blue": (30, 30, 200)}.items():
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(12):
                Image.new("RGB", (40, 36), tuple(c + i for c in colour)).save(folder / f"{i}.png")
    train = [
        "train", tmp_path / "train", "--val", tmp_path / "val", "-o", tmp_path / "run",
        "--arch", "demo/vgg11_bn", "--phases", "32x2,32x1", "--batch-size", 8, "--device", "cpu",
    ]  # fmt: skip
    done = run(*train)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("model.safetensors")
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {
        "curve.png", "last.pth", "log.csv", "model.safetensors", "recipe.toml",
    }  # fmt: skip
    model = vizkit.load(
        "demo/vgg11_bn", weights=tmp_path / "run" / "model.safetensors", classes=["blue", "red"]
    )
    assert vizkit.evaluate(model, tmp_path / "val")["n"][0] == 24


def testphases_of():
    from vizkit.cli.parsing import phases_of

    assert phases_of("64x8, 96X6") == ((64, 8), (96, 6))
    for bad in ("", "64", "64x", "0x3", "64x-1"):
        with pytest.raises(InputError, match="unknown phases"):
            phases_of(bad)


def test_attribute_into_a_folder(photo, tmp_path):
    words = ["-m", "demo/vgg11", "--stages", "stride16", "--target", "church,0", "--against", "2"]
    done = run("attribute", photo, "-o", tmp_path / "maps", *words, "--draw", "contours")
    assert done.returncode == 0, done.stderr
    written = [str(tmp_path / "maps" / f"rocket.{ending}") for ending in ("npz", "png")]
    assert done.stdout.split() == written


def test_methods_are_listed():
    rows = json.loads(run("methods", "--json").stdout)
    assert [row["name"] for row in rows] == list(METHODS)
    assert all(row["summary"] and row["paper"] for row in rows)
