"""The program itself, which the commands hang on."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="vizkit",
    help="See inside image classifiers, stage by stage, and compare them fairly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
