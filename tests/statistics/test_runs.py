"""Runs that are written, stopped and shared: the results are those of one that was neither.

Run as a script, this file is the process that is stopped, or one of those that share a folder.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import vizkit
from vizkit import resuming
from vizkit.errors import InputError
from vizkit.images import Transform
from vizkit.provenance import file_hash, photo_hash, weights_hash
from vizkit.statistics import run

TABLES = {"statistics": "frame", "channels": "channels", "distributions": "distributions",
          "failed": "failed"}  # fmt: skip
STATE = ".state-0-of-1.safetensors"
SMALL = Transform(size=(24, 24), resize=(24, 24))
HOW = {"statistics": "all", "at": "layers", "batch_size": 4}
COMMAND = ["--models", "demo/vgg11", "--statistics", "all", "--batch-size", "2", "--device", "cpu"]


def a_model(seed=0, name="net", transform=SMALL, classes=("cat", "dog", "fox")):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
            nn.MaxPool2d(2), nn.Conv2d(6, 16, 3), nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
        )  # fmt: skip
    return vizkit.wrap(net.eval(), name=name, transform=transform, classes=classes)


def slow(folder, out):
    """A run that stores its sums after every batch and can be stopped in the middle."""
    saving(0.15)
    vizkit.describe(a_model(), folder, out=out, workers=1, **HOW)


def command(folder, out):
    """The same from the command line."""
    from vizkit.cli import main

    saving(0.15)
    sys.argv = ["vizkit", "stats", folder, "--out", out, *COMMAND]
    main()


def saving(pause):
    store = resuming.save_state

    def save_and_wait(*args):
        store(*args)
        time.sleep(pause)

    resuming.SAVE_EVERY = resuming.SHARE = 0
    resuming.save_state = save_and_wait


class StoppedError(Exception):
    pass


def stopped(batches, *args, **kwargs):
    """Begin a run that stops after some batches."""
    kept = run.Run._count, resuming.SAVE_EVERY, resuming.SHARE
    count = run.Run._count

    def count_some(self, batch):
        if self.done == batches:
            raise StoppedError
        count(self, batch)

    run.Run._count, resuming.SAVE_EVERY, resuming.SHARE = count_some, 0, 0
    try:
        with pytest.raises(StoppedError):
            vizkit.describe(*args, **kwargs)
    finally:
        run.Run._count, resuming.SAVE_EVERY, resuming.SHARE = kept


def shared(folder, out):
    """One of several processes: whole, few batches, nothing readable, stopped and gone on with."""
    from vizkit.distributed import place, process_group

    torch.set_num_threads(1)
    with process_group():
        rank, world = place()
        assert world == 2
        found = {"whole": vizkit.describe(a_model(), folder, out=f"{out}/whole", **HOW)}
        photos = sorted(Path(folder).rglob("*.png"))[:3]
        found["few"] = vizkit.describe(a_model(), photos, out=f"{out}/few", workers=0, **HOW)
        try:
            vizkit.describe(a_model(), sorted(Path(folder).rglob("*.jpg")), batch_size=1)
        except InputError as error:
            found["none"] = str(error)
        where = {"out": f"{out}/resumed", **HOW}
        stopped((2, 1)[rank], a_model(), folder, **where)
        torch.distributed.barrier()
        found["states"] = sorted(path.name for path in Path(out, "resumed").iterdir())
        torch.distributed.barrier()
        reads = []
        read = vizkit.images.photos.read
        vizkit.images.photos.read = lambda path: reads.append(path) or read(path)
        found["resumed"] = vizkit.describe(a_model(), folder, resume=True, workers=0, **where)
        found["reads"] = len(reads)
    Path(out, f"rank{rank}.pickle").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    {"slow": slow, "command": command, "shared": shared}[sys.argv[1]](*sys.argv[2:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    generator = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("photos")
    for i in range(26):
        label = root / ("cat", "dog", "fox")[i % 3]
        label.mkdir(exist_ok=True)
        pixels = generator.integers(0, 40 + 8 * i, (30 + i, 34, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(label / f"{i:02}.png")
    for path in (root / "cat" / "00-bad.jpg", root / "fox" / "10.jpg"):
        path.write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """A run in one process that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return vizkit.describe(a_model(), folder, out=out, **HOW), out


def environment():
    keep = {key: value for key, value in os.environ.items() if not key.startswith("TORCHELASTIC")}
    return {**keep, "OMP_NUM_THREADS": "1"}


def start(kind, *arguments):
    words = [sys.executable, __file__, kind, *map(str, arguments)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, env=environment(), **pipes)


def progress(state):
    with safe_open(state, framework="pt") as file:
        return json.loads(file.metadata()["progress"])


