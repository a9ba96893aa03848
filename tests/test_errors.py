"""One family of errors: each says what is wrong, is public, and is told about in the README."""

import ast
import builtins
import importlib
import math
import pickle
import pkgutil
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import vizkit
from vizkit import errors
from vizkit.errors import (
    InputError,
    UnknownNameError,
    VizkitError,
    chosen,
    finite,
    shown,
    unknown,
    whole,
)

ROOT = Path(vizkit.__file__).parent
# never seen by users: caught by who called, in the file that is named
INTERNAL = {
    "Cancelled": "widgets/work.py",
    "MemoryUnknownError": "speed/measuring.py",
    "StoppedError": "widgets/upload.py",
}
# as Python's own rules have it
RULES = {"AttributeError", "NotImplementedError"}
# errors of Python's that the same file turns into words
CAUGHT = {
    *("boxes.py: ValueError", "storing.py: OSError", "checkpoints/guarding.py: ValueError"),
    # a mistake of who writes an accumulator, not of who uses it
    *("statistics/selectivity.py: ValueError", "statistics/gradients.py: ValueError"),
}


def own_exceptions():
    """Every class of exceptions that any module of vizkit defines."""
    found = set()
    for module in pkgutil.walk_packages([str(ROOT)], "vizkit."):
        if module.name.endswith(("__main__", ".jupyter")):
            continue
        names = vars(importlib.import_module(module.name)).values()
        found |= {
            each
            for each in names
            if isinstance(each, type)
            and issubclass(each, BaseException)
            and each.__module__.startswith("vizkit.")
        }
    return sorted(found, key=lambda each: each.__name__)


def documented():
    """Names in the README's table, and what else each is."""
    readme = (ROOT.parent / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `vizkit\.(\w+)` \| (.+?) \| (.+?) \|$", readme, re.MULTILINE)
    return {name: re.findall(r"`(\w+)`", kinds) for name, kinds, _ in rows}


def test_unknown_names_suggests_and_lists():
    error = unknown("method", "gradcam", ["grad_cam", "saliency"])
    assert str(error) == (
        "unknown method 'gradcam'; did you mean 'grad_cam'? choose from grad_cam, saliency"
    )
    assert isinstance(error, ValueError)


def test_far_names_and_long_lists():
    assert "did you mean" not in str(unknown("stage", "xyz", ["stride1"]))
    text = str(unknown("model", "q", [f"m{i}" for i in range(50)], most=3))
    assert text.endswith("choose from m0, m1, m2, … (50 in all)")


def test_what_is_not_there_is_also_a_key_error():
    error = unknown("stage", "stride7", ["stride1"])
    assert isinstance(error, InputError)
    assert isinstance(error, KeyError)
    # Python's own would put the whole message in quotes
    assert str(error).startswith("unknown stage 'stride7'")
    # and it comes out of another process as it went in
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("kind", own_exceptions(), ids=lambda each: each.__name__)
def test_every_exception_is_public_and_in_the_readme(kind):
    if kind.__name__ in INTERNAL:
        text = (ROOT / INTERNAL[kind.__name__]).read_text(encoding="utf-8")
        assert re.search(rf"except {kind.__name__}\b", text)
        return
    assert getattr(vizkit, kind.__name__) is kind
    assert kind.__name__ in vizkit.__all__
    assert kind.__doc__
    if issubclass(kind, Warning):
        assert issubclass(kind, UserWarning)
    else:
        assert issubclass(kind, VizkitError)
    kinds = documented()[kind.__name__]
    assert all(issubclass(kind, _named(each)) for each in kinds)
    # what it is of Python's own, it is said to be
    own = {each.__name__ for each in kind.__mro__ if each.__module__ == "builtins"}
    assert own & set(kinds)


def _named(name):
    return getattr(vizkit, name, None) or getattr(builtins, name)


def test_the_readme_names_no_other():
    assert set(documented()) == {each.__name__ for each in own_exceptions()} - set(INTERNAL)


def raised():
    """File, line and what each ``raise`` of vizkit raises, as it is written."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Raise) or node.exc is None:
                continue
            what = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            yield path.relative_to(ROOT).as_posix(), node.lineno, ast.unparse(what)


def test_what_is_raised_on_purpose_is_vizkits_own():
    public = set(documented()) - {"VizkitError"}
    allowed = public | set(INTERNAL) | RULES
    others = {
        f"{path}: {what}"
        for path, _, what in raised()
        # in small letters stands an error that was caught before
        if what not in allowed and not what.lstrip("_")[0].islower()
    }
    assert others <= CAUGHT | NOT_YET


# such as have no built-in kind yet
NOT_YET = {
    f"{name}.py: VizkitError"
    for name in (
        *("benchmarks/importing", "folding", "forward", "models/devices", "stages", "streaming"),
    )
}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"), (True, "True"), (3, "3"), (np.int64(-3), "-3"), (np.float64("nan"), "nan"),
        ("a\nb", r"'a\nb'"), (b"x", "b'x'"), (Path("a"), "'a'"), ([1, "x"], "[1, 'x']"),
        (object(), "object"), ([object()], "[object]"), (lambda: None, "function"),
        (np.ones(3), "ndarray"), (torch.ones(2), "Tensor"), (pd.DataFrame(), "DataFrame"),
        (10**6000, "a number of 19932 bits"), ({"a": 10**6000}, "{'a': a number of 19932 bits}"),
    ],
    ids=lambda each: type(each).__name__,
)  # fmt: skip
def test_values_are_written_in_few_words(value, text):
    assert shown(value) == text


def test_values_are_never_long():
    for value in ("y" * 5000, ["y" * 5000] * 100, list(range(5000)), {n: n for n in range(5000)}):
        assert len(shown(value)) < 1500


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, torch.tensor, np.array])
def test_whole_numbers_of_any_kind(kind):
    found = whole("k", kind(3))
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize("value", [True, np.bool_(True), 3.0, np.float64(3), "3", None, [3]])
def test_what_is_no_whole_number(value):
    with pytest.raises(InputError, match="k must be a whole number of at least 1, not"):
        whole("k", value)


def test_numbers_that_are_finite():
    found = finite("x", np.float32(-0.5))
    assert found == -0.5
    assert type(found) is float
    for wrong in (True, None, "1", 1j, math.nan, -math.inf, 10**6000, np.ones(1)):
        with pytest.raises(InputError, match="x must be a finite number, not"):
            finite("x", wrong)


def test_names_are_a_list_of_words():
    known = ["b", "a"]
    assert chosen("letter", "a", known) == ["a"]
    assert chosen("letter", (x for x in ["a", "b", "a"]), known) == ["a", "b"]
    for wrong in ({"a"}, {"a": 1}, b"a", 5, None, np.array([["a"]]), "ab"):
        with pytest.raises(UnknownNameError, match="unknown letter"):
            chosen("letter", wrong, known)
    with pytest.raises(InputError, match="no letters: choose from b, a"):
        chosen("letter", [], known)


def test_paths_are_checked_before_they_are_used(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert errors.path_of("out", "~/x") == tmp_path / "x"
    assert errors.path_of("out", Path("x")) == Path("x")
    for wrong in ("", "a\0b", b"x", 5, None, "y" * 5000, "~nobody-of-this-name/x"):
        with pytest.raises(InputError, match=r"^out "):
            errors.path_of("out", wrong)
