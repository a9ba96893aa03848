"""How often models are right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vizkit.cli.app import app
from vizkit.cli.options import (
    DEFAULT_MODEL,
    ClassesOption,
    DeviceOption,
    JsonOption,
    ModelsArg,
    TestSizeOption,
    WeightsOption,
)
from vizkit.cli.parsing import load_models, split, workers_of
from vizkit.cli.printing import print_table, say_left_out

if TYPE_CHECKING:
    from vizkit.results import Evaluation

# what a table on a screen has no room for; --json prints all
_WIDE = ("top1_error", "top5_error", "brier", "own", "published_source", "published_note")


@app.command()
def evaluate(
    *,
    named: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL", help="One or more; as --models.")
    ] = None,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Photos, with one folder a class.")
    ],
    models: ModelsArg = "",
    by_class: Annotated[bool, typer.Option("--by-class", help="One row a class.")] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Put published figures beside.")
    ] = False,
    among_folders: Annotated[
        bool,
        typer.Option(
            "--among-folders",
            help="Choose only among the classes that have a folder, not all outputs.",
        ),
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV with columns file and class, for photos in one flat folder."),
    ] = None,
    confused: Annotated[
        int, typer.Option(help="Print this many of each model's most frequent confusions.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for tables and pictures.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that was stopped in --out.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Photos in one forward pass.")] = 64,
    workers: Annotated[
        int, typer.Option(help="Processes that read photos ahead; -1: chosen for you.")
    ] = -1,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    weights: WeightsOption = "default",
    classes: ClassesOption = "",
    test_size: TestSizeOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure top-1 and top-5 accuracy, with the 95 % Wilson interval, and calibration.

    Several processes or machines share a folder with
    torchrun --nproc-per-node N -m vizkit evaluate MODEL FOLDER ...
    """
    from vizkit.distributed import place, process_group
    from vizkit.errors import whole
    from vizkit.evaluation import evaluated

    whole("confused", confused, 0)
    names = _named(named or [], folder, models)
    if resume and out and not any(out.glob(".state-*")):
        typer.echo(f"nothing to go on with in {out}: starting anew", err=True)
    with process_group():
        loaded = load_models(names, weights, device, classes, test_size)
        try:
            found = evaluated(
                loaded,
                folder,
                published=published,
                among="folders" if among_folders else "outputs",
                labels=labels,
                out=out,
                resume=resume,
                batch_size=batch_size,
                workers=workers_of(workers),
                theme=theme,
            )
        except KeyboardInterrupt:
            if out:
                typer.echo(f"\nwhat is known so far is in {out}: go on with --resume", err=True)
            raise
        if place()[0] == 0:
            _print(found, by_class, confused, as_json)


def _named(before: list[str], folder: Path, models: str) -> list[str]:
    """Find the models, which are named before the folder or with an option."""
    from vizkit.errors import InputError

    if before and models:
        raise InputError("name the models before the folder or with --models, not both")
    if not folder.is_dir():
        turned = [name for name in before if Path(name).is_dir()]
        hint = f"; the folder comes last, after the models: {turned[0]}" if turned else ""
        raise InputError(f"no such folder: {folder}{hint}")
    return split(",".join(before) or models or DEFAULT_MODEL)


def _print(found: Evaluation, by_class: bool, confused: int, as_json: bool) -> None:
    """Print the table; what was left out and what differs from publications goes to stderr."""
    say_left_out(found.failed.itertuples(index=False))
    if found.published is not None:
        notes = found.published.set_index("model")["published_note"]
        for model, note in notes[notes != ""].items():
            typer.echo(f"{model!s}: {note!s}", err=True)
    table = found.table(by_class)
    print_table(table if as_json else table.drop(columns=[*_WIDE], errors="ignore"), as_json)
    if confused and not as_json:
        typer.echo()
        print_table(found.most_confused(confused), as_json)
