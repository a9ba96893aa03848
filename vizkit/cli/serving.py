"""Notebooks as pages for readers, served by Voila: their output and widgets, without the code."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from vizkit.errors import InputError

# where Voila finds its templates
_TEMPLATES = Path(__file__).parent / "jupyter"


def serving(notebooks: Path) -> tuple[list[str], dict[str, str]]:
    """Say how to serve notebooks: on this machine only, with a token, and nothing from elsewhere.

    Parameters
    ----------
    notebooks : Path
        One, or a folder of them.

    Returns
    -------
    tuple of (list of str, dict of str to str)
        The command and its environment.

    Raises
    ------
    InputError
        If Voila is not installed.
    """
    if find_spec("voila") is None:
        raise InputError("pages without code need Voila: pip install voila")
    command = [
        *(sys.executable, "-m", "voila", str(notebooks)),
        *("--Voila.ip=127.0.0.1", "--token", "--template=vizkit"),
    ]
    paths = [str(_TEMPLATES), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    return command, os.environ | {"JUPYTER_PATH": os.pathsep.join(paths)}
