"""Classify photos, embed them, and find what lies near."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import typer

from vizkit.cli.app import app
from vizkit.cli.options import (
    DEFAULT_MODEL,
    ClassesOption,
    DeviceOption,
    JsonOption,
    ModelsArg,
    PhotosArgument,
    TestSizeOption,
    WeightsOption,
)
from vizkit.cli.parsing import (
    load_models,
    photos_of,
    require_folders,
    require_picture,
    split,
    workers_of,
)
from vizkit.cli.printing import print_table, require_table, say_left_out, write_table
from vizkit.interrupts import surely


@app.command()
def predict(
    images: PhotosArgument,
    models: ModelsArg = DEFAULT_MODEL,
    k: Annotated[int, typer.Option("-k", help="Classes to list for each photo.")] = 5,
    synsets: Annotated[
        bool, typer.Option("--synsets", help="WordNet synsets of ImageNet's classes, too.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .csv, .json or .parquet instead.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Photos in one forward pass.")] = 16,
    workers: Annotated[
        int, typer.Option(help="Processes that read photos ahead; -1: chosen for you.")
    ] = -1,
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    test_size: TestSizeOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Classify photos: one, many, a folder, or those that another program names.

    find photos -name '*.jpg' | vizkit predict - --out predictions.parquet
    """
    from vizkit.prediction import predictions

    require_table(out)
    loaded = load_models(split(models), weights, device, classes, test_size)
    found, failed = predictions(
        loaded,
        photos_of(images),
        k,
        synsets=synsets,
        batch_size=batch_size,
        workers=workers_of(workers),
    )
    say_left_out(failed.items())
    if out:
        typer.echo(write_table(found, out))
    else:
        print_table(found, as_json)


@app.command()
def embed(
    images: PhotosArgument,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="A .npy (with a .csv of names), .csv, .json or .parquet."),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A name: demo/vgg16_bn, ese_vovnet19b_dw.")
    ] = DEFAULT_MODEL,
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    test_size: TestSizeOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Write what the last layer of a model classifies from, one vector for each photo."""
    import numpy as np

    from vizkit.errors import UnreadableWarning
    from vizkit.files import replacing
    from vizkit.prediction import embeddings

    array = out.suffix.lower() == ".npy"
    require_table(out.with_suffix(".csv") if array else out)
    (loaded,) = load_models([model], weights, device, classes, test_size)
    with surely(warnings.catch_warnings()):
        # all of them are told below
        warnings.simplefilter("ignore", UnreadableWarning)
        found = embeddings(loaded, photos_of(images))
    say_left_out(found.failed.items())
    if array:
        with replacing(out) as partial, partial.open("wb") as file:
            # given the file itself, NumPy does not notice that a full disk cuts it off
            np.save(SimpleNamespace(write=file.write), found.vectors.numpy())
        typer.echo(out)
        typer.echo(write_table(found.index(), out.with_suffix(".csv")))
    else:
        typer.echo(write_table(found.to_frame(), out))


@app.command()
def neighbours(
    images: PhotosArgument,
    models: ModelsArg = DEFAULT_MODEL,
    queries: Annotated[
        list[str] | None,
        typer.Option("--query", "-q", help="Photos or folders; by default every one."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Neighbours of each photo.")] = 5,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .csv, .json or .parquet instead.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="A .png, .pdf or .svg, too.")] = None,
    rows: Annotated[int, typer.Option(help="Photos to draw.")] = 8,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    test_size: TestSizeOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find the photos that lie nearest to others in the embeddings of models."""
    from vizkit.errors import whole
    from vizkit.prediction import neighbours as run
    from vizkit.show import show_neighbours

    require_table(out)
    require_folders(picture)
    require_picture(picture, theme)
    whole("rows", rows)
    loaded = load_models(split(models), weights, device, classes, test_size)
    photos = photos_of(images)
    if picture:
        drawn = show_neighbours(loaded, photos, queries or None, k, rows=rows, theme=theme)
        drawn.save(picture)
        found = drawn.to_frame()
    else:
        found = run(loaded, photos, queries or None, k)
    if out:
        typer.echo(write_table(found, out))
    else:
        print_table(found, as_json)
