"""The one loop that times: everything in turn, in rounds, so that a slow minute is everybody's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from tqdm.auto import tqdm

from vizkit.interrupts import undivided


def interleaved(
    tasks: Sequence[Callable[[], object]],
    devices: Sequence[torch.device],
    runs: int,
    *,
    what: str = "rounds",
) -> list[list[float]]:
    """Time tasks in rounds, each once a round.

    Parameters
    ----------
    tasks : sequence of callable
        What to time.
    devices : sequence of torch.device
        Where each runs: a GPU is waited for.
    runs : int
        Rounds, after one that warms up and is not counted.
    what : str
        Name of the progress bar.

    Returns
    -------
    list of list of float
        Seconds of each task in each round.
    """
    times: list[list[float]] = [[] for _ in tasks]
    for repetition in tqdm(range(runs + 1), desc=what, leave=False):
        for task, device, own in zip(tasks, devices, times, strict=True):
            _wait(device)
            started = time.perf_counter()
            task()
            _wait(device)
            if repetition:
                own.append(time.perf_counter() - started)
    return times


@undivided
def thread_limit(count: int) -> Iterator[None]:
    """Let PyTorch use this many CPU threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
