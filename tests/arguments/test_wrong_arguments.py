"""Every argument of every public function meets values of every kind: taken, or one clear error."""

import inspect
import re
import shutil
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from good_calls import World, arguments_of
from wrong_values import NEVER, OF_ONE, TAKES, VALUES

import vizkit

FUNCTIONS = sorted(
    name
    for name in vizkit.__all__
    if callable(getattr(vizkit, name))
    and (not inspect.isclass(getattr(vizkit, name)) or name in {"Recipe", "Transform"})
)
EVERY = [f"{name}.{each}" for name in FUNCTIONS for each in arguments_of(getattr(vizkit, name))]
# where each call that goes well takes long, only what must be refused is tried
_LONG = ("show_", "report.", "export_", "explore.models", "rebuild_report.")
# other words for what an argument is
_WORDS = {
    "against": "target|class",
    "at": "taps|stage",
    "changes": "key of recipe",
    "among": "choice",
    "by": "ranking",
    "draw": "drawing",
    "folder": "image|photo|statistics",
    "labels": "table of classes",
    "manifest": "manifest|report",
    "module": "network|nn.Module|does not run",
    "name": "model",
    "on": "background",
    "path": "boxes",
    "queries": "image",
    "show": "part of a comparison",
    "similarity": "model",
    "source": "recipe",
    "stages": "taps|stage",
    "targets": "target|class",
    "test": "image|photo",
    "transform": "does not run",
    "use_test_size": "test size",
    "val": "folder",
    "data": "folder",
}
_GARBAGE = re.compile(r" object at |0x[0-9a-f]{6}|Traceback|\n")


@contextmanager
def nothing_left(*folders: Path):
    """Fail if files appear in a folder, or a figure stays open."""
    before = [set(folder.iterdir()) for folder in folders]
    yield
    assert [set(folder.iterdir()) for folder in folders] == before
    assert not plt.get_fignums()


def is_named(argument: str, message: str) -> bool:
    words = f"{argument}|{_WORDS.get(argument, argument.removesuffix('s'))}"
    return bool(re.search(rf"\b({words})", message, re.IGNORECASE))


@pytest.mark.parametrize("argument", EVERY)
def test_an_argument_is_taken_or_refused_in_words(
    argument, world, unchanged, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    function, _, name = argument.partition(".")
    takes = OF_ONE.get(argument, TAKES.get(name, set()))
    call, good = getattr(vizkit, function), world.calls[function]
    # these make networks, whose first weights are drawn from PyTorch's own generator
    makes = function in {"load", "train"}
    alone = nullcontext() if makes else unchanged(world.net.module)
    with alone, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        for label, value in values_for(argument):
            if label in NEVER.get(name, ()):
                continue
            if label in takes:
                if not argument.startswith(_LONG):
                    call(**{**good, name: value})
                    clear(tmp_path, world)
                continue
            with nothing_left(tmp_path, world.root):
                message = refusal(call, {**good, name: value}, label)
            assert is_named(name, message), f"{label}: {message}"
            assert not _GARBAGE.search(message), f"{label}: {message}"


def values_for(argument):
    """All values; every other one where a call hands on to one that meets them all."""
    values = list(VALUES.items())
    return values[len(argument) % 2 :: 2] if argument.startswith(_LONG) else values


def refusal(call, arguments, label) -> str:
    """What a call that must not go well says."""
    try:
        found = call(**arguments)
    except vizkit.VizkitError as error:
        return str(error)
    pytest.fail(f"{label} is taken: {found!r:.200}")


def clear(folder: Path, world: World) -> None:
    """Take away what calls that went well have written."""
    kept = {world.folder, world.table, world.statistics, world.manifest.parent}
    for each in [*folder.iterdir(), *(set(world.root.iterdir()) - kept)]:
        shutil.rmtree(each) if each.is_dir() else each.unlink()


def test_every_public_function_has_a_good_call(world):
    assert set(world.calls) == set(FUNCTIONS)


def test_the_tables_name_arguments_that_there_are():
    names = {each.partition(".")[2] for each in EVERY}
    assert set(TAKES) <= names
    assert set(OF_ONE) <= set(EVERY)
    assert all(set(takes) <= set(VALUES) for takes in (*TAKES.values(), *OF_ONE.values()))
