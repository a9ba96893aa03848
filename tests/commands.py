"""The command line: in this process, for most of a real one's time goes into importing, or real."""

import io
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest
import typer

from vizkit import cli

# what typer makes of the functions: to make it for every run takes most of a wrong option's time
COMMAND = typer.main.get_command(cli.app)


class Done(NamedTuple):
    """What is left of a command."""

    returncode: int
    stdout: str
    stderr: str


def run(*words, cwd=".", typed=""):
    """Run a command in this process; Python's own filters of warnings hold, as in a shell."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with (
        pytest.MonkeyPatch.context() as patch, chdir(cwd),
        redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(),
    ):  # fmt: skip
        patch.setattr(cli, "app", COMMAND)
        patch.setattr(sys, "argv", ["vizkit", *map(str, words)])
        patch.setattr(sys, "stdin", io.StringIO(typed))
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    out.flush(), err.flush()
    return Done(code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode())


def run_apart(*words, cwd=None):
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "vizkit", *map(str, words)],
        capture_output=True, text=True, cwd=cwd, check=False,
    )  # fmt: skip


def said(err):
    """Lines of what was said, without bars of tqdm."""
    lines = [line.rpartition("\r")[2] for line in err.splitlines()]
    return [line for line in lines if line.strip() and "it/s]" not in line and "?it" not in line]
