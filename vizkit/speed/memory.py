"""Peak memory of forward passes.

On CUDA, PyTorch's allocator counts. On the CPU nobody counts everything: libraries such as oneDNN
take buffers of their own. There the operating system is asked, about a fresh process for each
setting: the most memory that it held while the network ran, less what it held before it built the
network. That is weights, inputs, maps and the libraries' buffers.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vizkit.errors import VizkitError
from vizkit.models import DEFAULT, Classifier, load
from vizkit.speed.settings import Setting
from vizkit.speed.timing import thread_limit

_PASSES = 2


class MemoryUnknownError(VizkitError):
    """Peak memory that cannot be measured here; the message says why."""


def weights_of(module: nn.Module) -> int:
    """Count the bytes of parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def peak_of(
    classifier: Classifier, setting: Setting, run: Callable[[], object], threads: int
) -> int:
    """Measure the most memory that a forward pass holds, weights included.

    Parameters
    ----------
    classifier : Classifier
        The network.
    setting : Setting
        How it runs.
    run : callable
        Runs it once, on a GPU in this process.
    threads : int
        CPU threads.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    MemoryUnknownError
        If nobody can tell.
    """
    if classifier.device.type == "cuda":
        return _on_cuda(classifier, setting, run)
    if classifier.device.type != "cpu":
        raise MemoryUnknownError(f"peak memory is not known on {classifier.device.type}")
    if setting.compiled:
        raise MemoryUnknownError("peak memory of compiled networks would be the compiler's")
    if classifier.recipe is None:
        raise MemoryUnknownError("peak memory needs a model that can be loaded by its name")
    return _in_a_process(classifier.recipe, setting, threads)


def _on_cuda(classifier: Classifier, setting: Setting, run: Callable[[], object]) -> int:
    """Ask the allocator; other networks on the GPU do not count, this one's weights do."""
    torch.cuda.synchronize(classifier.device)
    torch.cuda.reset_peak_memory_stats(classifier.device)
    before = torch.cuda.memory_allocated(classifier.device)
    run()
    torch.cuda.synchronize(classifier.device)
    taken = torch.cuda.max_memory_allocated(classifier.device) - before
    share = setting.dtype.itemsize / classifier.dtype.itemsize
    inputs = setting.batch * 3 * _pixels(classifier) * setting.dtype.itemsize
    return taken + round(weights_of(classifier.module) * share) + inputs


def _pixels(classifier: Classifier) -> int:
    height, width = getattr(classifier.transform, "size", (224, 224))
    return int(height) * int(width)


def _in_a_process(recipe: dict[str, Any], setting: Setting, threads: int) -> int:
    job = {"recipe": recipe, "setting": asdict(setting), "threads": threads}
    # -c and not -m: the package imports this file, and would have it twice
    code = "from vizkit.speed.memory import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(job)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MemoryUnknownError(f"peak memory: {reason}")
    return int(done.stdout.split()[-1])


def main() -> None:
    """Measure in this process, which is fresh, what the command line says; print bytes."""
    job = json.loads(sys.argv[1])
    setting, recipe = Setting(**job["setting"]), dict(job["recipe"])
    if recipe["weights"] == DEFAULT:
        # random weights take the same memory, and no network
        recipe["weights"] = None
    before = _held()
    classifier = load(recipe.pop("name"), device="cpu", **recipe)
    module = setting.apply(classifier.module)
    inputs = setting.inputs(getattr(classifier.transform, "size", (224, 224)), classifier.device)
    _forget_the_past()
    with thread_limit(job["threads"]), torch.no_grad():
        for _ in range(_PASSES):
            module(inputs)
    sys.stdout.write(f"{_most_held() - before}\n")


def _forget_the_past() -> None:
    """Give free memory back, and start the record of the peak anew, where Linux allows it."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _held() -> int:
    """Bytes of this process in memory; without /proc the most so far, which is about the same."""
    return _status("VmRSS:") or _most_held()


def _most_held() -> int:
    """Peak of the bytes in memory; without /proc it includes the building of the network."""
    known = _status("VmHWM:")
    if known:
        return known
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int:
    """Read a line of Linux' report on this process, in bytes; 0 where there is none."""
    file = Path("/proc/self/status")
    if not file.is_file():
        return 0
    lines = [line for line in file.read_text(encoding="ascii").splitlines() if name in line]
    return int(lines[0].split()[1]) * 1024 if lines else 0
