"""Files in place of weights: refused in one line, before any code runs and anything changes."""

import io
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn
from wrecks import ANNEX, LFS, PAGES

import vizkit
from vizkit import zoo
from vizkit.checkpoints import fit, harm, read_state_dict
from vizkit.cli import main
from vizkit.errors import InputError, WeightsError
from vizkit.storing import load_state, save_state
from vizkit.training.saving import load_state as load_training


@pytest.fixture(autouse=True)
def _at_once():
    """Whatever waits for ever fails instead."""

    def late(*_):
        raise TimeoutError("it still waits")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(90)
    yield
    signal.alarm(0)


@pytest.fixture(scope="module")
def state():
    return zoo.build("vgg11", 2).state_dict()


def write(path, data):
    path.write_bytes(data)
    return path


def refusal(path):
    """What the error says, which is one printable line with the file's name."""
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    text = str(caught.value)
    assert str(path) in text
    assert text.isprintable()
    return text


class Trap:
    """Leaves a mark when it is unpickled the usual way."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


class Setter(Trap):
    """Does it where an object gets its state."""

    def __reduce__(self):
        return dict, (), None, None, iter([(Trap(self.mark), 1)])


def saved(content, **options):
    data = io.BytesIO()
    torch.save(content, data, **options)
    return data.getvalue()


def in_tar(content):
    """Pack a pickle as torch did before 2017."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            part = pickle.dumps(content if name == "pickle" else 0, 2)
            entry = tarfile.TarInfo(name)
            entry.size = len(part)
            archive.addfile(entry, io.BytesIO(part))
    return data.getvalue()


def in_zip(members, packing=zipfile.ZIP_STORED):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return data.getvalue()


def traps(mark):
    """Code in everything that holds a pickle."""
    trap, weights = Trap(mark), {"w": torch.zeros(2)}
    array = np.empty(1, object)
    array[0] = trap
    found = {
        "zip": saved(trap),
        "nested": saved({"state_dict": {**weights, "v": {"deep": [trap]}}}),
        "beside": saved({"state_dict": weights, "optimizer": {"state": trap}}),
        "key": saved({"model": weights, "args": Setter(mark)}),
        "numpy": saved({"state_dict": weights, "meta": array}),
        "legacy": saved({**weights, "v": trap}, _use_new_zipfile_serialization=False),
        "tar": in_tar({"w": trap}),
        "hand-made zip": in_zip({"data.pkl": pickle.dumps(trap, 2), "version": b"3\n"}),
        "two pickles": in_zip({"data.pkl": pickle.dumps([0.0], 2), "version": b"3\n"})
        + pickle.dumps(trap, 2),
        "script": in_zip(
            {"data.pkl": pickle.dumps(trap, 2), "constants.pkl": b"(t.", "version": b"3\n"}
        ),
    }
    return found | {f"pickle {n}": pickle.dumps(trap, n) for n in range(6)}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
def test_no_code_runs_whatever_it_is_packed_in(suffix, tmp_path):
    mark = tmp_path / "ran"
    for name, data in traps(mark).items():
        refusal(write(tmp_path / f"{name}{suffix}", data))
        assert not mark.exists(), name
    pickle.loads(traps(mark)["pickle 2"])
    assert mark.exists(), "else this test could not fail"


def test_no_code_runs_where_runs_go_on(tmp_path):
    mark = tmp_path / "ran"
    facts = {"what": "a test"}
    for name, data in traps(mark).items():
        with pytest.raises(InputError, match=r"damaged|no state of a run"):
            load_training(write(tmp_path / f"{name}.pth", data), torch.device("cpu"), ["model"])
        with pytest.raises(InputError, match="cannot be read"):
            load_state(write(tmp_path / f"{name}.st", data), facts, {"w": torch.zeros(1)})
        assert not mark.exists(), name


def odd(state):
    """Weights that are none for this network."""
    key = "features.0.weight"
    own = state[key]

    def put(value):
        return {**state, key: value}

    yield "shape", put(own[:1])
    yield "dims", put(own[None])
    yield "empty", put(own[:0])
    yield "complex", put(own.to(torch.complex64))
    yield "whole", put(own.to(torch.int64))
    yield "sparse", put(own.to_sparse())
    yield "meta", put(own.to("meta"))
    yield "giant", put(torch.zeros(()).expand(2**20, 2**20))
    yield "missing", {name: value for name, value in state.items() if name != key}
    yield "more", {**state, "extra": own}
    yield "number", put(3.0)
    yield "list", put([own])
    for value in (torch.nan, torch.inf, -torch.inf):
        some = own.clone()
        some[0, 0, 0, 0] = value
        yield str(value), put(some)


