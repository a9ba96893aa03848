"""Evaluations that are written, stopped and shared: the files are those of one that was neither.

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

import pandas as pd
import pytest
import torch
from nets import ANIMALS, SMALL, a_net, photos
from safetensors import safe_open

import vizkit
from vizkit import resuming
from vizkit.evaluation import evaluated, passing
from vizkit.images import Transform
from vizkit.provenance import file_hash, photo_hash, weights_hash

STATE = ".state-0-of-1.safetensors"
FILES = ["by_class.csv", "calibration.csv", "calibration.png", "confusion.csv", "confusion.png",
         "failed.csv", "manifest.json", "predictions.csv", "summary.csv"]  # fmt: skip
SLOW_MODEL = ["--models", "demo/vgg11", "--batch-size", "2", "--device", "cpu"]


def two_nets():
    return [a_net(), a_net(1, "other", transform=Transform((24, 24), (32, 32)))]


def saving(pause):
    store = resuming.save_state

    def save_and_wait(*args):
        store(*args)
        time.sleep(pause)

    resuming.SAVE_EVERY = resuming.SHARE = 0
    resuming.save_state = save_and_wait


def slow(folder, out):
    """An evaluation that stores what it knows after every batch, to be killed in the middle."""
    saving(0.15)
    vizkit.evaluate(two_nets(), folder, out=out, workers=1, batch_size=4)


def command(folder, out):
    """The same from the command line."""
    from vizkit.cli import main

    saving(0.15)
    sys.argv = ["vizkit", "evaluate", folder, "--out", out, *SLOW_MODEL]
    main()


def shared(folder, out):
    """One of several processes: whole, few batches, stopped and gone on with."""
    from vizkit.distributed import place, process_group

    torch.set_num_threads(1)
    with process_group():
        rank, world = place()
        assert world == 2
        found = {"whole": evaluated(two_nets(), folder, out=f"{out}/whole", batch_size=4)}
        found["few"] = evaluated(a_net(), folder, batch_size=100, workers=0)
        where = {"out": f"{out}/resumed", "batch_size": 4}
        stopped((2, 1)[rank], two_nets(), folder, **where)
        torch.distributed.barrier()
        found["states"] = sorted(path.name for path in Path(out, "resumed").iterdir())
        torch.distributed.barrier()
        found["resumed"] = evaluated(two_nets(), folder, resume=True, **where)
    Path(out, f"rank{rank}.pickle").write_bytes(pickle.dumps(found))


class StoppedError(Exception):
    pass


def stopped(batches, *args, **kwargs):
    """Begin an evaluation that stops after some batches."""
    kept = passing.Pass._count, resuming.SAVE_EVERY, resuming.SHARE

    def count_some(self, batch):
        if self.done == batches:
            raise StoppedError
        kept[0](self, batch)

    passing.Pass._count, resuming.SAVE_EVERY, resuming.SHARE = count_some, 0, 0
    try:
        with pytest.raises(StoppedError):
            vizkit.evaluate(*args, **kwargs)
    finally:
        passing.Pass._count, resuming.SAVE_EVERY, resuming.SHARE = kept


if __name__ == "__main__":
    {"slow": slow, "command": command, "shared": shared}[sys.argv[1]](*sys.argv[2:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """An evaluation in one process that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "deep" / "out"
    return evaluated(two_nets(), folder, out=out, batch_size=4), out


def environment():
    keep = {key: value for key, value in os.environ.items() if not key.startswith("TORCHELASTIC")}
    return {**keep, "OMP_NUM_THREADS": "1"}


def progress(state):
    with safe_open(state, framework="pt") as file:
        return json.loads(file.metadata()["progress"])


