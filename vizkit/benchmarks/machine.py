"""What a reader must know of the machine: kinds and sizes, no names of hosts, users or files."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

_CPUINFO = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """Describe this machine.

    Returns
    -------
    dict
        processor, cores, memory_gb (None where it cannot be told), system, python, and
        accelerator where there is one.
    """
    found = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    if torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name()
    return found


def machine_words(facts: dict[str, Any]) -> str:
    """Write `machine`'s facts as one line."""
    parts = [f"{facts['processor']}, {facts['cores']} cores"]
    if facts.get("memory_gb"):
        parts.append(f"{facts['memory_gb']} GB")
    parts += [facts["system"], f"Python {facts['python']}"]
    return ", ".join([*parts, *filter(None, [facts.get("accelerator")])])


def _processor() -> str:
    with suppress(OSError):
        named = re.search(r"^model name\s*:\s*(.+)$", _CPUINFO.read_text("utf-8"), re.MULTILINE)
        if named:
            return named[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    # other systems do not know these names
    except (AttributeError, ValueError, OSError):
        return None
    return round(pages * size / 2**30)
