"""Statistics of feature maps over photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    load_models,
    named,
    require_folders,
    require_picture,
    split,
    workers_of,
)
from vizkit.cli.printing import print_table, say_left_out, write_csv


@app.command()
def stats(
    images: Annotated[list[Path], typer.Argument(help="Photos or folders.")],
    models: ModelsArg = DEFAULT_MODEL,
    statistics: Annotated[
        str, typer.Option(help="Separated by commas, or all; see vizkit statistics.")
    ] = "",
    at: Annotated[
        str, typer.Option(help="stages, layers, gates, or names separated by commas.")
    ] = "stages",
    places: Annotated[
        int, typer.Option(help="Random places of each map for shape and covariance; 0: all.")
    ] = 100,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for tables and manifest.json.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that was stopped in --out.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Photos in one forward pass.")] = 16,
    workers: Annotated[
        int, typer.Option(help="Processes that read photos ahead; -1: chosen for you.")
    ] = -1,
    picture: Annotated[Path | None, typer.Option(help="A .png, .pdf or .svg, too.")] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Print statistics of every stage's feature maps over photos.

    Several processes or machines share a folder with
    torchrun --nproc-per-node N -m vizkit stats FOLDER ...
    """
    from vizkit.distributed import place, process_group
    from vizkit.plots import plot_statistics
    from vizkit.statistics import describe

    require_folders(picture)
    require_picture(picture, theme)
    where = at if at in {"stages", "layers", "gates"} else split(at)
    wanted: str | list[str] | None = named(statistics)
    if resume and out and not any(out.glob(".state-*")):
        typer.echo(f"nothing to go on with in {out}: starting anew", err=True)
    with process_group():
        loaded = load_models(split(models), weights, device, classes)
        try:
            found = describe(
                loaded,
                images,
                "all" if wanted == ["all"] else wanted,
                where,
                places=places or None,
                batch_size=batch_size,
                workers=workers_of(workers),
                out=out,
                resume=resume,
            )
        except KeyboardInterrupt:
            if out:
                typer.echo(f"\nthe sums so far are in {out}: go on with --resume", err=True)
            raise
        if place()[0] > 0:
            return
    say_left_out(found.failed.itertuples(index=False))
    for reason in dict.fromkeys(found.left_out.values()):
        names = ", ".join(name for name, why in found.left_out.items() if why == reason)
        typer.echo(f"left out {names}: {reason}", err=True)
    if picture:
        plot_statistics(found, wanted, theme=theme).save(picture)
    print_table(found.frame if as_json else found.wide(), as_json)


@app.command("statistics")
def list_statistics(as_json: JsonOption = False) -> None:
    """List the statistics that `vizkit stats` can compute, and what they mean."""
    import pandas as pd

    from vizkit.statistics import ACCUMULATORS, STATISTICS
    from vizkit.statistics.registry import DEFAULT

    rows = [
        {
            "name": name,
            "by default": "yes" if name in DEFAULT else "no",
            "places": "sampled" if ACCUMULATORS[name].sampled else "all",
            "what": what,
        }
        for name, what in STATISTICS.items()
    ]
    print_table(pd.DataFrame(rows), as_json)


@app.command()
def probe(
    folder: Annotated[Path, typer.Argument(help="One folder of photos a class.")],
    models: ModelsArg = DEFAULT_MODEL,
    at: Annotated[str, typer.Option(help="stages, layers, or names separated by commas.")] = (
        "stages"
    ),
    test: Annotated[
        Path | None, typer.Option(help="Folder to test on, instead of cross-validation.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Parts of the cross-validation.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV of the table.")] = None,
    picture: Annotated[Path | None, typer.Option(help="A .png, .pdf or .svg, too.")] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure how well a linear classifier reads the class at every stage.

    The row of stride 0 is the same classifier on an 8 x 8 thumbnail: no network.
    """
    from vizkit.plots import plot_probe
    from vizkit.statistics import linear_probe

    where = at if at in {"stages", "layers"} else split(at)
    loaded = load_models(split(models), weights, device, classes)
    require_folders(out, picture)
    require_picture(picture, theme)
    found = linear_probe(loaded, folder, where, folds=folds, test=test)
    say_left_out(found.failed.itertuples(index=False))
    if out:
        write_csv(found.frame, out)
    print_table(found.frame, as_json)
    if picture:
        plot_probe(found, theme=theme).save(picture)
