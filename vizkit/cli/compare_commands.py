"""Models beside each other."""

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
    require_folders,
    require_picture,
    require_place,
    split,
    targets_of,
)
from vizkit.cli.printing import print_table, say_left_out, write_csv


@app.command()
def compare(
    images: Annotated[list[Path], typer.Argument(help="Photos or folders.")],
    models: ModelsArg = "demo/vgg11,demo/vgg11_bn,demo/vgg19,demo/vgg19_bn,demo/vovnet19b",
    at: Annotated[str, typer.Option(help="stages, layers, or names separated by commas.")] = (
        "stages"
    ),
    role: Annotated[
        str, typer.Option(help="Of layers: conv, norm, act or pool; by default act.")
    ] = "",
    methods: Annotated[str, typer.Option(help="Separated by commas; see vizkit methods.")] = (
        "grad_cam"
    ),
    target: Annotated[
        str,
        typer.Option(help="Class names or indices, separated by commas, or top5; else common."),
    ] = "",
    same_pixels: Annotated[
        bool, typer.Option("--same-pixels", help="All see what the first model sees.")
    ] = False,
    show: Annotated[str, typer.Option(help="both, maps, energy or attributions.")] = "both",
    channels: Annotated[int, typer.Option(help="Channels of each feature map.")] = 9,
    scale: Annotated[str, typer.Option(help="panel, stage, model or all.")] = "stage",
    per_page: Annotated[int, typer.Option(help="Photos on a page.")] = 4,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A .pdf of all pages, or .png or .svg for each.")
    ] = Path("comparison.png"),
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    device: DeviceOption = "auto",
) -> None:
    """Draw models beside each other: a row per model, a column per stage.

    Models are joined on stride, or with --at layers on the names of VGG's layers. All explain the
    same class of a photo: the most probable on average.
    """
    from vizkit.comparing import compare as run
    from vizkit.plots import plot_comparison
    from vizkit.plots.comparison import check_options, pages
    from vizkit.plots.paging import save_pages

    require_folders(out)
    require_picture(out, theme)
    check_options(show, channels, scale, per_page, theme=theme)
    found = run(
        load_models(split(models), weights, device, classes),
        images,
        at if at in {"stages", "layers", "gates"} else split(at),
        role=role or None,
        methods=split(methods),
        targets=targets_of(target),
        same_pixels=same_pixels,
    )
    say_left_out(found.failed.itertuples(index=False))
    drawn = (
        plot_comparison(
            found, show=show, channels=channels, scale=scale, page=page, per_page=per_page,
            theme=theme,
        )
        for page in range(1, pages(found, per_page) + 1)
    )  # fmt: skip
    for path in save_pages(drawn, out):
        typer.echo(path)


@app.command()
def disagree(
    images: Annotated[list[Path], typer.Argument(help="Folders or photos.")],
    models: ModelsArg = "demo/vgg11,demo/vgg19",
    k: Annotated[int, typer.Option("-k", help="Photos to list.")] = 10,
    by: Annotated[str, typer.Option(help="Rank by divergence (of predictions) or maps.")] = (
        "divergence"
    ),
    maps: Annotated[bool, typer.Option(help="Compare maps, too, not predictions alone.")] = True,
    method: Annotated[str, typer.Option(help="Who makes the maps.")] = "grad_cam",
    labelled: Annotated[bool, typer.Option(help="Folders are the photos' classes.")] = True,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for pictures and tables.")
    ] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find the photos on which models disagree most, and count whose answers flip.

    Photos in a folder with one folder a class also tell who is right.
    """
    from vizkit.comparing import disagreement as run
    from vizkit.errors import choice, whole
    from vizkit.exporting import export_disagreement
    from vizkit.results.disagreement import RANKINGS

    whole("k", k)
    choice("ranking", by, RANKINGS)
    require_picture(None, theme)
    if out is not None:
        require_place(out)
    loaded = load_models(split(models), weights, device, classes)
    found = run(loaded, images, maps=maps, method=method, labelled=labelled)
    say_left_out(found.failed.itertuples(index=False))
    top = found.ranked(by).head(k)
    if out is not None:
        drawn = export_disagreement(found, loaded, images, out, by=by, method=method, theme=theme)
        for path in drawn:
            typer.echo(path, err=True)
    if found.labelled and not as_json:
        print_table(found.scores(), as_json)
        print_table(found.flip_counts(), as_json)
    print_table(top.drop(columns=["position", "score"]), as_json)


@app.command()
def similarity(
    images: Annotated[list[Path], typer.Argument(help="Photos or folders, four photos at least.")],
    models: ModelsArg = DEFAULT_MODEL,
    at: Annotated[str, typer.Option(help="stages, layers, or names separated by commas.")] = (
        "stages"
    ),
    kernel: Annotated[str, typer.Option(help="linear or rbf.")] = "linear",
    bandwidth: Annotated[
        float, typer.Option(help="Of rbf, as a fraction of the median distance.")
    ] = 1.0,
    batch_size: Annotated[int, typer.Option(help="Photos compared at a time.")] = 64,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV of all pairs.")] = None,
    picture: Annotated[Path | None, typer.Option(help="A .png, .pdf or .svg, too.")] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure how similar the feature maps of networks are (CKA).

    Prints where each tap of the first network has its like in the others; --json prints all pairs,
    --out writes them.
    """
    import pandas as pd

    from vizkit.cka import similarity as run
    from vizkit.plots import plot_similarity

    where = at if at in {"stages", "layers", "gates"} else split(at)
    require_folders(out, picture)
    require_picture(picture, theme)
    found = run(
        load_models(split(models), weights, device, classes),
        images,
        where,
        kernel=kernel,
        bandwidth=bandwidth,
        batch_size=batch_size,
    )
    say_left_out(found.failed.itertuples(index=False))
    for tap in found.constant:
        typer.echo(f"left out {tap}: its maps are the same for all photos", err=True)
    if out:
        write_csv(found.to_frame(), out)
    if picture:
        plot_similarity(found, theme=theme).save(picture)
    first, *others = found.models
    matches = [found.best_match(first, other) for other in others]
    alone = found.between(first, first).reset_index(names="tap")
    table = pd.concat(matches, ignore_index=True) if matches else alone
    print_table(found.to_frame() if as_json else table, as_json)
