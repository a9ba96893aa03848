"""Networks, a photo, a browser, and a JupyterLab of its own."""

import json
import os

import pytest
from browsing import MODELS, SETTINGS, Lab, running, serve

import vizkit


@pytest.fixture(scope="session")
def models():
    return [vizkit.load(name, device="cpu") for name in MODELS]


@pytest.fixture(scope="session")
def photo():
    return vizkit.samples()["chelsea"]


@pytest.fixture(scope="module")
def hosts():
    """A browser may reach this machine's JupyterLab, too."""
    return "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    if os.environ.get("VIZKIT_REQUIRE_BROWSER") != "1":
        pytest.importorskip("jupyterlab")
    root = tmp_path_factory.mktemp("lab")
    folders = {name: root / name for name in ("config", "data", "runtime", "settings", "notebooks")}
    for folder in folders.values():
        folder.mkdir()
    for name, values in SETTINGS.items():
        file = folders["settings"] / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    process, log = serve(root, folders)
    try:
        info = running(process, folders["runtime"], log)
        yield Lab(f"http://127.0.0.1:{info['port']}", info["token"], folders["notebooks"])
    finally:
        process.terminate()
        process.wait(20)
