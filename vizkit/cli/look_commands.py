"""Look at photos through models: attributions, patches, fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vizkit.cli.app import app
from vizkit.cli.options import (
    DEFAULT_MODEL,
    ClassesOption,
    DeviceOption,
    JsonOption,
    ModelsArg,
    WeightsOption,
)
from vizkit.cli.parsing import (
    class_of,
    load_models,
    named,
    numbers_of,
    require_folders,
    require_picture,
    require_place,
    split,
    targets_of,
)
from vizkit.cli.printing import print_table, say_left_out, write_csv

_PICTURES = (".png", ".pdf", ".svg")


@app.command()
def attribute(
    images: Annotated[list[Path], typer.Argument(help="Photos or folders.")],
    models: ModelsArg = DEFAULT_MODEL,
    methods: Annotated[str, typer.Option(help="Separated by commas; see vizkit methods.")] = (
        "grad_cam"
    ),
    target: Annotated[
        str,
        typer.Option(help="Class names or indices, separated by commas, or top5; else predicted."),
    ] = "",
    against: Annotated[str, typer.Option(help="A class to explain the target against.")] = "",
    stages: Annotated[str, typer.Option(help="Separated by commas; by default every one.")] = "",
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="A .png, .pdf or .svg, or a folder for .npz and .png."),
    ] = Path("attributions.png"),
    draw: Annotated[str, typer.Option(help="overlay, contours or map.")] = "overlay",
    scale: Annotated[str, typer.Option(help="panel, stage, model or all.")] = "panel",
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    pictures: Annotated[bool, typer.Option(help="Into a folder: pictures, too.")] = True,
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    device: DeviceOption = "auto",
) -> None:
    """Write which places of photos matter for a class, at every stage.

    Into a folder: raw values as NAME.npz and a picture for each photo, one after the other.
    """
    from vizkit.exporting import export_attributions
    from vizkit.show import show_attributions

    _require_place(out)
    loaded = load_models(split(models), weights, device, classes)
    wanted = (split(methods), targets_of(target), named(stages))
    other = class_of(against) if against else None
    drawing: dict[str, Any] = {"draw": draw, "scale": scale}
    if out.suffix.lower() in _PICTURES and not out.is_dir():
        picture = show_attributions(loaded, images, *wanted, against=other, theme=theme, **drawing)
        typer.echo(picture.save(out))
        return
    found = export_attributions(
        loaded, images, out, *wanted,
        against=other, theme=theme, pictures=pictures, drawing=drawing,
    )  # fmt: skip
    say_left_out(found.failed.items())
    for path in found.files:
        typer.echo(path)


def _require_place(out: Path) -> None:
    """Refuse a picture of a kind that is not drawn, which would become a folder, or go nowhere."""
    from vizkit.errors import choice
    from vizkit.images import EXTENSIONS

    if out.suffix.lower() in {*EXTENSIONS, *_PICTURES} and not out.is_dir():
        choice("figure format", out.suffix.lower(), _PICTURES)
        require_folders(out)
    else:
        require_place(out)


@app.command("methods")
def list_methods(as_json: JsonOption = False) -> None:
    """List the attribution methods, what they do, their options and papers."""
    import pandas as pd

    from vizkit.attribution import METHODS

    rows = [
        {
            "name": each.name,
            "level": each.level,
            "options": ", ".join(f"{name}={value}" for name, value in each.options.items()),
            "paper": each.paper,
            "summary": each.summary,
        }
        for each in METHODS.values()
    ]
    print_table(pd.DataFrame(rows), as_json)


@app.command()
def faithfulness(
    folder: Annotated[Path, typer.Argument(help="One folder of photos a class.")],
    models: ModelsArg = DEFAULT_MODEL,
    methods: Annotated[str, typer.Option(help="Separated by commas, or all.")] = "all",
    stages: Annotated[str, typer.Option(help="Separated by commas; by default every one.")] = "",
    boxes: Annotated[
        Path | None, typer.Option(help="CSV: file, x0, y0, x1, y1 in pixels of the photos.")
    ] = None,
    per_class: Annotated[int, typer.Option(help="Photos of each class; 0: all.")] = 0,
    baseline: Annotated[str, typer.Option(help="blur, mean, black or white.")] = "blur",
    steps: Annotated[int, typer.Option(help="Points of each curve.")] = 28,
    randomised: Annotated[bool, typer.Option(help="Explain random weights, too.")] = True,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV of every map.")] = None,
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure how far methods' maps of each photo's own class can be trusted.

    Prints means by model, method and stage. A method that cannot explain a model is left out.
    """
    from vizkit.boxes import read_boxes
    from vizkit.judging import judge, means

    require_folders(out)
    found = judge(
        load_models(split(models), weights, device, classes),
        folder,
        None if methods == "all" else split(methods),
        named(stages),
        boxes=read_boxes(boxes) if boxes else None,
        per_class=per_class,
        out=out,
        baseline=baseline,
        steps=steps,
        randomised=randomised,
    )
    say_left_out(found.failed.items())
    for model, method, reason in found.left_out:
        typer.echo(f"left out {method} of {model}: {reason}", err=True)
    print_table(means(found.frame), as_json)


@app.command()
def patches(
    images: Annotated[list[Path], typer.Argument(help="Folders or photos to search.")],
    models: ModelsArg = DEFAULT_MODEL,
    at: Annotated[str, typer.Option(help="Stages or layers, separated by commas.")] = "stride8",
    channels: Annotated[
        str, typer.Option(help="Numbers, separated by commas; by default the 8 liveliest.")
    ] = "",
    k: Annotated[int, typer.Option("-k", help="Patches for each channel.")] = 9,
    out: Annotated[Path, typer.Option("--out", "-o", help="A .png, .pdf or .svg.")] = Path(
        "patches.png"
    ),
    csv: Annotated[Path | None, typer.Option(help="Table of the patches, too.")] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    device: DeviceOption = "auto",
) -> None:
    """Draw the parts of photos that excite channels most."""
    from vizkit.plots import plot_patches
    from vizkit.statistics import top_patches

    loaded = load_models(split(models), weights, device, classes)
    require_folders(out, csv)
    require_picture(out, theme)
    found = top_patches(loaded, images, split(at), numbers_of(channels), k)
    say_left_out(found.failed.itertuples(index=False))
    typer.echo(plot_patches(found, theme=theme).save(out))
    if csv:
        typer.echo(write_csv(found.frame, csv))


@app.command()
def fields(
    images: Annotated[list[Path], typer.Argument(help="Photos or folders.")],
    models: ModelsArg = DEFAULT_MODEL,
    at: Annotated[str, typer.Option(help="stages, layers, or names separated by commas.")] = (
        "stages"
    ),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Draw a .png, .pdf or .svg, too.")
    ] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Print how much of the input each map sees, in theory and in effect."""
    from vizkit.plots import plot_receptive_fields
    from vizkit.statistics import receptive_fields

    where = at if at in {"stages", "layers"} else split(at)
    require_folders(out)
    require_picture(out, theme)
    found = receptive_fields(load_models(split(models), weights, device, classes), images, where)
    say_left_out(found.failed.itertuples(index=False))
    if out:
        plot_receptive_fields(found, theme=theme).save(out)
    print_table(found.frame, as_json)
