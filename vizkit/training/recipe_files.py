"""Recipes as small TOML files: the bundled ones by name, a user's own by path."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from vizkit.errors import InputError, instance, path_of, unknown
from vizkit.files import replacing
from vizkit.training.recipe import Recipe

# in a file, but no part of the recipe: a line of words, and short for phases
_ABOUT, _SHORT = "about", ("size", "epochs")


def recipe_names() -> list[str]:
    """List the bundled recipes.

    Returns
    -------
    list of str
        What `read_recipe` takes, sorted.
    """
    folder = files("vizkit") / "recipes"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def list_recipes() -> pd.DataFrame:
    """Describe the bundled recipes.

    Returns
    -------
    DataFrame
        recipe, arch, weights, epochs, batch_size, optimizer, learning_rate, about.
    """
    rows = []
    for name in recipe_names():
        recipe = read_recipe(name, {"arch": _values(name).get("arch", "any")})
        columns = ("arch", "weights", "epochs", "batch_size", "optimizer", "learning_rate")
        about = _values(name).get(_ABOUT, "")
        row = {column: getattr(recipe, column) for column in columns}
        rows.append({"recipe": name, **row, "about": about})
    return pd.DataFrame(rows)


def read_recipe(source: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe and change some of its values.

    Parameters
    ----------
    source : str or Path
        The name of a bundled recipe, or a TOML file with attributes of `Recipe`; ``size`` and
        ``epochs`` are short for ``phases`` of one.
    changes : mapping of str to Any, optional
        Values that replace the file's.

    Returns
    -------
    Recipe
        Complete and checked.

    Raises
    ------
    InputError
        If there is no such recipe, the file is no TOML, or a key or value is unknown.
    """
    if changes is not None:
        instance("changes", changes, Mapping)
    values = _values(source)
    values.pop(_ABOUT, None)
    for layer in (values, dict(changes or {})):
        _require_known(layer, source)
    below = _unfolded(values, {})
    merged = {**below, **_unfolded(dict(changes or {}), below)}
    if "arch" not in merged:
        raise InputError(f"recipe {source} is for any model: give arch (--model)")
    return Recipe(**merged)


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as TOML, every value of it.

    Parameters
    ----------
    recipe : Recipe
        What to write.
    path : Path
        File to write; replaced in one step.
    """
    lines = [f"{name} = {_toml(value)}" for name, value in dataclasses.asdict(recipe).items()]
    with replacing(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _values(source: str | Path) -> dict[str, Any]:
    path = path_of("recipe", source)
    name = str(source)
    if name in recipe_names():
        return tomllib.loads((files("vizkit") / "recipes" / f"{name}.toml").read_text("utf-8"))
    if not path.is_file():
        raise unknown("recipe", name, [*recipe_names(), "a .toml file"])
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is no recipe: {error}") from error


def _require_known(values: Mapping[str, Any], source: str | Path) -> None:
    known = [*(each.name for each in dataclasses.fields(Recipe)), *_SHORT]
    for key in values:
        if key not in known:
            raise unknown(f"key of recipe {source}:", key, known)


def _unfolded(values: dict[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    """Write size and epochs as phases; what is not said comes from the values below."""
    short = {key: values[key] for key in _SHORT if key in values}
    if not short:
        return values
    if "phases" in values:
        raise InputError(f"give phases, or {' and '.join(short)}, not both")
    base = below.get("phases", [[0, 1]])
    if len(base) > 1 and len(short) < 2:
        raise InputError(
            f"the recipe has several phases: give size and epochs both, or phases, not {short}"
        )
    phase = [short.get("size", base[0][0]), short.get("epochs", base[0][1])]
    return {**{key: item for key, item in values.items() if key not in short}, "phases": [phase]}


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    # strings, numbers, truth values and lists are written as in JSON
    return json.dumps(value)
