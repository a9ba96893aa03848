"""How often models are right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vizkit.cli.app import app
from vizkit.cli.options import DEFAULT_MODEL, DeviceOption, JsonOption, ModelsArg, WeightsOption
from vizkit.cli.parsing import load_models, split
from vizkit.cli.printing import print_table


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

    print_table(run(load_models(split(models), weights, device), folder, by_class), as_json)
