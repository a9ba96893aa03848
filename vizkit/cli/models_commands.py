"""Models: cost, list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vizkit.cli.app import app
from vizkit.cli.options import JsonOption, ModelArgument
from vizkit.cli.parsing import load_models, split
from vizkit.cli.printing import print_table, say_left_out

if TYPE_CHECKING:
    import pandas as pd

# pixels of a side, as far as anything can still be counted
_MOST = 100_000


@app.command()
def profile(
    models: ModelArgument,
    size: Annotated[int, typer.Option(help="Input size in pixels; 0: the model's own.")] = 0,
    pages: Annotated[
        bool,
        typer.Option("--pages", help="Beside what the models' own pages print, as they count."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print parameters, GMACs, activations and receptive field of every stage."""
    import pandas as pd

    from vizkit.errors import InputError, whole
    from vizkit.profiling import model_table
    from vizkit.profiling import profile as run

    names = [name for part in models for name in split(part)]
    whole("size", size, 0, _MOST)
    if pages and size:
        raise InputError("--pages counts at the sizes that the pages print: leave --size")
    if pages:
        _print_pages(model_table(names), as_json)
        return
    loaded = load_models(names, "none", "cpu")
    print_table(
        pd.concat([run(model, size or None) for model in loaded], ignore_index=True), as_json
    )


@app.command("models")
def list_models(
    pattern: Annotated[str, typer.Argument(help="Such as '*vgg*' or 'demo/*'.")] = "*",
    counting: Annotated[
        bool,
        typer.Option("--count", help="Count parameters, GMACs and activations, too (up to 100)."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the models that can be loaded, with parameters and published accuracies."""
    from vizkit.errors import InputError, shown
    from vizkit.models import list_models as run

    listed = run(pattern)
    if listed.empty:
        raise InputError(f"no model is called {shown(pattern)}: write names such as '*vgg*'")
    if counting:
        from vizkit.profiling import count_listed

        listed, left_out = count_listed(listed)
        say_left_out(left_out)
    print_table(listed, as_json)


def _print_pages(table: pd.DataFrame, as_json: bool) -> None:
    """Print every digit, and below the table how each page counts."""
    if as_json:
        print_table(table, as_json)
        return
    shown = table.drop(columns="convention")
    for name in shown.select_dtypes("float"):
        shown[name] = shown[name].map("{:.9g}".format).replace("nan", "–")
    shown["agrees"] = shown["agrees"].map({True: "yes", False: "no"}).fillna("–")
    print_table(shown, as_json)
    typer.echo("\nparams and activations in 1e6, gmacs in 1e9; top1 and top5 are published")
    for page, words in table.groupby("page", sort=False)["convention"].first().items():
        typer.echo(f"{page}: {words}")
