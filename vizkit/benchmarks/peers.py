"""Which other tools are there, and what to say of those that are not."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

# tool, as people know it, and the module to import
PEERS = {
    "captum": "captum",
    "timm": "timm",
    "torchvision": "torchvision",
    "grad-cam": "pytorch_grad_cam",
    "torchcam": "torchcam",
    "torchlens": "torchlens",
    "torch_cka": "torch_cka",
}
INSTALL = "pip install 'vizkit[bench]'"
_OTHERS = ("vizkit", "torch", "numpy")


def has(tool: str) -> bool:
    """Tell whether a tool is installed."""
    return find_spec(PEERS[tool]) is not None


def missing(tools: Sequence[str]) -> list[str]:
    """List the tools that are not installed."""
    return [tool for tool in tools if not has(tool)]


def missing_words(tools: Sequence[str]) -> str:
    """Say that tools are left out, and how to install them; empty for none."""
    if not tools:
        return ""
    are = "is not installed and is" if len(tools) == 1 else "are not installed and are"
    return f"{', '.join(tools)} {are} left out: {INSTALL}"


def versions() -> dict[str, str]:
    """Find the version of every tool that takes part."""
    found = {}
    for tool in (*_OTHERS, *PEERS):
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found
