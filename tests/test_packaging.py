"""A wheel holds everything it needs, and works where there is no source tree."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_weights_data_and_types(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    files = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "vizkit").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert files <= set(names)
    assert {"vizkit/py.typed", "vizkit/zoo/recipes.json", "vizkit/zoo/MODEL_CARD.md"} <= files
    from vizkit import zoo

    shipped = [f"vizkit/zoo/weights/{name}.safetensors" for name in zoo.NAMES]
    assert set(shipped) <= set(names)
    assert sum((ROOT / name).stat().st_size for name in shipped) < 24e6


def test_the_wheel_works_elsewhere(wheel, tmp_path):
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target]
    done = subprocess.run([*install, wheel], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "import vizkit; print(vizkit.__file__)\n"
        "print(vizkit.predict('demo/vovnet19b', vizkit.samples()['rocket'])['class'][0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    place, answer = done.stdout.strip().splitlines()
    assert Path(place).is_relative_to(target)
    assert answer