def assert_same_files(first, second):
    names = sorted(path.name for path in second.iterdir())
    assert sorted(path.name for path in first.iterdir()) == names
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_tables_are_written_with_all_digits_and_hashes(whole, folder):
    found, out = whole
    names = [f"{name}.{kind}" for name in TABLES for kind in ("csv", "parquet")]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "manifest.json"])
    for name, attribute in TABLES.items():
        table = getattr(found, attribute)
        pd.testing.assert_frame_equal(pd.read_parquet(out / f"{name}.parquet"), table)
        text = pd.read_csv(out / f"{name}.csv", dtype={"layer": "str"})
        pd.testing.assert_frame_equal(text, table, check_exact=True)
    assert len(found.failed) == 2
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["files"] == {name: file_hash(out / name) for name in sorted(names)}
    (model,) = manifest["models"]
    assert model["sha256"] == weights_hash(a_model().module)
    hashes = {image["name"]: image["sha256"] for image in manifest["images"]}
    assert hashes == {photo.name: photo_hash(photo) for photo in vizkit.images.as_images(folder)}
    assert manifest["options"]["places"] == run.PLACES
    assert manifest["options"]["batch_size"] == 4


def test_written_results_are_those_returned_without_a_folder(whole, folder):
    found, _ = whole
    plain = vizkit.describe(a_model(), folder, **HOW)
    for attribute in TABLES.values():
        first, second = getattr(plain, attribute), getattr(found, attribute)
        pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_a_second_run_writes_the_same_bytes_over_the_first(whole, folder, tmp_path):
    out = tmp_path / "deep" / "er"
    vizkit.describe(a_model(1), folder, "mean", out=out)
    for resume in (False, True):  # there is nothing to go on with: that is no error
        vizkit.describe(a_model(), folder, out=str(out), resume=resume, **HOW)
        assert_same_files(out, whole[1])


