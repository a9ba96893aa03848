"""The command line: parse, call the library, print. Results go to stdout, progress to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

    from vizkit.models import Classifier


app = typer.Typer(
    name="vizkit",
    help="See inside image classifiers, stage by stage, and compare them fairly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ModelsArg = Annotated[
    str,
    typer.Option(
        "--models", "-m", help="Names, separated by commas: demo/vgg11_bn,torchvision/vgg16."
    ),
]
ModelArgument = Annotated[
    list[str],
    typer.Argument(help="Models: demo/vgg16_bn, vgg16_bn, torchvision/vgg16."),
]
WeightsOption = Annotated[
    str,
    typer.Option("--weights", "-w", help="'default', 'none' (untrained), or a .pth/.safetensors."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON records instead of a table.")]
DEFAULT_MODEL = "demo/vgg16_bn"


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from vizkit import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def report(
    models: ModelsArg = "",
    images: Annotated[
        list[Path] | None, typer.Option("--images", "-i", help="A photo or folder; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("report"),
    weights: WeightsOption = "default",
    device: DeviceOption = "auto",
    methods: Annotated[str, typer.Option(help="Separated by commas; see vizkit methods.")] = (
        "grad_cam,guided_grad_cam,integrated_gradients"
    ),
    channels: Annotated[int, typer.Option(help="Channels of each feature map.")] = 9,
    scale: Annotated[
        str, typer.Option(help="panel, stage, model or all; by default chosen by kind.")
    ] = "",
    max_images: Annotated[int, typer.Option(help="Photos that get pictures of their own.")] = 4,
    same_pixels: Annotated[
        bool, typer.Option("--same-pixels", help="All see what the first model sees.")
    ] = False,
    speed: Annotated[bool, typer.Option(help="Measure how long the models take.")] = True,
    manifest: Annotated[
        Path | None,
        typer.Option("--from", help="Make a report again from its manifest.json; checked by hash."),
    ] = None,
) -> None:
    """Write a report that compares models: a folder with page, figures, tables and manifest.

    Without options: the nine bundled models on the bundled photos, offline. Photos in a folder
    with one folder a class also tell which answers are right.
    """
    if manifest is not None:
        typer.echo(_again(manifest, out, images, device))
        return
    from vizkit.reports import report as write

    chosen = _load(_split(models), weights, device) if models else None
    path = write(
        chosen, images or None, out, channels=channels, scale=scale or None, max_images=max_images,
        methods=_split(methods), same_pixels=same_pixels, speed=speed,
    )  # fmt: skip
    typer.echo(path)


def _again(manifest: Path, out: Path, images: list[Path] | None, device: str) -> Path:
    """Make a report again, and say whether it is the same."""
    from vizkit.reports import rebuild_report
    from vizkit.reports.rebuilding import changed_files, read_manifest

    file = manifest / "manifest.json" if manifest.is_dir() else manifest
    before = read_manifest(file)
    page = rebuild_report(file, out, images=images or None, device=device)
    changed = changed_files(before, page.parent)
    count = len(before["files"])
    if changed:
        names = ", ".join(changed[:5]) + (", …" if len(changed) > 5 else "")
        typer.echo(f"{len(changed)} of {count} files differ from the manifest: {names}", err=True)
    else:
        typer.echo(f"all {count} files are the same to the byte", err=True)
    return page


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Photos or folders.")],
    models: ModelsArg = DEFAULT_MODEL,
    k: Annotated[int, typer.Option("-k", help="Classes to list for each photo.")] = 5,
    weights: WeightsOption = "default",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Classify photos."""
    import pandas as pd

    from vizkit.prediction import predict as run

    tables = [
        run(model, images, k).assign(model=model.name)
        for model in _load(_split(models), weights, device)
    ]
    _print(pd.concat(tables, ignore_index=True), as_json, first="model")


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
    device: DeviceOption = "auto",
) -> None:
    """Write which places of photos matter for a class, at every stage.

    Into a folder: raw values as NAME.npz and a picture for each photo, one after the other.
    """
    from vizkit.exporting import export_attributions
    from vizkit.show import show_attributions

    loaded = _load(_split(models), weights, device)
    wanted = (_split(methods), _targets(target), _split(stages) or None)
    other = _class(against) if against else None
    drawing: dict[str, Any] = {"draw": draw, "scale": scale}
    if out.suffix.lower() in {".png", ".pdf", ".svg"}:
        picture = show_attributions(loaded, images, *wanted, against=other, theme=theme, **drawing)
        typer.echo(picture.save(out))
        return
    found = export_attributions(
        loaded, images, out, *wanted,
        against=other, theme=theme, pictures=pictures, drawing=drawing,
    )  # fmt: skip
    _say_left_out(found.failed.items())
    for path in found.files:
        typer.echo(path)


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
    _print(pd.DataFrame(rows), as_json)


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
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure how far methods' maps of each photo's own class can be trusted.

    Prints means by model, method and stage. A method that cannot explain a model is left out.
    """
    from vizkit.boxes import read_boxes
    from vizkit.judging import judge, means

    found = judge(
        _load(_split(models), weights, device),
        folder,
        None if methods == "all" else _split(methods),
        _split(stages) or None,
        boxes=read_boxes(boxes) if boxes else None,
        per_class=per_class,
        out=out,
        baseline=baseline,
        steps=steps,
        randomised=randomised,
    )
    _say_left_out(found.failed.items())
    for model, method, reason in found.left_out:
        typer.echo(f"left out {method} of {model}: {reason}", err=True)
    _print(means(found.frame), as_json)


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
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Print statistics of every stage's feature maps over photos.

    Several processes or machines share a folder with
    torchrun --nproc-per-node N -m vizkit stats FOLDER ...
    """
    from vizkit.plots import plot_statistics
    from vizkit.statistics import describe
    from vizkit.statistics.distributed import place, process_group

    _require_folders(picture)
    _require_picture(picture)
    where = at if at in {"stages", "layers", "gates"} else _split(at)
    wanted: str | list[str] | None = _split(statistics) or None
    if resume and out and not any(out.glob(".state-*")):
        typer.echo(f"nothing to go on with in {out}: starting anew", err=True)
    with process_group():
        loaded = _load(_split(models), weights, device)
        try:
            found = describe(
                loaded,
                images,
                "all" if wanted == ["all"] else wanted,
                where,
                places=places or None,
                batch_size=batch_size,
                workers=None if workers < 0 else workers,
                out=out,
                resume=resume,
            )
        except KeyboardInterrupt:
            if out:
                typer.echo(f"\nthe sums so far are in {out}: go on with --resume", err=True)
            raise
        if place()[0] > 0:
            return
    _say_left_out(found.failed.itertuples(index=False))
    for reason in dict.fromkeys(found.left_out.values()):
        names = ", ".join(name for name, why in found.left_out.items() if why == reason)
        typer.echo(f"left out {names}: {reason}", err=True)
    if picture:
        plot_statistics(found, wanted, theme=theme).save(picture)
    _print(found.frame if as_json else found.wide(), as_json)


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
    _print(pd.DataFrame(rows), as_json)


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
    device: DeviceOption = "auto",
) -> None:
    """Draw the parts of photos that excite channels most."""
    from vizkit.plots import plot_patches
    from vizkit.statistics import top_patches

    loaded = _load(_split(models), weights, device)
    _require_folders(out, csv)
    _require_picture(out)
    found = top_patches(loaded, images, _split(at), _numbers(channels), k)
    _say_left_out(found.failed.itertuples(index=False))
    typer.echo(plot_patches(found, theme=theme).save(out))
    if csv:
        typer.echo(_write_csv(found.frame, csv))


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
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Print how much of the input each map sees, in theory and in effect."""
    from vizkit.plots import plot_receptive_fields
    from vizkit.statistics import receptive_fields

    where = at if at in {"stages", "layers"} else _split(at)
    _require_folders(out)
    _require_picture(out)
    found = receptive_fields(_load(_split(models), weights, device), images, where)
    _say_left_out(found.failed.itertuples(index=False))
    if out:
        plot_receptive_fields(found, theme=theme).save(out)
    _print(found.frame, as_json)


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
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure how well a linear classifier reads the class at every stage.

    The row of stride 0 is the same classifier on an 8 x 8 thumbnail: no network.
    """
    from vizkit.plots import plot_probe
    from vizkit.statistics import linear_probe

    where = at if at in {"stages", "layers"} else _split(at)
    loaded = _load(_split(models), weights, device)
    _require_folders(out, picture)
    _require_picture(picture)
    found = linear_probe(loaded, folder, where, folds=folds, test=test)
    _say_left_out(found.failed.itertuples(index=False))
    if out:
        _write_csv(found.frame, out)
    _print(found.frame, as_json)
    if picture:
        plot_probe(found, theme=theme).save(picture)


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

    _require_folders(out)
    _require_picture(out)
    check_options(show, channels, scale, per_page, theme=theme)
    found = run(
        _load(_split(models), weights, device),
        images,
        at if at in {"stages", "layers", "gates"} else _split(at),
        role=role or None,
        methods=_split(methods),
        targets=_targets(target),
        same_pixels=same_pixels,
    )
    _say_left_out(found.failed.itertuples(index=False))
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
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find the photos on which models disagree most, and count whose answers flip.

    Photos in a folder with one folder a class also tell who is right.
    """
    from vizkit.comparing import disagreement as run
    from vizkit.errors import unknown, whole
    from vizkit.exporting import export_disagreement
    from vizkit.results.disagreement import RANKINGS

    whole("k", k)
    if by not in RANKINGS:
        raise unknown("ranking", by, RANKINGS)
    loaded = _load(_split(models), weights, device)
    found = run(loaded, images, maps=maps, method=method, labelled=labelled)
    _say_left_out(found.failed.itertuples(index=False))
    top = found.ranked(by).head(k)
    if out is not None:
        drawn = export_disagreement(found, loaded, images, out, by=by, method=method, theme=theme)
        for path in drawn:
            typer.echo(path, err=True)
    if found.labelled and not as_json:
        _print(found.scores(), as_json)
        _print(found.flip_counts(), as_json)
    _print(top.drop(columns=["position", "score"]), as_json)


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
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure how similar the feature maps of networks are (CKA).

    Prints where each tap of the first network has its like in the others; --json prints all pairs,
    --out writes them.
    """
    import pandas as pd

    from vizkit.comparing import similarity as run
    from vizkit.plots import plot_similarity

    where = at if at in {"stages", "layers", "gates"} else _split(at)
    _require_folders(out, picture)
    _require_picture(picture)
    found = run(
        _load(_split(models), weights, device),
        images,
        where,
        kernel=kernel,
        bandwidth=bandwidth,
        batch_size=batch_size,
    )
    _say_left_out(found.failed.itertuples(index=False))
    for tap in found.constant:
        typer.echo(f"left out {tap}: its maps are the same for all photos", err=True)
    if out:
        _write_csv(found.to_frame(), out)
    if picture:
        plot_similarity(found, theme=theme).save(picture)
    first, *others = found.models
    matches = [found.best_match(first, other) for other in others]
    alone = found.between(first, first).reset_index(names="tap")
    table = pd.concat(matches, ignore_index=True) if matches else alone
    _print(found.to_frame() if as_json else table, as_json)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="One folder of photos a class.")],
    models: ModelsArg = DEFAULT_MODEL,
    by_class: Annotated[bool, typer.Option("--by-class", help="One row a class.")] = False,
    weights: WeightsOption = "default",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure top-1 and top-5 accuracy, with the 95 % Wilson interval."""
    from vizkit.evaluation import evaluate as run

    _print(run(_load(_split(models), weights, device), folder, by_class), as_json)


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
        phases=_phases(phases),
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


@app.command()
def profile(
    models: ModelArgument,
    size: Annotated[int, typer.Option(help="Input size in pixels; 0: the model's own.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Print parameters, GMACs, activations and receptive field of every stage."""
    import pandas as pd

    from vizkit.profiling import profile as run

    loaded = _load([name for part in models for name in _split(part)], "none", "cpu")
    _print(pd.concat([run(model, size or None) for model in loaded], ignore_index=True), as_json)


