"""Every option of every command meets wrong values: one clear line, exit code 2, no file."""

import sys
import typing
from pathlib import Path

import pytest
from commands import run
from good_calls import a_photo

from vizkit.cli import app

NET = ("-m", "demo/vgg11")
# words that go well
GOOD = {
    "attribute": ["photos", *NET],
    "compare": ["photos", *NET],
    "disagree": ["photos", "-m", "demo/vgg11,demo/vgg13"],
    "embed": ["photos", "-o", "vectors.npy", *NET],
    "evaluate": ["demo/vgg11", "photos"],
    "faithfulness": ["photos", "--methods", "grad_cam", *NET],
    "fields": ["photos", *NET],
    "models": ["demo/*"],
    "neighbours": ["photos", *NET],
    "patches": ["photos", *NET],
    "predict": ["photos", *NET],
    "probe": ["photos", "--folds", "2", *NET],
    "profile": ["demo/vgg11"],
    "report": ["-i", "photos", "--quick", "--no-speed", *NET],
    "similarity": ["photos", *NET],
    "stats": ["photos", *NET],
    "train": ["photos", "-o", "run", *NET, "--epochs", "1", "--size", "32"],
}
# those without a value that could be wrong, and those that start other programs
OTHERS = {"bench", "lab", "methods", "recipes", "statistics"}
WRONG = {
    int: ["x", "-3", str(10**30)],
    float: ["x", "-3", "nan"],
    str: ["?", ",", "y" * 300],
    Path: ["nowhere/x.png", "file.txt/x.png"],
}
# folders that are made where there are none, and nothing to freeze
TAKEN = {
    *(f"{name}.out={WRONG[Path][0]}" for name in ("disagree", "evaluate", "report", "stats")),
    *(f"train.out={WRONG[Path][0]}", "train.freeze=,"),
}


def options_of(name):
    """Name, flag (none for what has no name of its own) and kind of each option of a command."""
    (command,) = (each for each in app.registered_commands if named(each) == name)
    names = vars(sys.modules[command.callback.__module__])
    hints = typing.get_type_hints(command.callback, names, include_extras=True)
    for option, hint in hints.items():
        if not hasattr(hint, "__metadata__"):
            continue
        declared = [each for each in hint.__metadata__[0].param_decls or () if each[0] == "-"]
        has_name = type(hint.__metadata__[0]).__name__ == "OptionInfo"
        flag = (declared or [f"--{option.replace('_', '-')}"])[0] if has_name else None
        yield option, flag, kind_of(hint.__origin__)


def kind_of(hint):
    inner = [each for each in typing.get_args(hint) if each is not type(None)]
    return kind_of(inner[0]) if inner else hint


def named(command):
    return command.name or command.callback.__name__


EVERY = [
    pytest.param(name, flag, kind, id=f"{name}.{option}")
    for name in GOOD
    for option, flag, kind in options_of(name)
    if kind is not bool
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where commands are run: photos in class folders, and a file that is none."""
    monkeypatch.chdir(tmp_path)
    for n, name in enumerate(("church", "golf ball", "church", "golf ball")):
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        a_photo(n).save(tmp_path / "photos" / name / f"{n}.png")
    (tmp_path / "file.txt").write_text("no folder")
    return tmp_path


def words_of(name, flag, value):
    if flag is not None:
        return [name, *GOOD[name], flag, value]
    return [name, value, *GOOD[name][1:]]


@pytest.mark.parametrize(("name", "flag", "kind"), EVERY)
def test_a_wrong_option_is_refused_in_one_line(name, flag, kind, folder, request):
    option = request.node.callspec.id
    before = set(folder.rglob("*"))
    for value in WRONG[kind]:
        if f"{option}={value}" in TAKEN:
            continue
        code, out, err = run(*words_of(name, flag, value))
        assert code == 2, f"{option}={value}: {code}, {out}, {err}"
        assert not out
        assert said_once(err), err
        assert set(folder.rglob("*")) == before


def said_once(err: str) -> bool:
    """Whether this is one line of vizkit's, or how typer tells a wrong use; and no bar of tqdm."""
    lines = [line for line in err.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    return "Traceback" not in err and (
        (len(lines) == 1 and last.startswith("vizkit: "))
        or (lines[0].startswith("Usage: ") and last.startswith("Error: "))
    )


def test_every_command_is_tried_or_has_no_options():
    assert {named(each) for each in app.registered_commands} == set(GOOD) | OTHERS