@pytest.fixture(scope="module")
def interrupted(folder, tmp_path_factory):
    """Two runs in processes of their own, one killed and one stopped with Ctrl-C."""
    root = tmp_path_factory.mktemp("interrupted")
    signals = {"slow": signal.SIGKILL, "command": signal.SIGINT}
    processes = {kind: start(kind, folder, root / kind) for kind in signals}
    try:
        for kind, process in processes.items():
            state, deadline = root / kind / STATE, time.monotonic() + 100
            while not (state.exists() and progress(state)["done"] > 1):
                assert process.poll() is None, process.stderr.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signals[kind])
        errors = {kind: process.communicate(timeout=60)[1] for kind, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
            process.stderr.close()
    return root, processes, errors


def test_a_killed_run_goes_on_to_the_same_bits(interrupted, folder, whole):
    root, processes, _ = interrupted
    out = root / "slow"
    assert processes["slow"].returncode == -signal.SIGKILL
    assert {path.name.strip(".") for path in out.iterdir()} <= {
        STATE.strip("."), f"{STATE}.partial".strip(".")
    }  # fmt: skip
    done = progress(out / STATE)["done"]
    assert 0 < done < 7
    vizkit.describe(a_model(), folder, out=out, resume=True, **HOW)
    assert_same_files(out, whole[1])


def test_ctrl_c_and_on_from_the_command_line(interrupted, folder, tmp_path):
    root, processes, errors = interrupted
    out = root / "command"
    assert processes["command"].returncode == 130
    assert errors["command"].decode().splitlines()[-1] == "vizkit: stopped"
    assert b"Traceback" not in errors["command"]
    assert [path.name for path in out.iterdir()] == [STATE]
    assert 0 < progress(out / STATE)["done"] < 14
    how = {"statistics": "all", "batch_size": 2}
    demo = vizkit.load("demo/vgg11", device="cpu")
    vizkit.describe(demo, [folder], out=out, resume=True, **how)
    vizkit.describe(demo, [folder], out=tmp_path, **how)
    assert_same_files(out, tmp_path)


@pytest.mark.parametrize("batches", [1, 3, 6])
@pytest.mark.parametrize("workers", [0, 2])
def test_only_what_is_left_is_read(folder, tmp_path, whole, monkeypatch, batches, workers):
    stopped(batches, a_model(), folder, out=tmp_path, workers=workers, **HOW)
    assert progress(tmp_path / STATE)["done"] == batches
    wanted = []
    stream = resuming.stream

    def watched(*args, only, **kwargs):
        wanted.extend(only)
        return stream(*args, only=only, **kwargs)

    monkeypatch.setattr(resuming, "stream", watched)
    vizkit.describe(a_model(), folder, out=tmp_path, resume=True, workers=workers, **HOW)
    assert wanted == list(range(batches, 7))
    assert_same_files(tmp_path, whole[1])


def test_a_run_can_be_stopped_again_and_again(folder, tmp_path, whole):
    for batches in (2, 2, 5):
        stopped(batches, a_model(), folder, out=tmp_path, resume=True, **HOW)
    vizkit.describe(a_model(), folder, out=tmp_path, resume=True, **HOW)
    assert_same_files(tmp_path, whole[1])


def test_without_resume_it_begins_anew(folder, tmp_path, whole):
    stopped(3, a_model(1), folder, out=tmp_path, **HOW)
    vizkit.describe(a_model(), folder, out=tmp_path, **HOW)
    assert_same_files(tmp_path, whole[1])


def test_a_user_s_own_transform_can_be_resumed(folder, tmp_path):
    def make():
        # another function each time, as in another process
        def own(photo):
            return torch.from_numpy(np.array(photo.resize((20, 20)))).movedim(-1, 0) / 255

        return a_model(transform=own)

    stopped(3, make(), folder, out=tmp_path, **HOW)
    found = vizkit.describe(make(), folder, out=tmp_path, resume=True, **HOW)
    plain = vizkit.describe(make(), folder, **HOW)
    pd.testing.assert_frame_equal(found.frame, plain.frame, check_exact=True)


def other_photos(folder):
    return sorted(folder.rglob("*.png"))[:9]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (lambda _: {"models": a_model(name="other")}, "models was"),
        (lambda _: {"models": a_model(1)}, "weights was"),
        (lambda _: {"models": [a_model(), a_model(1)]}, "models was"),
        (lambda _: {"models": a_model(transform=Transform((32, 32), (32, 32)))}, "transforms was"),
        (
            lambda _: {"models": a_model(transform=Transform((24, 24), (24, 24), (0.5,) * 3))},
            "transforms was",
        ),
        (lambda _: {"models": a_model(classes=("dog", "cat", "fox"))}, "classes was"),
        (lambda f: {"images": other_photos(f)}, "images was"),
        (lambda f: {"images": f / "cat"}, "images was"),
        (lambda _: {"statistics": ["mean", "std"]}, "statistics was"),
        (lambda _: {"at": ["0", "4"]}, "taps was"),
        (lambda _: {"places": None}, "places was 100, is null"),
        (lambda _: {"batch_size": 5}, "batch_size was 4, is 5"),
    ],
)
def test_sums_of_another_run_are_refused_by_what_differs(folder, tmp_path, changed, named):
    asked = {"models": a_model(), "images": folder, **HOW}
    stopped(2, out=tmp_path, **asked)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(InputError) as caught:
        vizkit.describe(**{**asked, **changed(folder)}, out=tmp_path, resume=True)
    message = str(caught.value)
    assert "of another run" in message
    assert named in message
    assert "resume=False" in message
    assert message.count("\n") == 0
    # nothing is lost: the run that it belongs to can still go on
    assert (tmp_path / STATE).read_bytes() == before


def test_other_pictures_in_memory_are_refused(tmp_path):
    first, second = torch.rand(9, 3, 16, 16), torch.rand(9, 3, 16, 16)
    for images in (first, [Image.fromarray(np.full((20, 20, 3), i, np.uint8)) for i in range(9)]):
        stopped(2, a_model(), images, out=tmp_path, batch_size=2)
        vizkit.describe(a_model(), images, out=tmp_path, batch_size=2, resume=True)
        stopped(2, a_model(), images, out=tmp_path, batch_size=2)
        with pytest.raises(InputError, match="images was"):
            vizkit.describe(a_model(), second, out=tmp_path, batch_size=2, resume=True)


