"""What the browser tests share: a JupyterLab of its own, and how to read what is on a page."""

import io
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

import nbformat
import numpy as np
from PIL import Image

MODELS = ["demo/vgg11", "demo/vgg11_bn", "demo/vovnet19b"]
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyter-widgets/jupyterlab-manager/plugin": {"saveState": True},
}
# without a limit, a page that waits for ever would hold the tests for ever
LIMITED = """(argument) => Promise.race([
  (%s)(argument),
  new Promise((_, fail) => setTimeout(() => fail(new Error("took too long")), 60000)),
])"""
OPEN = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  const kernel = panel.sessionContext.session.kernel;
  await kernel.info;
  window.trouble = [];
  kernel.iopubMessage.connect((_, message) => {
    const { msg_type: kind } = message.header;
    if (kind === "error") window.trouble.push(message.content.traceback.join("\\n"));
    // JupyterLab asks for widgets before ipywidgets is there
    const known = kind === "stream" && message.content.text.startsWith("No such comm");
    if (kind === "stream" && !known) window.trouble.push(message.content.text);
  });
  await window.jupyterapp.commands.execute("notebook:run-all-cells");
}"""
ASK = """async (code) => {
  const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
  const future = kernel.requestExecute({ code: "import json", user_expressions: { it: code } });
  const reply = await future.done;
  const { it } = reply.content.user_expressions;
  return it.status === "ok" ? it.data["text/plain"] : `${it.ename}: ${it.evalue}`;
}"""
# milliseconds of each key, and which keys left the picture as it was for a frame; the keys go
# round in a square, away from the last channel, where there is no other picture
KEYS = """async () => {
  const main = document.querySelector(".vk-main");
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const keys = ["ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft"];
  const picture = () => document.querySelector(".vk-map canvas").toDataURL();
  const taken = [];
  const same = [];
  main.focus();
  for (let i = 0; i < 30; i += 1) {
    await frame();
    await frame();
    const before = picture();
    const start = performance.now();
    main.dispatchEvent(new KeyboardEvent("keydown", { key: keys[i % 4], bubbles: true }));
    await frame();
    document.querySelector(".vk-map canvas").getContext("2d").getImageData(0, 0, 1, 1);
    taken.push(performance.now() - start);
    if (picture() === before) same.push(keys[i % 4]);
  }
  return [taken, same];
}"""


class Watch:
    """What a page does that it should not do."""

    def __init__(self, page):
        self.requests, self.errors = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)

    def elsewhere(self, *homes):
        homes += ("data:", "blob:")
        return [url for url in self.requests if not url.startswith(homes)]


def pixels(locator):
    """Decode what an element looks like on the screen: (H, W, 3)."""
    with Image.open(io.BytesIO(locator.screenshot(animations="disabled"))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@dataclass
class Lab:
    """A JupyterLab with fresh folders."""

    home: str
    token: str
    folder: object

    def open(self, browser, name, size=(1280, 1000), *, run=True):
        """Open a notebook, run all of it, and wait for the first picture."""
        context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        page = context.new_page()
        page.set_default_timeout(15_000)
        seen = Watch(page)
        # a workspace of its own, where no other notebook is opened again
        place = f"lab/workspaces/{secrets.token_hex(4)}/tree/{name}"
        page.goto(f"{self.home}/{place}?token={self.token}")
        page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.context", timeout=60_000)
        if run:
            page.evaluate(LIMITED % OPEN)
        page.wait_for_selector(".vizkit canvas", timeout=60_000)
        return page, seen

    def write(self, name, *cells):
        made = [nbformat.v4.new_code_cell(cell) for cell in cells]
        notebook = nbformat.v4.new_notebook(cells=made)
        # else JupyterLab asks which kernel to use
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, self.folder / name)
        return name


def ask(page, expression):
    """Evaluate an expression in the notebook's kernel; it must give what JSON can write."""
    text = page.evaluate(LIMITED % ASK, f"json.dumps({expression})")
    assert text.startswith("'"), text
    return json.loads(text[1:-1].replace("\\'", "'").replace("\\\\", "\\"))


def until(page, expression, seconds=30):
    """Wait until an expression holds in the kernel."""
    end = time.monotonic() + seconds
    while not ask(page, f"bool({expression})"):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def places(root):
    """Fresh folders for everything that Jupyter keeps, as environment variables."""
    names = ("config", "data", "runtime")
    found = {f"JUPYTER_{name.upper()}_DIR": str(root / name) for name in names}
    found |= {"JUPYTERLAB_SETTINGS_DIR": str(root / "settings"), "HOME": str(root)}
    found |= {"JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces")}
    return found | {"IPYTHONDIR": str(root / "ipython"), "OMP_NUM_THREADS": "1"}


def serve(root, folders):
    options = [
        "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0",
        f"--IdentityProvider.token={secrets.token_hex(16)}",
        f"--ServerApp.root_dir={folders['notebooks']}", "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    log = root / "log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "jupyterlab", *options]
        process = subprocess.Popen(
            command, cwd=root, env=os.environ | places(root), stdout=out, stderr=subprocess.STDOUT
        )
    return process, log


def running(process, runtime, log, seconds=60):
    """Wait until the server has written where it listens, and answers there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        for file in runtime.glob("jpserver-*.json"):
            try:
                info = json.loads(file.read_text())
                url = f"http://127.0.0.1:{info['port']}/api?token={info['token']}"
                urllib.request.urlopen(url, timeout=2).close()
            except (OSError, ValueError, urllib.error.URLError):
                continue
            return info
        time.sleep(0.1)
    raise AssertionError(log.read_text())
