"""Training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vizkit.cli.app import app
from vizkit.cli.options import DeviceOption
from vizkit.cli.parsing import phases_of


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Training photos, one folder a class.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; resumes there.")],
    arch: Annotated[str, typer.Option(help="demo/... or a timm architecture.")] = "demo/vgg11_bn",
    val: Annotated[Path | None, typer.Option(help="Photos to measure accuracy on.")] = None,
    start: Annotated[
        str, typer.Option(help="Copy layers from ARCH=FILE.safetensors, by layer name.")
    ] = "",
    phases: Annotated[
        str, typer.Option(help="Image size x epochs, in order (progressive resizing).")
    ] = "64x8,96x6,128x4",
    batch_size: Annotated[int, typer.Option(help="Photos per step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak of warm-up and cosine.")] = 2e-3,
    weight_decay: Annotated[float, typer.Option(help="AdamW's, on weight matrices.")] = 0.05,
    label_smoothing: Annotated[float, typer.Option(help="Between 0 and 1.")] = 0.1,
    min_crop: Annotated[float, typer.Option(help="Smallest share a random crop keeps.")] = 0.35,
    mixed_precision: Annotated[bool, typer.Option(help="bfloat16 forward pass.")] = True,
    seed: Annotated[int, typer.Option(help="Of initialisation, order and crops.")] = 0,
    device: DeviceOption = "auto",
    workers: Annotated[int, typer.Option(help="Processes that decode photos.")] = 1,
) -> None:
    """Train a classifier; writes log.csv, curve.png and model.safetensors, and can be resumed.

    A run that was stopped goes on from its last finished epoch when called again.
    """
    from vizkit.plots import plot_training
    from vizkit.training import Recipe
    from vizkit.training import train as run

    recipe = Recipe(
        arch=arch,
        start=start,
        phases=phases_of(phases),
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        min_crop=min_crop,
        mixed_precision=mixed_precision,
        seed=seed,
    )
    log = run(recipe, data, out, val=val, device=device, workers=workers)
    plot_training(log, title=arch).save(out / "curve.png")
    typer.echo(out / "model.safetensors")