def damaged(state):
    """Broken files of many kinds, by name."""
    content = state.read_bytes()
    with safe_open(state, framework="pt") as file:
        meta = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = next(iter(tensors))

    def stored(change, **texts):
        save_file({**tensors, **change}, state, {**meta, **texts})
        return state.read_bytes()

    fewer = {key: value for key, value in tensors.items() if key != name}
    save_file(fewer, state, meta)
    yield "a sum is missing", state.read_bytes()
    yield "another shape", stored({name: torch.zeros(3, 3, 3)})
    yield "no facts", stored({}, facts="")
    yield "facts of another kind", stored({}, facts="[1]")
    yield "no progress", stored({}, progress="{}")
    yield "progress of another kind", stored({}, progress="3")
    save_file(tensors, state)
    yield "no metadata", state.read_bytes()
    yield "empty", b""
    yield "short", content[:5]
    yield "half", content[: len(content) // 2]
    yield "one byte", content[:-1]
    yield "noise", bytes(range(256)) * 40
    yield "text", b"{}"
    yield "zeros", bytes(len(content))


def test_damaged_sums_are_refused(folder, tmp_path):
    stopped(2, a_model(), folder, out=tmp_path, **HOW)
    state = tmp_path / STATE
    for what, content in list(damaged(state)):
        state.write_bytes(content)
        with pytest.raises(InputError, match="resume=False") as caught:
            vizkit.describe(a_model(), folder, out=tmp_path, resume=True, **HOW)
        assert str(state) in str(caught.value), what


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("make", ["pickle", "torch"])
def test_sums_are_never_unpickled(folder, tmp_path, make):
    touched = tmp_path / "touched"
    if make == "pickle":
        (tmp_path / STATE).write_bytes(pickle.dumps(Evil(touched)))
    else:
        torch.save({"facts": Evil(touched)}, tmp_path / STATE)
    with pytest.raises(InputError, match="cannot be read"):
        vizkit.describe(a_model(), folder, out=tmp_path, resume=True, **HOW)
    assert not touched.exists()


def test_folders_that_cannot_be_used(folder, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="resume needs the folder"):
        vizkit.describe(a_model(), folder, resume=True)
    for out in (file, file / "deeper"):
        with pytest.raises(InputError, match="cannot make the folder"):
            vizkit.describe(a_model(), folder, out=out)
    (tmp_path / STATE).mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        vizkit.describe(a_model(), folder, out=tmp_path, resume=True)


def test_a_run_that_fails_keeps_what_it_counted(folder, tmp_path):
    bad = sorted(folder.rglob("*.jpg"))
    with pytest.raises(InputError, match="none of the 2 images"):
        vizkit.describe(a_model(), bad, out=tmp_path, batch_size=1)
    assert not (tmp_path / "statistics.csv").exists()


def launch(*words):
    start_two = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *start_two, *map(str, words)], capture_output=True, text=True,
        timeout=150, check=False, env=environment(), cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def two(folder, tmp_path_factory):
    """What each of two processes found that shared a folder."""
    out = tmp_path_factory.mktemp("two")
    launch(__file__, "shared", folder, out)
    return out, [pickle.loads((out / f"rank{rank}.pickle").read_bytes()) for rank in (0, 1)]


def assert_close(found, expected):
    for name in ("frame", "channels", "distributions"):
        first, second = getattr(found, name), getattr(expected, name)
        pd.testing.assert_frame_equal(first, second, rtol=1e-12, atol=1e-12)
    pd.testing.assert_frame_equal(found.failed, expected.failed)
    assert found.images == expected.images
    assert found.left_out == expected.left_out
    assert found.units == expected.units


@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_find_what_one_does(two, whole, rank):
    _, found = two
    assert_close(found[rank]["whole"], whole[0])
    # unreadable files of both, in the order of the folder
    assert len(found[rank]["whole"].failed) == 2
    assert found[rank]["none"].startswith("none of the 2 images can be read")


@pytest.mark.parametrize("rank", [0, 1])
def test_fewer_batches_than_processes(two, folder, rank):
    _, found = two
    alone = vizkit.describe(a_model(), sorted(folder.rglob("*.png"))[:3], **HOW)
    assert_close(found[rank]["few"], alone)


@pytest.mark.parametrize("rank", [0, 1])
def test_both_processes_go_on_where_they_stopped(two, rank):
    out, found = two
    assert found[rank]["states"] == [f".state-{n}-of-2.safetensors" for n in (0, 1)]
    # of 28 files rank 0 takes batches 0, 2, 4 and 6, rank 1 batches 1, 3 and 5
    assert found[rank]["reads"] == 8
    for name in ("frame", "channels", "distributions"):
        first, second = (getattr(found[rank][kind], name) for kind in ("resumed", "whole"))
        pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert_same_files(out / "resumed", out / "whole")


def test_two_processes_from_the_command_line(folder, tmp_path):
    words = ["-m", "vizkit", "stats", folder, "--out", tmp_path, *COMMAND, "--json"]
    done = launch(*words)
    demo = vizkit.load("demo/vgg11", device="cpu")
    alone = vizkit.describe(demo, folder, "all", batch_size=2)
    printed = pd.DataFrame(json.loads(done.stdout))
    pd.testing.assert_frame_equal(printed, alone.frame, rtol=1e-6, atol=1e-9)
    written = pd.read_csv(tmp_path / "statistics.csv")
    pd.testing.assert_frame_equal(written, alone.frame, rtol=1e-12, atol=1e-12)
    assert not list(tmp_path.glob(".*"))
    for bad in alone.failed["file"]:
        assert done.stderr.count(f"left out {bad}") == 1