def interrupt(kind, number, folder, out):
    """Start a process, and stop it when it has stored a part."""
    words = [sys.executable, __file__, kind, str(folder), str(out)]
    process = subprocess.Popen(
        words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 100
        while not ((out / STATE).exists() and progress(out / STATE)["done"] > 1):
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        return process.communicate(timeout=60)[1].decode(), process.returncode
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def assert_same_files(first, second):
    assert sorted(path.name for path in first.iterdir()) == FILES
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_tables_are_written_with_all_digits_and_hashes(whole, folder):
    found, out = whole
    assert sorted(path.name for path in out.iterdir()) == FILES
    tables = {
        "summary": found.table(), "by_class": found.table(by_class=True),
        "predictions": found.predictions, "confusion": found.confusion(),
        "calibration": found.calibration(), "failed": found.failed,
    }  # fmt: skip
    for name, table in tables.items():
        read = pd.read_csv(out / f"{name}.csv")
        pd.testing.assert_frame_equal(read, table, check_exact=True, check_dtype=False)
    manifest = json.loads((out / "manifest.json").read_text())
    names = sorted(set(FILES) - {"manifest.json"})
    assert manifest["files"] == {name: file_hash(out / name) for name in names}
    assert [each["sha256"] for each in manifest["models"]] == [
        weights_hash(each.module) for each in two_nets()
    ]
    hashes = {image["name"]: image["sha256"] for image in manifest["images"]}
    assert hashes == {photo.name: photo_hash(photo) for photo in vizkit.images.as_images(folder)}
    assert manifest["options"]["counted"] == 26


def test_what_is_returned_does_not_depend_on_the_folder(whole, folder):
    plain = vizkit.evaluate(two_nets(), folder, batch_size=4)
    pd.testing.assert_frame_equal(plain, whole[0].table(), check_exact=True)


def test_a_killed_evaluation_goes_on_to_the_same_bits(folder, whole, tmp_path):
    _, code = interrupt("slow", signal.SIGKILL, folder, tmp_path / "out")
    assert code == -signal.SIGKILL
    assert 0 < progress(tmp_path / "out" / STATE)["done"] < 7
    again = vizkit.evaluate(two_nets(), folder, out=tmp_path / "out", resume=True, batch_size=4)
    pd.testing.assert_frame_equal(again, whole[0].table(), check_exact=True)
    assert_same_files(tmp_path / "out", whole[1])


def test_ctrl_c_on_the_command_line(tmp_path):
    folder = photos(tmp_path / "p", ["church", "golf ball", "tench"])
    errors, code = interrupt("command", signal.SIGINT, folder, tmp_path / "out")
    assert code == 130
    assert "what is known so far is in" in errors
    assert errors.splitlines()[-1] == "vizkit: stopped"
    assert "Traceback" not in errors
    assert [path.name for path in (tmp_path / "out").iterdir()] == [STATE]


@pytest.mark.parametrize("batches", [1, 3, 6])
def test_only_what_is_left_is_read(folder, tmp_path, whole, monkeypatch, batches):
    stopped(batches, two_nets(), folder, out=tmp_path, batch_size=4)
    wanted = []
    stream = resuming.stream

    def watched(*args, only, **kwargs):
        wanted.extend(only)
        return stream(*args, only=only, **kwargs)

    monkeypatch.setattr(resuming, "stream", watched)
    vizkit.evaluate(two_nets(), folder, out=tmp_path, resume=True, batch_size=4)
    assert wanted == list(range(batches, 7))
    assert_same_files(tmp_path, whole[1])


def test_without_resume_it_begins_anew_and_leaves_nothing_behind(folder, tmp_path, whole):
    stopped(3, a_net(1), folder, out=tmp_path, batch_size=4)
    (tmp_path / ".state-1-of-2.safetensors").write_bytes(b"of an older run")
    evaluated(two_nets(), folder, out=tmp_path, batch_size=4)
    assert_same_files(tmp_path, whole[1])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (lambda _: {"model": a_net(name="other")}, "models was"),
        (lambda _: {"model": a_net(1)}, "weights was"),
        (lambda _: {"model": a_net(transform=Transform((24, 24), (30, 30)))}, "transforms was"),
        (lambda _: {"model": a_net(classes=ANIMALS[::-1])}, "classes was"),
        (lambda f: {"folder": photos(f.parent / "others", count=25)}, "images was"),
        (lambda _: {"among": "folders"}, "among was"),
        (lambda _: {"batch_size": 5}, "batch_size was 4, is 5"),
    ],
)
def test_what_is_of_another_run_is_refused_by_what_differs(folder, tmp_path, changed, named):
    asked = {"model": a_net(), "folder": folder, "batch_size": 4}
    stopped(2, out=tmp_path / "out", **asked)
    before = (tmp_path / "out" / STATE).read_bytes()
    asked |= changed(tmp_path / "x")
    with pytest.raises(vizkit.InputError) as caught:
        vizkit.evaluate(**asked, out=tmp_path / "out", resume=True)
    assert "of another run" in str(caught.value)
    assert named in str(caught.value)
    assert (tmp_path / "out" / STATE).read_bytes() == before


