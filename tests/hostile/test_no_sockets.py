"""Nothing listens but what is asked for, on this machine alone, behind a token."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

# raises wherever a socket is made, also deep inside a library; children are watched, too
WATCH = """
import os, sys
def hook(event, args):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")):
        os.write(2, f"SOCKET {event} {args}\\n".encode())
        os._exit(66)
sys.addaudithook(hook)
"""
WORK = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import vizkit
out = Path(sys.argv[1])
names = ["demo/vgg11", "demo/vovnet19b"]
photo = {"rocket": vizkit.samples()["rocket"].resize((96, 96))}
vizkit.capture(names[0], photo)
vizkit.attribute(names[1], photo)
vizkit.list_models("demo/*")
explorer = vizkit.explore(names[:1], photo)
explorer.save_html(out / "page.html")
vizkit.report(names[0], photo, out / "report", methods="grad_cam", quick=True, max_images=1)
print("done")
"""


def watched(tmp_path, code, *arguments):
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip


def test_the_watch_sees_sockets(tmp_path):
    for code in (
        "import socket; socket.socket()",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:1')",
        "import subprocess, sys; sys.exit(subprocess.call("
        "[sys.executable, '-c', 'import socket; socket.socketpair()']))",
    ):
        done = watched(tmp_path, code)
        assert done.returncode == 66, code
        assert "SOCKET" in done.stderr


def test_no_socket_is_made_by_the_bundled_models(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    done = watched(tmp_path, WORK, out)
    assert "SOCKET" not in done.stderr, done.stderr[-2000:]
    assert done.stdout.endswith("done\n"), done.stderr[-2000:]
    assert (out / "report" / "index.html").exists()


def family(root):
    """A process and all below it."""
    found, parents = {root}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def sockets(processes):
    """The inodes of the sockets that some processes hold."""
    found = set()
    for process in processes:
        for link in Path(f"/proc/{process}/fd").glob("*"):
            try:
                found |= set(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
            except OSError:
                continue
    return found


def listening(root):
    """Where a process and those below it listen: addresses as the kernel writes them, and ports."""
    own = sockets(family(root))
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            listens = fields[3] == ("0A" if table.startswith("tcp") else "07")
            if listens and fields[9] in own:
                address, port = fields[1].split(":")
                found.append((address, int(port, 16)))
    return found


# 127.0.0.1, and ::1, as the kernel writes them
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
CELL = "import threading; print('here', threading.active_count())"


def places(root):
    names = ("config", "data", "runtime")
    found = {f"JUPYTER_{name.upper()}_DIR": str(root / name) for name in names}
    found |= {"JUPYTERLAB_SETTINGS_DIR": str(root / "settings"), "HOME": str(root)}
    found |= {"JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces"), "BROWSER": "true"}
    return found | {"IPYTHONDIR": str(root / "ipython"), "OMP_NUM_THREADS": "1"}


OPEN_TO_ALL = """
c.ServerApp.token = c.IdentityProvider.token = c.PasswordIdentityProvider.token = ""
c.ServerApp.ip = c.Voila.ip = "0.0.0.0"
c.ServerApp.open_browser = c.Voila.open_browser = False
c.ServerApp.allow_root = True
c.ServerApp.port = 0
"""


@pytest.fixture(params=["lab", "app"])
def server(request, tmp_path):
    """A started server, its kernels too: the process, its address and its token."""
    pytest.importorskip("jupyterlab" if request.param == "lab" else "voila")
    if not Path("/proc/net/tcp").exists():
        pytest.skip("only Linux tells who listens where")
    for name in ("config", "data", "runtime"):
        (tmp_path / name).mkdir()
    for name in ("jupyter_server_config", "voila"):
        (tmp_path / "config" / f"{name}.py").write_text(OPEN_TO_ALL)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "a.ipynb")
    log = tmp_path / "log"
    options = ["--app"] if request.param == "app" else []
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "vizkit", "lab", "a.ipynb", *options],
            cwd=tmp_path, env=os.environ | places(tmp_path), stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield request.param, process, *where(process, log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


# JupyterLab tells its token in another line
PORT = re.compile(r"http://127\.0\.0\.1:(\d+)/")
TOKEN = re.compile(r"(?:\?token=|one: )(\w{40,})")


def where(process, log):
    end = time.monotonic() + 90
    while True:
        text = log.read_text()
        for port, token in zip(PORT.findall(text), TOKEN.findall(text), strict=False):
            try:
                answer(f"http://127.0.0.1:{port}/api?token={token}")
            except urllib.error.HTTPError as error:
                # Voila answers other questions
                error.close()
            except OSError:
                continue
            return int(port), token
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def answer(url, **options):
    request = urllib.request.Request(url, **options)
    with urllib.request.urlopen(request, timeout=30) as found:
        return found.url, found.read()


def test_servers_listen_here_alone_and_want_the_token(server):
    kind, process, port, token = server
    home = f"http://127.0.0.1:{port}"
    if kind == "lab":
        answer(f"{home}/api/kernels?token={token}", data=b'{"name": "python3"}', method="POST")
    else:
        _, page = answer(f"{home}/?token={token}")
        assert b"here" in page
    found = listening(process.pid)
    assert ("0100007F", port) in found
    assert {address for address, _ in found} <= LOOPBACK, found
    assert len(token) >= 40
    if kind == "lab":
        for path in ("api/contents", "api/kernels", "api/terminals", "api/sessions"):
            with pytest.raises(urllib.error.HTTPError) as caught:
                answer(f"{home}/{path}")
            assert caught.value.code == 403
            caught.value.close()
    for path in ("", "lab", "files/a.ipynb"):
        url, page = answer(f"{home}/{path}")
        assert "/login" in url
        assert b"here" not in page
