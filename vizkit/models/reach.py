"""Whether a host answers, asked before anything is downloaded."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import torch

from vizkit.errors import WeightsError

REACH_SECONDS = 3.0


def reachable(url: str, seconds: float = REACH_SECONDS) -> bool:
    """Whether a host answers, through a proxy where one is set, within a few seconds.

    Parameters
    ----------
    url : str
        Any address on the host.
    seconds : float
        How long to wait, name look-up included.

    Returns
    -------
    bool
        True if a connection was made.
    """
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    answers: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname or "", port), timeout=seconds).close()
        except OSError:
            answers.append(False)
        else:
            answers.append(True)

    # a look-up of a name has no time limit of its own, so it waits in a thread
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers and answers[0])


def cached_file(url: str) -> Path:
    """Where torch.hub keeps what it downloads.

    Parameters
    ----------
    url : str
        The file's address.

    Returns
    -------
    Path
        Whether there or not.
    """
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def require_cached(name: str, url: str) -> None:
    """Raise at once if weights are neither in torch.hub's cache nor within reach.

    Parameters
    ----------
    name : str
        The model's.
    url : str
        The file's address.

    Raises
    ------
    WeightsError
        Which says what to do.
    """
    file = cached_file(url)
    if not file.is_file() and not reachable(url):
        raise unreachable(name, str(file.parent))


def unreachable(name: str, folder: str) -> WeightsError:
    """Say what to do where weights cannot be had.

    Parameters
    ----------
    name : str
        The model's.
    folder : str
        The cache.

    Returns
    -------
    WeightsError
        To raise.
    """
    return WeightsError(
        f"the pretrained weights of {name!r} are not in the cache ({folder}) and their host "
        f"cannot be reached. Either copy the cache folder from a machine that has them, or use "
        f"load({name!r}, weights='file.pth' or '.safetensors'), load({name!r}, weights=None) "
        f"for an untrained network, or a bundled model such as load('demo/vgg16_bn')."
    )
