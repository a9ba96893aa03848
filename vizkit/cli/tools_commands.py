"""The notebooks, and how fast everything is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vizkit.cli.app import app
from vizkit.cli.options import DeviceOption, JsonOption, WeightsOption
from vizkit.cli.parsing import load_models, require_folders, require_picture, split


@app.command()
def lab(
    folder: Annotated[Path, typer.Argument(help="Folder of notebooks, or one.")] = Path(
        "notebooks"
    ),
    as_app: Annotated[
        bool, typer.Option("--app", help="Serve them with Voila: their output alone, no code.")
    ] = False,
) -> None:
    """Open the notebooks in JupyterLab, on this machine only, with a token."""
    import subprocess

    from vizkit.cli.serving import editing, serving
    from vizkit.errors import InputError

    if not folder.exists():
        raise InputError(f"no such folder or notebook: {folder}")
    command, environment = (serving if as_app else editing)(folder)
    raise typer.Exit(subprocess.run(command, check=False, env=environment).returncode)


@app.command()
def bench(
    suite: Annotated[
        str,
        typer.Argument(
            help="attribution, capture, import, occlusion, report, similarity or statistics, "
            "several with commas, or all, beside other tools; passes: vizkit alone; speed: "
            "throughput and memory; page: make a page of FILES."
        ),
    ] = "passes",
    files: Annotated[
        list[Path] | None, typer.Argument(help="page: what --out wrote earlier.")
    ] = None,
    model: Annotated[
        str, typer.Option("--models", "--model", "-m", help="Models, separated by commas.")
    ] = "demo/vgg16_bn",
    weights: WeightsOption = "default",
    device: DeviceOption = "auto",
    runs: Annotated[
        int | None,
        typer.Option(
            help="speed: rounds, by default 15; else of what takes a second, by default 3: "
            "faster tasks take part in more."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    batch: Annotated[str, typer.Option(help="speed: images in a pass.")] = "1,8",
    precision: Annotated[
        str, typer.Option(help="speed: types of weights and inputs.")
    ] = "float32,bfloat16",
    layout: Annotated[
        str, typer.Option(help="speed: how maps lie in memory.")
    ] = "contiguous,channels_last",
    compiled: Annotated[
        bool, typer.Option("--compile", help="speed: with torch.compile, too; takes minutes.")
    ] = False,
    memory: Annotated[bool, typer.Option(help="speed: measure peak memory.")] = True,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="JSON of everything; speed: a CSV; page: the .md."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="A .png, .pdf or .svg, too; of several suites one each, by name."),
    ] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    as_json: JsonOption = False,
) -> None:
    """Time vizkit beside the plain passes and other tools, and judge the results; or the models.

    all on vgg16,vgg19_bn,ese_vovnet19b_dw takes about fifteen minutes on a CPU.
    """
    from vizkit.cli import benching

    require_folders(out, picture)
    require_picture(picture)
    shown = benching.Shown(out, picture, theme, as_json)
    if suite == "page":
        typer.echo(benching.page(files or [], out))
        return
    names = benching.suites_of(suite, files or [])
    if suite != "speed":
        needed = split(model) if benching.need_models(names) else []
        classifiers = load_models(needed, weights, device) if needed else []
        benching.run_suites(classifiers, names, runs, threads, shown)
        return
    grid = {
        "batches": _batches(batch), "precisions": split(precision), "layouts": split(layout),
        "compiled": compiled, "memory": memory,
    }  # fmt: skip
    benching.run_speed(load_models(split(model), weights, device), grid, runs, threads, shown)


def _batches(text: str) -> list[int]:
    """Read how many images a pass shall have, such as 1,8."""
    from vizkit.errors import InputError

    parts = split(text)
    if not parts or not all(part.isdigit() for part in parts):
        raise InputError(f"unknown batch {text!r}: write numbers such as 1,8")
    return [int(part) for part in parts]
