"""Write a report, or make one again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vizkit.cli.app import app
from vizkit.cli.options import ClassesOption, DeviceOption, ModelsArg, WeightsOption
from vizkit.cli.parsing import load_models, split


@app.command()
def report(
    context: typer.Context,
    models: ModelsArg = "",
    images: Annotated[
        list[Path] | None, typer.Option("--images", "-i", help="A photo or folder; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("report"),
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
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
    quick: Annotated[
        bool, typer.Option("--quick", help="Light bitmaps alone, in a third of the time.")
    ] = False,
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
        _refuse_others(context)
        typer.echo(_again(manifest, out, images, device))
        return
    from vizkit.reports import report as write

    chosen = load_models(split(models), weights, device, classes) if models else None
    path = write(
        chosen, images or None, out, channels=channels, scale=scale or None, max_images=max_images,
        methods=split(methods), same_pixels=same_pixels, speed=speed, quick=quick,
    )  # fmt: skip
    typer.echo(path)


def _refuse_others(context: typer.Context) -> None:
    """Refuse options that a manifest decides."""
    from vizkit.errors import InputError

    allowed = {"manifest", "out", "images", "device"}
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [
        name
        for name, source in sources.items()
        if name not in allowed and source is not None and source.name == "COMMANDLINE"
    ]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"the manifest decides {names}: leave it out with --from")


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
