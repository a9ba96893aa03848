"""What a run leaves in its folder, each file replaced in one step."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from vizkit.checkpoints import harm
from vizkit.errors import InputError
from vizkit.files import make_folder, replacing
from vizkit.storing import write_tensors
from vizkit.training.recipe import Recipe
from vizkit.training.recipe_files import read_recipe, write_recipe

_KINDS: dict[str, type] = {
    **dict.fromkeys(("model", "model_ema", "optimizer", "scaler", "failed"), dict),
    **dict.fromkeys(("rows", "folders"), list),
    "photos": int,
}
RECIPE, LAST, LOG, WEIGHTS = "recipe.toml", "last.pth", "log.csv", "model.safetensors"


def claim(out: Path, recipe: Recipe, *, write: bool = True) -> None:
    """Make a folder this run's own.

    Parameters
    ----------
    out : Path
        Made where it is missing.
    recipe : Recipe
        Written into it.
    write : bool
        False to look only.

    Raises
    ------
    InputError
        If it holds a run of another recipe.
    """
    path = out / RECIPE
    if path.exists():
        found, wanted = (dataclasses.asdict(each) for each in (read_recipe(path), recipe))
        differing = sorted(key for key in wanted if found[key] != wanted[key])
        if differing:
            raise InputError(
                f"{out} holds a run with another {', '.join(differing)}: "
                "choose another folder or the same options"
            )
    elif write:
        make_folder(out)
        write_recipe(recipe, path)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write what `load_state` reads."""
    # through a file of Python's: PyTorch's own does not say why it fails
    with replacing(path) as partial, partial.open("wb") as file:
        torch.save(dict(state), file)


def load_state(path: Path, device: torch.device, keys: Sequence[str]) -> dict[str, Any] | None:
    """Read the state of a stopped run, without running any code in it.

    Parameters
    ----------
    path : Path
        ``last.pth``.
    device : torch.device
        Where its tensors shall be.
    keys : sequence of str
        What it must hold.

    Returns
    -------
    dict or None
        None if there is no such file.

    Raises
    ------
    InputError
        If it is damaged or something else.
    """
    if not path.is_symlink() and not path.exists():
        return None
    hint = "put a good copy in its place, or delete it to begin again"
    try:
        reason = harm(path)
        state: Any = None if reason else torch.load(path, map_location=device, weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # what a damaged pickle raises has no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{path} is damaged ({reason}): {hint}") from error
    if reason:
        raise InputError(f"{path} is {reason}: {hint}")
    missing = [key for key in keys if not isinstance(state, dict) or key not in state]
    if missing:
        raise InputError(f"{path} is no state of a run (no {', '.join(missing)}): {hint}")
    odd = [key for key in keys if not isinstance(state[key], _KINDS.get(key, object))]
    if odd:
        kind = type(state[odd[0]]).__name__
        raise InputError(f"{path} is no state of a run ({odd[0]} is of type {kind}): {hint}")
    found: dict[str, Any] = state
    return found


def write_log(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one line per epoch."""
    with replacing(path) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)


def save_weights(module: nn.Module, path: Path, recipe: Recipe, classes: Sequence[str]) -> None:
    """Write a model's weights as safetensors, with the recipe and the classes in the header.

    Parameters
    ----------
    module : nn.Module
        The trained network.
    path : Path
        File to write; replaced in one step.
    recipe : Recipe
        How it was trained; says the type of the numbers.
    classes : sequence of str
        Names of the outputs.

    Raises
    ------
    InputError
        If a weight is too large for float16.
    """
    kind = getattr(torch, recipe.save_as)
    state = {
        key: (value.to(kind) if value.is_floating_point() else value).contiguous().cpu()
        for key, value in module.state_dict().items()
    }
    lost = [key for key, value in state.items() if not _finite(value)]
    if lost:
        raise InputError(f"{lost[0]} does not fit {recipe.save_as}: use save_as float32")
    # one entry, because safetensors writes several in any order
    facts = {"recipe": dataclasses.asdict(recipe), "classes": list(classes)}
    write_tensors(path, state, {"vizkit": json.dumps(facts)})


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())
