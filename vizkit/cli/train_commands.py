"""Training, and the recipes for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vizkit.cli.app import app
from vizkit.cli.options import DeviceOption, JsonOption
from vizkit.cli.parsing import phases_of, split
from vizkit.cli.printing import print_table, say_left_out

if TYPE_CHECKING:
    import pandas as pd

    from vizkit.training import Recipe


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Training photos, one folder a class.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; resumes there.")],
    val: Annotated[Path | None, typer.Option(help="Photos to measure accuracy on.")] = None,
    recipe: Annotated[str, typer.Option(help="A name from 'vizkit recipes' or a .toml file.")] = "",
    arch: Annotated[
        str | None,
        typer.Option("--model", "--arch", "-m", help="Any name from 'vizkit models'."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", "-w", help="default (pretrained), none, or a file.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Copy layers from ARCH=FILE.safetensors, by layer name.")
    ] = None,
    freeze: Annotated[
        str | None, typer.Option(help="Stages to leave as they are: stride1,stride2; or backbone.")
    ] = None,
    phases: Annotated[
        str | None, typer.Option(help="Image sizes x epochs, in order: 64x8,96x6.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs, where there is one phase.")] = None,
    size: Annotated[int | None, typer.Option(help="Image size; 0: the model's own.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Photos of a step, in all.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Parts of a step; saves memory.")] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="timm's name: adamw, sgd, momentum, ...")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--lr", "--learning-rate", help="Peak of the schedule.")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="On kernels and matrices.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest gradient norm; 0: any.")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="cosine, step, multistep, poly, tanh or warm_cosine.")
    ] = None,
    warmup_epochs: Annotated[
        float | None, typer.Option("--warmup", help="Epochs of linear warm-up.")
    ] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Between 0 and 1.")] = None,
    mixup: Annotated[float | None, typer.Option(help="Alpha; 0: none.")] = None,
    cutmix: Annotated[float | None, typer.Option(help="Alpha; 0: none.")] = None,
    min_crop: Annotated[float | None, typer.Option(help="Least share a crop keeps.")] = None,
    augment: Annotated[
        str | None, typer.Option(help="none, randaugment, autoaugment, trivialaugment or augmix.")
    ] = None,
    erase: Annotated[float | None, typer.Option(help="Share of photos with a gap.")] = None,
    ema: Annotated[
        float | None, typer.Option(help="Decay of the weights' moving average; 0: none.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    save_as: Annotated[str | None, typer.Option(help="float16 or float32.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of first weights, order and crops.")] = None,
    more: Annotated[
        list[str] | None, typer.Option("--set", help="Any other value: momentum=0.8. Repeatable.")
    ] = None,
    validate_every: Annotated[int, typer.Option(help="Measure after so many epochs.")] = 1,
    device: DeviceOption = "auto",
    workers: Annotated[int, typer.Option(help="Processes that decode photos.")] = 1,
) -> None:
    """Train a classifier, from nothing or from trained weights.

    Values come from a recipe (by default 'finetune' with --weights, else 'demo') and from the
    options here, which come first. Writes recipe.toml, log.csv, curve.png and model.safetensors.
    A run that was stopped goes on from its last finished epoch when called again. Several
    processes or machines share the work: torchrun --nproc-per-node 2 -m vizkit train ...
    """
    from vizkit.training import read_recipe
    from vizkit.training import train as run

    given = {
        "arch": arch, "weights": weights, "start": start,
        "freeze": None if freeze is None else split(freeze),
        "phases": None if phases is None else phases_of(phases), "epochs": epochs, "size": size,
        "batch_size": batch_size, "accumulate": accumulate, "optimizer": optimizer,
        "learning_rate": learning_rate, "weight_decay": weight_decay, "clip": clip,
        "schedule": schedule, "warmup_epochs": warmup_epochs, "label_smoothing": label_smoothing,
        "mixup": mixup, "cutmix": cutmix, "min_crop": min_crop, "augment": augment,
        "erase": erase, "ema": ema, "precision": precision, "save_as": save_as, "seed": seed,
    }  # fmt: skip
    changes = {name: value for name, value in given.items() if value is not None}
    source = recipe or ("demo" if weights in (None, "none") else "finetune")
    followed = read_recipe(source, {**_settings(more or []), **changes})
    try:
        log = run(
            followed, data, out,
            val=val, device=device, workers=workers, validate_every=validate_every,
        )  # fmt: skip
    except KeyboardInterrupt:
        if any(out.glob("*.pth")):
            typer.echo(f"\nthe epochs so far are in {out}: the same command goes on", err=True)
        raise
    if os.environ.get("RANK", "0") == "0":
        _finish(log, followed, out, val)


@app.command()
def recipes(as_json: JsonOption = False) -> None:
    """List the bundled recipes for training."""
    from vizkit.training import list_recipes

    print_table(list_recipes(), as_json)


def _settings(more: list[str]) -> dict[str, Any]:
    """Read values such as momentum=0.8, each as in TOML; words need no quotes."""
    import tomllib

    from vizkit.errors import InputError

    found: dict[str, Any] = {}
    for text in more:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"cannot read --set {text!r}: write name=value")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = value.strip()
    return found


def _finish(log: pd.DataFrame, recipe: Recipe, out: Path, val: Path | None) -> None:
    """Draw the curve; results to stdout, what there is to know to stderr."""
    from vizkit.plots import plot_training

    plot_training(log, title=recipe.arch).save(out / "curve.png")
    say_left_out(log.attrs["failed"].items())
    typer.echo(f"started from: {log.attrs['start']}", err=True)
    if recipe.ema:
        typer.echo("the file holds the moving average of the weights", err=True)
    file = out / "model.safetensors"
    typer.echo(f"to use it: {_use_of(recipe.arch, file, log.attrs['classes'], val)}", err=True)
    typer.echo(file)


def _use_of(arch: str, file: Path, classes: list[str], val: Path | None) -> str:
    """Say how to load the result: by the command line where that knows the classes."""
    from vizkit.errors import VizkitError
    from vizkit.models import load

    try:
        known = load(arch, weights=file, device="cpu").classes == tuple(classes)
    except VizkitError:
        known = False
    if known:
        return f"vizkit evaluate {val or 'PHOTOS'} --models {arch} --weights {file}"
    return f"vizkit.load({arch!r}, weights={str(file)!r}, classes={classes!r})"
