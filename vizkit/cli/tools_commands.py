"""The notebooks, and how fast everything is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vizkit.cli.app import app
from vizkit.cli.options import DeviceOption, JsonOption, WeightsOption
from vizkit.cli.parsing import load_models, require_folders, require_picture, split
from vizkit.cli.printing import print_table, write_csv


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
            help="passes, or attribution or statistics beside their peers; or speed: throughput "
            "and memory."
        ),
    ] = "passes",
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model to run; of speed several, with commas.")
    ] = "demo/vgg16_bn",
    weights: WeightsOption = "default",
    device: DeviceOption = "auto",
    runs: Annotated[int, typer.Option(help="Interleaved repetitions.")] = 15,
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
        Path | None, typer.Option("--out", "-o", help="speed: CSV of the table.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="speed: a .png, .pdf or .svg, too.")] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    as_json: JsonOption = False,
) -> None:
    """Time vizkit against the plain passes, or beside other tools; or the models themselves."""
    from vizkit.benchmark import SUITES, benchmark
    from vizkit.errors import unknown

    if suite not in (*SUITES, "speed"):
        raise unknown("suite", suite, (*SUITES, "speed"))
    if suite != "speed":
        (loaded,) = load_models([model], weights, device)
        print_table(benchmark(loaded, suite, runs=runs, threads=threads), as_json)
        return
    from vizkit.plots import plot_speed
    from vizkit.speed import throughput

    require_folders(out, picture)
    require_picture(picture)
    table = throughput(
        load_models(split(model), weights, device),
        batches=_batches(batch), precisions=split(precision),
        layouts=split(layout), compiled=compiled, runs=runs, threads=threads, memory=memory,
    )  # fmt: skip
    if out:
        write_csv(table, out)
    if picture:
        plot_speed(table, theme=theme).save(picture)
    hidden = [] if as_json else ["runs", "threads"]
    print_table(table.drop(columns=hidden), as_json)
    if not as_json:
        typer.echo(
            f"\nmedians of {runs} rounds with quartiles, {threads} CPU thread(s); peak_mb "
            "includes weights; rows of timm are published figures of other hardware"
        )


def _batches(text: str) -> list[int]:
    """Read how many images a pass shall have, such as 1,8."""
    from vizkit.errors import InputError

    parts = split(text)
    if not parts or not all(part.isdigit() for part in parts):
        raise InputError(f"unknown batch {text!r}: write numbers such as 1,8")
    return [int(part) for part in parts]
