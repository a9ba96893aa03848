"""Notebooks in JupyterLab, or as pages for readers: their output and widgets, without the code."""

from __future__ import annotations

import os
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path

from vizkit.errors import InputError

# where Voila finds its templates
_TEMPLATES = Path(__file__).parent / "jupyter"
# where servers are told their token: in their command, everybody on the machine could read it
_TOKEN = "JUPYTER_TOKEN"
# given as options, which no configuration overrules; not even one for the usual kind of provider
_LAB = f"""import os, sys
from jupyterlab.labapp import main
token = os.environ.pop("{_TOKEN}")
print("Token, where a page asks for one:", token, file=sys.stderr)
names = ("IdentityProvider", "PasswordIdentityProvider")
sys.exit(main([*sys.argv[1:], *(f"--{{name}}.token={{token}}" for name in names)]))"""


# Voila keeps a token that it is given to itself; who started it must know it
_PAGES = f"""import os, sys
from voila.app import Voila
token = os.environ.pop("{_TOKEN}")
class Pages(Voila):
    @property
    def display_url(self):
        return super().display_url.replace("token=...", "token=" + token)
sys.exit(Pages.launch_instance([*sys.argv[1:], "--Voila.token=" + token]))"""


def editing(notebooks: Path) -> tuple[list[str], dict[str, str]]:
    """Say how to open notebooks in JupyterLab: on this machine only, with a token.

    Parameters
    ----------
    notebooks : Path
        One, or a folder of them.

    Returns
    -------
    tuple of (list of str, dict of str to str)
        The command and its environment.
    """
    command = [sys.executable, "-c", _LAB, "--ServerApp.ip=127.0.0.1", str(notebooks)]
    return command, os.environ | _token()


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
        If there is no notebook, or Voila is not installed.
    """
    if notebooks.is_file() and notebooks.suffix != ".ipynb":
        raise InputError(f"not a notebook: {notebooks}; a page is made of an .ipynb file")
    if find_spec("voila") is None:
        raise InputError("pages without code need Voila: pip install voila")
    command = [
        *(sys.executable, "-c", _PAGES, str(notebooks)),
        *("--Voila.ip=127.0.0.1", "--template=vizkit"),
    ]
    paths = [str(_TEMPLATES), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    return command, os.environ | _token() | {"JUPYTER_PATH": os.pathsep.join(paths)}


def _token() -> dict[str, str]:
    return {_TOKEN: os.environ.get(_TOKEN) or secrets.token_hex(24)}
