"""The notebooks, and how fast everything is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vizkit.cli.app import app
from vizkit.cli.options import JsonOption, WeightsOption
from vizkit.cli.parsing import load_models
from vizkit.cli.printing import print_table


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

    (loaded,) = load_models([model], weights, "auto")
    print_table(benchmark(loaded, suite, runs=runs, threads=threads), as_json)