def test_other_labels_of_the_same_photos_are_refused(folder, tmp_path):
    paths = sorted(folder.rglob("*.png"))
    for name, classes in {"a": ANIMALS, "b": ANIMALS[::-1]}.items():
        rows = [(path.relative_to(folder), classes[n % 7]) for n, path in enumerate(paths)]
        pd.DataFrame(rows, columns=["file", "class"]).to_csv(tmp_path / f"{name}.csv")
    where = {"out": tmp_path / "out", "batch_size": 4}
    stopped(2, a_net(), folder, labels=tmp_path / "a.csv", **where)
    with pytest.raises(vizkit.InputError, match="labels was"):
        vizkit.evaluate(a_net(), folder, labels=tmp_path / "b.csv", resume=True, **where)


def test_sums_of_statistics_are_no_evaluation(folder, tmp_path):
    from vizkit.statistics import run

    made = run.prepared(a_net(transform=SMALL), folder, batch_size=4)
    made.keep_in(tmp_path, resume=False)
    made._save()
    with pytest.raises(vizkit.InputError, match='what was null, is "evaluation"'):
        vizkit.evaluate(a_net(), folder, out=tmp_path, resume=True, batch_size=4)


def test_folders_that_cannot_be_used(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(vizkit.InputError, match="resume needs the folder"):
        vizkit.evaluate(a_net(), folder, resume=True)
    with pytest.raises(vizkit.InputError, match="cannot make the folder"):
        vizkit.evaluate(a_net(), folder, out=tmp_path / "file")
    (tmp_path / STATE).write_bytes(b"nothing")
    with pytest.raises(vizkit.InputError, match="cannot be read"):
        vizkit.evaluate(a_net(), folder, out=tmp_path, resume=True)


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


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("kind", ["whole", "resumed"])
def test_two_processes_find_exactly_what_one_does(two, whole, rank, kind):
    _, found = two
    one, other = found[rank][kind], whole[0]
    pd.testing.assert_frame_equal(one.predictions, other.predictions, check_exact=True)
    pd.testing.assert_frame_equal(one.failed, other.failed)
    pd.testing.assert_frame_equal(one.table(), other.table(), check_exact=True)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_without_a_batch_finds_the_same(two, folder, rank):
    alone = evaluated(a_net(), folder, batch_size=100, workers=0)
    few = two[1][rank]["few"]
    pd.testing.assert_frame_equal(few.predictions, alone.predictions, check_exact=True)
    pd.testing.assert_frame_equal(few.table(), alone.table(), check_exact=True)
    assert two[1][rank]["states"] == [f".state-{n}-of-2.safetensors" for n in (0, 1)]


def test_two_processes_write_the_same_files(two, whole):
    out, _ = two
    for kind in ("whole", "resumed"):
        assert sorted(path.name for path in (out / kind).iterdir()) == FILES
        for name in set(FILES) - {"manifest.json"}:
            assert (out / kind / name).read_bytes() == (whole[1] / name).read_bytes(), name


def test_two_processes_from_the_command_line(tmp_path):
    folder = photos(tmp_path / "p", ["church", "golf ball", "tench"])
    done = launch("-m", "vizkit", "evaluate", folder, *SLOW_MODEL, "--json")
    demo = vizkit.load("demo/vgg11", device="cpu")
    alone = vizkit.evaluate(demo, folder, batch_size=2)
    # printed once, by one of them
    printed = pd.DataFrame(json.loads(done.stdout))
    pd.testing.assert_frame_equal(printed, alone, check_exact=True)
    assert done.stderr.count("left out") == 2
