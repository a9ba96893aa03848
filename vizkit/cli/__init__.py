"""The command line: parse, call the library, print. Results to stdout, progress to stderr."""

from __future__ import annotations

import io
import sys
import warnings
from typing import Annotated, TextIO

import typer

# isort: off
# importing a file adds its commands, in the order in which help lists them
from vizkit.cli import report_commands  # noqa: F401
from vizkit.cli import predict_commands  # noqa: F401
from vizkit.cli import look_commands  # noqa: F401
from vizkit.cli import compare_commands  # noqa: F401
from vizkit.cli import count_commands  # noqa: F401
from vizkit.cli import evaluate_commands  # noqa: F401
from vizkit.cli import train_commands  # noqa: F401
from vizkit.cli import models_commands  # noqa: F401
from vizkit.cli import tools_commands  # noqa: F401
from vizkit.cli.app import app
# isort: on

__all__ = ["app", "main"]


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


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - Python gives it
    line: str | None = None,
) -> None:
    """Tell vizkit's own warnings as one line, others as Python does."""
    if category.__module__ == "vizkit.errors":
        text = f"vizkit: {message}\n"
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
    typer.echo(text, err=True, nl=False)


def main() -> None:
    """Run the command line: exit code 2 and one clear line on bad input."""
    from vizkit.errors import VizkitError

    warnings.showwarning = _warn
    _write_anything()
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


def _write_anything() -> None:
    """Escape what a terminal or a pipe has no letter for, and names of files that are no text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
