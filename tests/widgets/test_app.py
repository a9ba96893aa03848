"""The explorer as a page without code, served by Voila: pictures, fields, and nothing from away."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import nbformat
import numpy as np
import pytest
from browsing import Watch, pixels, places, running
from matplotlib import colormaps

import vizkit
from vizkit.cli.serving import editing, serving

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


OPEN_TO_ALL = """
c.ServerApp.token = c.IdentityProvider.token = c.PasswordIdentityProvider.token = ""
c.ServerApp.ip, c.ServerApp.port = "0.0.0.0", 0
c.ServerApp.open_browser, c.ServerApp.allow_root = False, True
"""


def test_jupyterlab_has_a_token_and_stays_here_whatever_is_configured(tmp_path):
    if os.environ.get("VIZKIT_REQUIRE_BROWSER") != "1":
        pytest.importorskip("jupyterlab")
    for name in ("config", "runtime"):
        (tmp_path / name).mkdir()
    (tmp_path / "config" / "jupyter_server_config.py").write_text(OPEN_TO_ALL)
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "a.ipynb")
    command, environment = editing(tmp_path / "a.ipynb")
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment | places(tmp_path), stdout=out, stderr=out
        )
    try:
        info = running(process, tmp_path / "runtime", log)
        assert info["hostname"] == "127.0.0.1"
        assert len(info["token"]) >= 40
        assert info["token"] in log.read_text(), "the reader is told"
        assert info["token"] not in " ".join(command), "nobody else is"
        url = f"http://127.0.0.1:{info['port']}/api/contents"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(url, timeout=5)
        urllib.request.urlopen(f"{url}?token={info['token']}", timeout=5).close()
    finally:
        process.terminate()
        process.wait(20)


def test_what_is_no_notebook_is_refused(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("no notebook")
    with pytest.raises(vizkit.InputError, match=r"not a notebook: .*a\.txt"):
        serving(text)
    command = [sys.executable, "-m", "vizkit", "lab", "nope.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such folder or notebook: nope.ipynb" in done.stderr


def test_without_voila_it_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr("vizkit.cli.serving.find_spec", lambda _: None)
    with pytest.raises(vizkit.InputError, match="pip install voila"):
        serving(tmp_path)