@app.command("models")
def list_models(
    pattern: Annotated[str, typer.Argument(help="Such as '*vgg*' or 'demo/*'.")] = "*",
    as_json: JsonOption = False,
) -> None:
    """List the models that can be loaded, with parameters and published accuracies."""
    from vizkit.models import list_models as run

    _print(run(pattern), as_json)


@app.command()
def lab(
    folder: Annotated[Path, typer.Argument(help="Folder of notebooks.")] = Path("notebooks"),
) -> None:
    """Open the notebooks in JupyterLab, on this machine only, with a token."""
    import subprocess

    from vizkit.errors import InputError

    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}")
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", str(folder)]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command()
def bench(
    suite: Annotated[
        str, typer.Argument(help="passes, or attribution or statistics beside their peers.")
    ] = "passes",
    model: Annotated[str, typer.Option("--model", "-m", help="The model to run.")] = (
        "demo/vgg16_bn"
    ),
    weights: WeightsOption = "default",
    runs: Annotated[int, typer.Option(help="Interleaved repetitions.")] = 15,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Time vizkit against the plain passes, or beside other tools and ways, as ratios."""
    from vizkit.benchmark import benchmark

    (loaded,) = _load([model], weights, "auto")
    _print(benchmark(loaded, suite, runs=runs, threads=threads), as_json)


def main() -> None:
    """Run the command line: exit code 2 and one clear line on bad input."""
    from vizkit.errors import VizkitError

    try:
        app()
    except VizkitError as error:
        typer.echo(f"vizkit: {error}", err=True)
        sys.exit(2)
    except SystemExit as end:
        if end.code == 130:  # Ctrl-C
            typer.echo("\nvizkit: stopped", err=True)
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _load(names: list[str], weights: str, device: str) -> list[Classifier]:
    from vizkit.models import load

    chosen = None if weights == "none" else weights
    return [load(name, weights=chosen, device=device) for name in names]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _class(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _targets(text: str) -> int | str | list[int | str] | None:
    parts = [_class(part) for part in _split(text)]
    return parts[0] if len(parts) == 1 else parts or None


def _numbers(text: str) -> list[int] | None:
    from vizkit.errors import InputError

    try:
        return [int(part) for part in _split(text)] or None
    except ValueError:
        raise InputError(f"unknown channels {text!r}: write numbers such as 0,1,2") from None


def _say_left_out(reasons: Iterable[tuple[str, str]]) -> None:
    """Name the files that could not be read, and why."""
    for file, reason in reasons:
        typer.echo(f"left out {file}: {reason}", err=True)


def _require_folders(*files: Path | None) -> None:
    """Raise before the work begins if there is no folder to write its results to."""
    from vizkit.errors import InputError

    for file in files:
        if file and not file.parent.is_dir():
            raise InputError(f"no such folder: {file.parent}")


def _require_picture(file: Path | None) -> None:
    """Refuse a kind of picture that cannot be written, before the work begins."""
    from vizkit.errors import unknown

    kinds = ("png", "pdf", "svg")
    if file is not None and file.suffix.lower().lstrip(".") not in kinds:
        raise unknown("figure format", file.suffix.lstrip("."), kinds)


def _write_csv(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table in one step."""
    from vizkit.files import replacing

    _require_folders(path)
    with replacing(path) as partial:
        frame.to_csv(partial, index=False)
    return path


def _phases(text: str) -> tuple[tuple[int, int], ...]:
    from vizkit.errors import InputError

    try:
        pairs = [part.lower().split("x") for part in _split(text)]
        found = tuple((int(size), int(epochs)) for size, epochs in pairs)
    except ValueError:
        found = ()
    if not found or min(min(pair) for pair in found) < 1:
        raise InputError(f"unknown phases {text!r}: write sizes and epochs such as 64x8,96x6")
    return found


def _print(frame: pd.DataFrame, as_json: bool, first: str | None = None) -> None:
    if first:
        frame = frame[[first, *frame.columns.drop(first)]]
    if as_json:
        # pandas' own writer rounds
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        typer.echo(json.dumps(records, indent=1, default=lambda value: value.item()))
    else:
        typer.echo(frame.to_string(index=False, na_rep="–", float_format=_number))


def _number(value: float) -> str:
    """Write whole numbers whole and others with four digits; --json has all."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.4g}"