def test_a_network_is_bit_for_bit_as_it_was(state, tmp_path, unchanged):
    net = zoo.build("vgg11", 2)
    for name, content in odd(state):
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        with unchanged(net), pytest.raises(WeightsError, match=str(path)):
            fit(net, read_state_dict(path), str(path))
    # the last key differs: nothing before it may have been taken
    late = {name: torch.zeros_like(value) for name, value in state.items()}
    late[list(late)[-1]] = torch.full_like(list(state.values())[-1], torch.nan)
    save_file(late, tmp_path / "late.safetensors")
    with unchanged(net), pytest.raises(WeightsError, match="NaN or infinity"):
        fit(net, read_state_dict(tmp_path / "late.safetensors"), "late")


def pickled(*parts):
    """A pickle from its operations; numbers and names as PyTorch's reader takes them."""
    return b"\x80\x02" + b"".join(parts) + b"."


def called(module, name, *arguments):
    words = b"".join(arguments)
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n(" + words + b"tR"


def whole_number(value):
    raw = pickle.encode_long(value)
    return b"\x8a" + bytes([len(raw)]) + raw


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def greedy():
    """Small files that claim, or make, what fills the memory."""
    hexed = text("a" * 64)
    for _ in range(40):
        hexed = called("_codecs", "encode", hexed, text("hex"))
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    storage += whole_number(2**40) + b"tQ"
    tensor = called(
        "torch._utils", "_rebuild_tensor_v2", storage, b"K\0", b"(" + whole_number(2**40) + b"t",
        b"(K\1t", b"\x89", called("collections", "OrderedDict"),
    )  # fmt: skip
    small = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\1tQ"
    wide = called(
        "torch._utils", "_rebuild_tensor_v2", small, b"K\0", b"(" + whole_number(2**36) + b"t",
        b"(K\0t", b"\x89", called("collections", "OrderedDict"),
    )  # fmt: skip
    grown = called(
        "torch._utils", "_rebuild_device_tensor_from_cpu_tensor", wide, b"ctorch\nfloat64\n",
        text("cpu"), b"\x89",
    )  # fmt: skip
    bodies = {
        "bytes": called("builtins", "bytearray", whole_number(2**35)),
        "bytes of Python 2": called("__builtin__", "bytearray", whole_number(2**35)),
        "hex": hexed,
        "storage": b"}" + text("w") + tensor + b"s",
        "copied": b"}" + text("w") + grown + b"s",
        "numbers": called("torch", "FloatTensor", whole_number(2**45)),
        "nested": b"]" * 100_000 + b"a" * 99_999,
    }
    for name, body in bodies.items():
        members = {"data.pkl": pickled(body), "data/0": bytes(4), "version": b"3\n"}
        yield f"{name}.pth", in_zip(members)
        yield f"{name}.pkl", pickled(body)
    zeros = bytes(1 << 28)
    yield "packed.pth", in_zip({"data.pkl": pickled(b"}"), "data/0": zeros}, zipfile.ZIP_DEFLATED)
    yield "packed.bz2.pth", in_zip({"data.pkl": zeros}, zipfile.ZIP_BZIP2)
    yield "overlapping.pth", overlapping()
    long = json.dumps({"w": {"dtype": "F32", "shape": [2**34], "data_offsets": [0, 2**36]}})
    yield "long.safetensors", len(long).to_bytes(8, "little") + long.encode() + bytes(64)


def overlapping():
    """A zip whose directory names the same bytes a thousand times."""
    plain = in_zip({"data.pkl": pickled(b"}"), "data/0": bytes(1 << 20)})
    start = plain.index(b"PK\x01\x02", 1 << 20)
    first = plain.index(b"PK\x01\x02", start + 4)
    end = plain.index(b"PK\x05\x06", start)
    entry = plain[first:end]
    copies = b"".join(entry.replace(b"data/0", b"%06d" % n) for n in range(1000))
    tail = bytearray(plain[end:])
    struct.pack_into("<HHI", tail, 8, 1001, 1001, first - start + len(copies))
    return plain[:first] + copies + bytes(tail)


READING = """
import resource, sys, time
from pathlib import Path
import torch
from vizkit.checkpoints import read_state_dict
from vizkit.errors import WeightsError
# more than enough to read what is small, and too little for what these files would fill
resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
for path in sorted(Path(sys.argv[1]).iterdir()):
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        read_state_dict(path)
    except WeightsError as error:
        said = str(error).replace(str(path), "")
    else:
        said = "read"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(path.name, grown >> 10, round(time.monotonic() - started), said, sep="|")
"""


def test_small_files_fill_no_memory(tmp_path):
    for name, data in greedy():
        write(tmp_path / name, data)
        assert len(data) < 10 << 20
    done = subprocess.run(
        [sys.executable, "-c", READING, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=85,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [line.split("|") for line in done.stdout.splitlines()]
    assert {name for name, *_ in found} == {path.name for path in tmp_path.iterdir()}
    for name, megabytes, seconds, said in found:
        assert int(megabytes) < 200, name
        assert int(seconds) < 20, name
        assert said != "read", name
    told = {name: said for name, *_, said in found}
    assert "calls builtins.bytearray, which can fill the memory" in told["bytes.pth"]
    assert "encodes text so that it grows" in told["hex.pth"]
    assert "unpacks to 268 MB" in told["packed.pth"]
    assert "unpacks to 1.05e+03 MB" in told["overlapping.pth"]


def test_what_is_whole_is_not_taken_for_harmful(state, tmp_path):
    for name, options in {"new": {}, "old": {"_use_new_zipfile_serialization": False}}.items():
        path = tmp_path / f"{name}.pth"
        # bytes, as numpy's numbers are stored; and a word that is also the name of an encoding
        torch.save(
            {"state_dict": state, "meta": {"best": np.float64(3), "as": "hexagon"}}, path, **options
        )
        assert harm(path) == ""
        assert read_state_dict(path).keys() == state.keys()
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(tmp_path / "new.pth") as whole, zipfile.ZipFile(packed, "w") as again:
        for each in whole.namelist():
            again.writestr(each, whole.read(each), zipfile.ZIP_DEFLATED)
    assert harm(packed) == ""


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_file_is_never_opened(suffix, tmp_path):
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"link{suffix}").symlink_to(path)
    (tmp_path / f"folder{suffix}").mkdir()
    (tmp_path / f"gone{suffix}").symlink_to("nowhere")
    kinds = {"pipe": "a named pipe", "link": "a named pipe", "zero": "a device"}
    kinds |= {"folder": "a folder", "gone": "a link that leads nowhere"}
    for name, kind in kinds.items():
        own = tmp_path / f"{name}{suffix}"
        assert f"is {kind}" in refusal(own)
        with pytest.raises(InputError, match=kind):
            load_training(own, torch.device("cpu"), ["model"])
        with pytest.raises(InputError, match=kind):
            load_state(own, {}, {})


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_stands_for_weights_says_so(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    assert "is a git-lfs pointer, not the weights: run git lfs pull" in refusal(write(path, LFS))
    assert "is a git-annex pointer, not the weights" in refusal(write(path, ANNEX))
    for page in PAGES:
        assert "is a web page, not the weights" in refusal(write(path, page))
    assert "is an empty file" in refusal(write(path, b""))


def test_on_the_command_line_it_is_one_line_and_code_2(tmp_path, monkeypatch, capsys):
    path = write(tmp_path / "a.pth", LFS)
    command = ["vizkit", "predict", str(tmp_path), "-m", "demo/vgg11", "-w", str(path)]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"vizkit: {path} is a git-lfs pointer, not the weights: run git lfs pull"
    ]


def test_a_file_that_is_refused_makes_no_network(state, tmp_path):
    path = tmp_path / "a\nb.pth"
    torch.save({**state, "extra": Trap(tmp_path / "ran")}, path)
    with pytest.raises(WeightsError, match="could run code: refused") as caught:
        vizkit.load("demo/vgg11", weights=path, classes=["a", "b"])
    assert str(caught.value).isprintable()
    assert r"a\nb.pth" in str(caught.value)


PROGRESS = {"done": 2, "counted": 8, "failed": {"3": "no image"}}


def test_where_runs_go_on_only_what_they_wrote_is_taken(tmp_path):
    path, facts = tmp_path / ".state-0-of-1.safetensors", {"what": "a test"}
    like = {"sums": torch.zeros(3, dtype=torch.float64)}
    save_state(path, like, PROGRESS, facts)
    sums, progress = load_state(path, facts, like)
    assert progress == PROGRESS
    assert torch.equal(sums["sums"], like["sums"])
    for other in (
        torch.zeros(3),
        torch.zeros(4, dtype=torch.float64),
        torch.zeros(3, dtype=torch.int64),
    ):
        save_state(path, {"sums": other}, PROGRESS, facts)
        with pytest.raises(InputError, match="other shapes or types"):
            load_state(path, facts, like)
    odd = {
        "done": (-1, 2.5, "2", None, True, [2]),
        "counted": (-1, "all"),
        "failed": ([], "none", {"x": "y"}, {"3": 4}),
    }
    for name, values in odd.items():
        for value in values:
            save_state(path, like, PROGRESS | {name: value}, facts)
            with pytest.raises(InputError, match="does not say how far the run came"):
                load_state(path, facts, like)
    write(path, save({"sums": like["sums"]}))
    with pytest.raises(InputError, match="cannot be read"):
        load_state(path, facts, like)
    deep = {"progress": "[" * 100_000, "facts": json.dumps(facts)}
    write(path, save(like, deep))
    with pytest.raises(InputError, match="cannot be read"):
        load_state(path, facts, like)


def test_others_may_read_what_was_written(tmp_path):
    from vizkit.training import Recipe, save_weights

    net = nn.Sequential(nn.Linear(2, 2))
    save_weights(net, tmp_path / "a.safetensors", Recipe("demo/vgg11"), ["a", "b"])
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
