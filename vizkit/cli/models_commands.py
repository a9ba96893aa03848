"""Models: cost, list."""

from __future__ import annotations

from typing import Annotated

import typer

from vizkit.cli.app import app
from vizkit.cli.options import JsonOption, ModelArgument
from vizkit.cli.parsing import load_models, split
from vizkit.cli.printing import print_table


@app.command()
def profile(
    models: ModelArgument,
    size: Annotated[int, typer.Option(help="Input size in pixels; 0: the model's own.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Print parameters, GMACs, activations and receptive field of every stage."""
    import pandas as pd

    from vizkit.profiling import profile as run

    loaded = load_models([name for part in models for name in split(part)], "none", "cpu")
    print_table(
        pd.concat([run(model, size or None) for model in loaded], ignore_index=True), as_json
    )


@app.command("models")
def list_models(
    pattern: Annotated[str, typer.Argument(help="Such as '*vgg*' or 'demo/*'.")] = "*",
    as_json: JsonOption = False,
) -> None:
    """List the models that can be loaded, with parameters and published accuracies."""
    from vizkit.models import list_models as run

    print_table(run(pattern), as_json)
