"""What it costs to import a package, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import torch

from vizkit.benchmarks.peers import PEERS, has
from vizkit.benchmarks.registry import Effort, suite
from vizkit.benchmarks.rounds import timed
from vizkit.benchmarks.tasks import OWN, Goal, Outcome, Task
from vizkit.errors import VizkitError

BARE = "bare Python"
_PACKAGES = {OWN: "vizkit", "numpy": "numpy", "torch": "torch"}


@suite(
    "import",
    label="Import",
    peers=("captum", "grad-cam", "torchcam", "torchlens", "torch_cka"),
    by_model=False,
)
def import_suite(_: None, effort: Effort) -> list[Outcome]:
    """Start Python and import one package; vizkit's names load what they need when first used."""
    others = {tool: module for tool, module in PEERS.items() if has(tool)}
    tasks = [Task(BARE, "Python", partial(python, "pass", effort.threads), BARE)]
    tasks += [
        Task(
            "import", tool, partial(python, f"import {module}", effort.threads), BARE,
            goal=Goal("extra", 25) if tool == OWN else None,
        )
        for tool, module in (_PACKAGES | others).items()
    ]  # fmt: skip
    return timed(tasks, torch.device("cpu"), effort, "import")


def python(code: str, threads: int, *words: str) -> str:
    """Run some Python in a process of its own.

    Parameters
    ----------
    code : str
        What to run.
    threads : int
        CPU threads that it may use.
    *words : str
        Arguments of the program.

    Returns
    -------
    str
        What it printed.

    Raises
    ------
    VizkitError
        If it failed, with the last line that it said.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *words],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    if done.returncode:
        raise VizkitError((done.stderr.strip().splitlines() or ["it failed"])[-1])
    return done.stdout
