"""The command line where nobody reads on, where letters are missing, and where it is stopped."""

import os
import subprocess
import sys

import pandas as pd
import pytest
from commands import run, said
from good_calls import a_photo

from vizkit.images import photos as images
from vizkit.training import photos as training

NET = ("-m", "demo/vgg11")


def process(*words, environment=None, **streams):
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen(
        [sys.executable, "-m", "vizkit", *map(str, words)],
        env=os.environ | (environment or {}), **piped,
    )  # fmt: skip


def test_a_reader_that_goes_away_is_no_mistake():
    with process("models") as running:
        running.stdout.close()
        error = running.stderr.read().decode()
    assert error == ""


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
def test_closed_streams_do_no_harm():
    command = f'"{sys.executable}" -m vizkit'
    for words in ("recipes >&- 2>&-", "--help >&-", "--help 2>&-"):
        done = subprocess.run(["/bin/sh", "-c", f"{command} {words}"], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert (b"Usage: " in done.stdout) == (words == "--help 2>&-")


def test_a_narrow_terminal_without_colours_will_do():
    plain = {"COLUMNS": "20", "NO_COLOR": "1", "TERM": "dumb", "PYTHONIOENCODING": "ascii"}
    with process("predict", "--help", environment=plain) as running:
        out, err = running.communicate()
    assert (running.returncode, err) == (0, b"")
    assert b"--models" in out
    assert b"\x1b" not in out


def test_letters_that_a_terminal_does_not_have_are_no_mistake(tmp_path):
    environment = {
        "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii",
    }  # fmt: skip
    # a name that is no text, behind a letter that is not English
    name = os.fsencode(tmp_path / "zw\u00f6lf") + b"\xff.png"
    with process("predict", os.fsdecode(name), environment=environment) as running:
        out, err = running.communicate()
    assert (running.returncode, out) == (2, b"")
    assert err.startswith(b"vizkit: no such image: ")
    assert err.count(b"\n") == 1


@pytest.fixture
def folder(tmp_path):
    for n in range(6):
        (tmp_path / "photos" / ("church", "golf ball")[n % 2]).mkdir(parents=True, exist_ok=True)
        a_photo(n).save(tmp_path / "photos" / ("church", "golf ball")[n % 2] / f"{n}.png")
    return tmp_path


def stopping(monkeypatch, module, after):
    """Have Ctrl-C pressed while a photo is read."""
    read, count = module.read, 0

    def stopped(path):
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(module, "read", stopped)


@pytest.mark.parametrize(
    ("words", "written"),
    [(["stats"], "statistics.csv"), (["evaluate", "demo/vgg11"], "summary.csv")],
)
def test_a_stopped_command_says_how_to_go_on(words, written, folder, monkeypatch):
    options = ["--batch-size", 2, "--workers", 0]
    options += [*NET] if words == ["stats"] else []
    whole, part = (["-o", folder / name] for name in ("whole", "part"))
    assert run(*words, folder / "photos", *options, *whole)[0] == 0
    with monkeypatch.context() as patch:
        stopping(patch, images, after=4)
        code, out, err = run(*words, folder / "photos", *options, *part)
    assert (code, out) == (130, "")
    hint, last = said(err)
    assert hint.endswith(f"is in {folder / 'part'}: go on with --resume") or "--resume" in hint
    assert last == "vizkit: stopped"
    assert not (folder / "part" / written).exists()
    code, _, err = run(*words, folder / "photos", *options, *part, "--resume")
    assert code == 0, err
    tables = [pd.read_csv(folder / name / written) for name in ("whole", "part")]
    pd.testing.assert_frame_equal(*tables)


def test_stopped_training_goes_on_with_the_same_command(folder, monkeypatch):
    words = ["train", folder / "photos", "-o", folder / "run", *NET]
    words += ["--epochs", 2, "--size", 32, "--workers", 0]
    with monkeypatch.context() as patch:
        stopping(patch, training, after=9)
        code, out, err = run(*words)
    assert (code, out) == (130, "")
    assert said(err)[-2:] == [
        f"the epochs so far are in {folder / 'run'}: the same command goes on",
        "vizkit: stopped",
    ]
    code, out, _ = run(*words)
    assert (code, out.strip()) == (0, str(folder / "run" / "model.safetensors"))
    assert list(pd.read_csv(folder / "run" / "log.csv")["epoch"]) == [1, 2]


@pytest.mark.parametrize(
    "words",
    [
        ["predict"], ["attribute"], ["patches"], ["fields"], ["compare"], ["similarity"],
        ["probe", "--folds", 2], ["neighbours"], ["embed", "-o", "vectors.npy"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_stopped_command_says_so_in_one_line_and_leaves_nothing(words, folder, monkeypatch):
    monkeypatch.chdir(folder)
    stopping(monkeypatch, images, after=1)
    before = set(folder.rglob("*"))
    code, out, err = run(words[0], "photos", *words[1:], *NET)
    assert (code, out, said(err)) == (130, "", ["vizkit: stopped"])
    assert set(folder.rglob("*")) == before


def test_letters_that_cannot_be_written_are_escaped(monkeypatch, tmp_path):
    """A photo whose name is no text goes through all of a command, as far as its output."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    a_photo().save(path)
    code, out, err = run("predict", path, *NET, "-k", 1)
    assert (code, err) == (0, "")
    assert "\\udcff.png" in out
