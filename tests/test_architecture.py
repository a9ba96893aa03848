"""Imports go one way, and public names are not modules."""

import ast
from pathlib import Path
from types import ModuleType

import pytest

import vizkit

ROOT = Path(vizkit.__file__).parent
# a module may import from the rows above its own, and packages from within themselves
LAYERS = [
    {"errors", "interrupts"},
    {"results", "files", "modes", "distributed", "networks", "memory", "linear"},
    {"hooks", "storing"},
    {"images", "stages", "checkpoints", "receptive", "boxes", "running"},
    {"zoo", "growth"},
    {"models"},
    {"folding", "forward", "provenance", "labels"},
    {"streaming", "outcomes"},
    {"resuming"},
    {"attribution", "cka", "statistics", "prediction", "profiling", "speed", "training"},
    {"comparing", "wording"},
    {"plots", "judging"},
    {"show", "evaluation"},
    {"reports", "widgets", "benchmarks", "exporting"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(
    p
    for p in ROOT.rglob("*.py")
    if p.name not in {"__init__.py", "__main__.py"} or p.parent != ROOT
)


def imports(path: Path) -> set[str]:
    """vizkit's modules that a file imports when it is imported itself."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {path}"
            names = (
                [f"{node.module}.{a.name}" for a in node.names]
                if node.module == "vizkit"
                else [node.module or ""]
            )
            found |= {name.split(".")[1] for name in names if name.startswith("vizkit.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for other in imports(path) - {own}:
        assert LEVEL[other] < LEVEL[own], f"{own} imports {other}"
    if own == "plots":
        assert imports(path) <= {"plots", "results", "errors", "interrupts", "files"}


def test_public_names_are_not_modules():
    names = [name for name in vizkit.__all__ if name != "__version__"]
    assert all(not isinstance(getattr(vizkit, name), ModuleType) for name in names)
