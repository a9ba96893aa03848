"""The explorer as a page without code, served by Voila: pictures, fields, and nothing from away."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import nbformat
import numpy as np
import pytest
from browsing import Watch, pixels, places
from matplotlib import colormaps

import vizkit
from vizkit.cli.serving import serving

CELL = """import torch, vizkit
torch.set_num_threads(1)
vizkit.explore(["demo/vgg11", "demo/vovnet19b"])"""
ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+/)\?token=(\w+)")
# what a kernel sends when a cell or a widget's callback fails
TROUBLE = re.compile(rb'"msg_type": ?"error"')


@contextmanager
def served(root):
    """Serve the notebook of a folder as readers do; yield the address and the token."""
    cell = nbformat.v4.new_code_cell(CELL)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, root / "app.ipynb")
    log = root / "log"
    # nobody's own browser shall open
    environment = os.environ | places(root) | {"BROWSER": "true"}
    command = [sys.executable, "-m", "vizkit", "lab", "app.ipynb", "--app"]
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield listening(process, log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def listening(process, log, seconds=60):
    end = time.monotonic() + seconds
    while not (found := ADDRESS.search(log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    return found[1], found[2]


@pytest.fixture(scope="module")
def app(browser, tmp_path_factory):
    if os.environ.get("VIZKIT_REQUIRE_BROWSER") != "1":
        pytest.importorskip("voila")
    with served(tmp_path_factory.mktemp("app")) as found:
        yield found


@pytest.fixture
def page(app, browser):
    home, token = app
    found = browser.new_page(viewport={"width": 1280, "height": 1000})
    found.set_default_timeout(15_000)
    seen, messages = Watch(found), []
    # a function of its own: the client marks what it is given
    found.on("websocket", lambda s: s.on("framereceived", lambda text: messages.append(text)))
    # the page is whole only when its cells have run
    found.goto(f"{home}?token={token}", timeout=120_000)
    found.wait_for_selector(".vizkit canvas", timeout=60_000)
    found.wait_for_timeout(500)
    yield found
    assert seen.errors == []
    assert seen.elsewhere(home, home.replace("http", "ws")) == []
    sent = [each.encode() if isinstance(each, str) else each for each in messages]
    assert any(b'"msg_type"' in each for each in sent), "widgets talk to the kernel"
    assert [each for each in sent if TROUBLE.search(each)] == []
    found.close()


@pytest.mark.browser
def test_the_page_draws_and_its_fields_work(page):
    assert page.locator("pre, .jp-InputArea").count() == 0, "no code"
    page.get_by_label("Stage", exact=True).select_option("stride 16")
    page.get_by_label("Channels").select_option("1")
    page.get_by_label("Photo", exact=True).select_option("coffee")
    page.locator(".vk-main[aria-label$=coffee]").wait_for()
    page.wait_for_timeout(300)
    model = vizkit.load("demo/vgg11", device="cpu")
    maps = vizkit.capture(model, vizkit.samples()["coffee"])["stride16"][0].double().numpy()
    values = maps[np.square(maps).sum(axis=(1, 2)).argmax()]
    picture = pixels(page.locator(".vk-map").first)
    middles = ((np.arange(8) + 0.5) * picture.shape[0] / 8).astype(int)
    share = (values - values.min()) / np.ptp(values)
    near = [255 * colormaps["viridis"](share + by / 255)[..., :3] for by in (-1, -0.5, 0, 0.5, 1)]
    found = picture[np.ix_(middles, middles)]
    assert np.min([np.abs(found - each).max(axis=-1) for each in near], axis=0).max() <= 3


@pytest.mark.browser
def test_nobody_comes_in_without_the_token(app, browser):
    page = browser.new_page()
    page.goto(app[0])
    assert "/login" in page.url
    assert page.locator(".vizkit").count() == 0
    page.close()


def test_without_voila_it_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr("vizkit.cli.serving.find_spec", lambda _: None)
    with pytest.raises(vizkit.InputError, match="pip install voila"):
        serving(tmp_path)
