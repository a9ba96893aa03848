"""Weights from real files: both VGG layouts, strictly, and never running what is inside."""

import json
import os
import pickle
import random
import zipfile
from collections import OrderedDict

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from vizkit import zoo
from vizkit.checkpoints import fit, read_state_dict
from vizkit.errors import WeightsError


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_plain_nested_and_parallel_files(net, tmp_path):
    state = net.state_dict()
    contents = {
        "plain": state,
        "state_dict": {"state_dict": state, "epoch": 3},
        "model": {"model": state, "optimizer": {"lr": 0.1}},
        "parallel": {f"module.{k}": v for k, v in state.items()},
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / f"{name}.pth")
        assert equal(read_state_dict(tmp_path / f"{name}.pth"), state), name
    save_file(state, tmp_path / "a.safetensors")
    assert equal(read_state_dict(tmp_path / "a.safetensors"), state)


class Trap:
    """Runs a command when unpickled the usual way."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    for content in (Trap(tmp_path / "ran"), {"state_dict": {"w": Trap(tmp_path / "ran")}}):
        torch.save(content, tmp_path / "trap.pth")
        with pytest.raises(WeightsError, match="could run code: refused"):
            read_state_dict(tmp_path / "trap.pth")
    assert not (tmp_path / "ran").exists()


def test_damaged_missing_and_foreign_files(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "a.pth")
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    for kind in ("pth", "safetensors"):
        whole = (tmp_path / f"a.{kind}").read_bytes()
        for name, data in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}.items():
            path = tmp_path / f"{name}.{kind}"
            path.write_bytes(data)
            with pytest.raises(WeightsError, match=name):
                read_state_dict(path)
    with pytest.raises(WeightsError, match="no such weights file"):
        read_state_dict(tmp_path / "missing.pth")
    for content in ([1, 2], {}, {"a": 3}, torch.zeros(3)):
        torch.save(content, tmp_path / "odd.pth")
        with pytest.raises(WeightsError, match=r"odd\.pth holds"):
            read_state_dict(tmp_path / "odd.pth")


def refusal(path):
    """What the one error says, which is one printable line with the file's name."""
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    text = str(caught.value)
    assert str(path) in text
    assert text.isprintable()
    return text


def write(path, data):
    path.write_bytes(data)
    return path


def outcome(path):
    try:
        return read_state_dict(path), ""
    except WeightsError as error:
        return None, str(error)


def changed(whole, seed):
    """Flipped bits, mostly near the front, then changed and inserted bytes."""
    dice = random.Random(seed)
    for head in (len(whole), 1000, 200) * 50:
        data = bytearray(whole)
        for _ in range(dice.choice((1, 1, 4))):
            data[dice.randrange(min(head, len(data)))] ^= 1 << dice.randrange(8)
        yield bytes(data)
    for _ in range(30):
        at = dice.randrange(len(whole))
        yield whole[:at] + dice.randbytes(1) + whole[at + 1 :]
        yield whole[:at] + dice.randbytes(dice.choice((1, 8))) + whole[at:]


@pytest.mark.parametrize("kind", ["zip.pth", "legacy.pt", "plain.safetensors"])
def test_any_damage_is_a_weights_error_or_still_a_state_dict(net, tmp_path, kind):
    path = tmp_path / kind
    if path.suffix == ".safetensors":
        save_file(net.state_dict(), path)
    else:
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization="zip" in kind)
    whole = path.read_bytes()
    for cut in {*range(16), *range(0, len(whole), len(whole) // 100), len(whole) - 1}:
        refusal(write(path, whole[:cut]))
    refused = 0
    for data in changed(whole, seed=0):
        state, said = outcome(write(path, data))
        refused += state is None
        if state is None:
            assert str(path) in said
            assert said.isprintable()
        else:
            assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert refused > 80


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_random_bytes_text_and_plain_pickles_are_refused(tmp_path, suffix):
    dice = random.Random(1)
    for size in (1, 2, 8, 9, 64, 1000, 5000) * 5:
        text = refusal(write(tmp_path / f"noise{suffix}", dice.randbytes(size)))
        assert "is not a readable checkpoint" in text
    for data in (b"", b"\n", b"hello", b"<!DOCTYPE html>\n<html>Not Found</html>\n", b"\x80" * 64):
        refusal(write(tmp_path / f"text{suffix}", data))
    for content in ([1], 3, None, "weights", {"a": {"b": {"c": 1}}}, {"w": [1.0]}):
        for protocol in (0, 2, 4):
            refusal(write(tmp_path / f"pickle{suffix}", pickle.dumps(content, protocol)))


def test_zips_that_are_no_checkpoint(tmp_path):
    members = {"empty": {}, "other": {"a.txt": b"hi"}, "short": {"a/data.pkl": b"\x80\x02"}}
    for name, files in members.items():
        with zipfile.ZipFile(tmp_path / f"{name}.pth", "w") as archive:
            for member, data in files.items():
                archive.writestr(member, data)
        assert "is not a readable checkpoint" in refusal(tmp_path / f"{name}.pth")
    torch.save({"w": torch.zeros(3)}, tmp_path / "whole.pth")
    with (
        zipfile.ZipFile(tmp_path / "whole.pth") as whole,
        zipfile.ZipFile(tmp_path / "lacking.pth", "w") as lacking,
    ):
        for member in whole.namelist():
            if "/data/" not in member:
                lacking.writestr(member, whole.read(member))
    assert "is not a readable checkpoint" in refusal(tmp_path / "lacking.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds a list"),
        (None, "holds a NoneType"),
        (7, "holds a int"),
        ({"state_dict": {}}, "state_dict are not tensors"),
        ({"a": {"b": {"c": torch.zeros(1)}}}, "a are not tensors"),
        ({"model": {"w": torch.zeros(1), "epoch": 3}}, "epoch are not tensors"),
        ({"a\nb\x1b[31m": 1}, "a b [31m are not tensors"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "w (complex64, strided, cpu)"),
        ({"w": torch.zeros(2).to(torch.float8_e4m3fn)}, "w (float8_e4m3fn, strided, cpu)"),
        ({"w": torch.eye(2).to_sparse()}, "w (float32, sparse_coo, cpu)"),
        ({"w": torch.zeros(2, device="meta")}, "w (float32, strided, meta)"),
    ],
)
def test_what_is_whole_but_no_weights_is_named(tmp_path, content, said):
    torch.save(content, tmp_path / "odd.pt")
    assert said in refusal(tmp_path / "odd.pt")


def test_usual_number_types_are_weights(tmp_path):
    kinds = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)
    state = {str(kind): torch.ones(2, dtype=kind) for kind in kinds}
    torch.save(state, tmp_path / "a.pth", pickle_protocol=3)
    save_file(state, tmp_path / "a.safetensors")
    assert equal(read_state_dict(tmp_path / "a.pth"), state)
    assert equal(read_state_dict(tmp_path / "a.safetensors"), state)


def test_hostile_safetensors_headers(tmp_path):
    path = tmp_path / "bad.safetensors"
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    headers = (
        {"w": entry | {"shape": [2**62, 2**62]}},
        {"w": entry | {"shape": [-1]}},
        {"w": entry | {"dtype": "X9"}},
        {"w": entry | {"data_offsets": [0, 2**63]}},
        {"w": entry | {"data_offsets": [4, 0]}},
        {"w": entry, "v": entry},
        {"w": None},
        [1],
    )
    for header in headers:
        data = json.dumps(header).encode()
        refusal(write(path, len(data).to_bytes(8, "little") + data + bytes(4)))
    for length in (0, 1, 2**31, 2**40, 2**63, 2**64 - 1):
        refusal(write(path, length.to_bytes(8, "little") + b'{"w":1}'))


class Shadow:
    """Unpickles, within what weights_only allows, to a dict whose ``get`` is a number."""

    def __reduce__(self):
        return OrderedDict, (), {"get": 3, "items": 4}


def test_hostile_pickles(tmp_path):
    torch.save(Shadow(), tmp_path / "shadow.pth")
    refusal(tmp_path / "shadow.pth")
    torch.save(nn.Linear(1, 1), tmp_path / "module.pth")
    assert "refused (torch.nn.modules.linear.Linear)" in refusal(tmp_path / "module.pth")
    write(tmp_path / "trap.pt", pickle.dumps(Trap(tmp_path / "ran"), 0))
    refusal(tmp_path / "trap.pt")
    refusal((tmp_path / "trap.pt").rename(tmp_path / "trap.safetensors"))
    assert not (tmp_path / "ran").exists()


def test_paths_that_cannot_be_read(tmp_path):
    for suffix in ("pth", "safetensors"):
        (tmp_path / f"folder.{suffix}").mkdir()
        assert "is a folder" in refusal(tmp_path / f"folder.{suffix}")
        loop = tmp_path / f"loop.{suffix}"
        loop.symlink_to(loop)
        assert "unreadable (Too many levels of symbolic links)" in refusal(loop)
        refusal(tmp_path / f"{'long' * 100}.{suffix}")


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may read everything")
def test_no_permission(net, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    for path in (closed / "a.pth", closed / "a.safetensors"):
        write(path, b"").chmod(0)
        assert "ermission denied" in refusal(path)
    closed.chmod(0)
    try:
        assert "ermission denied" in refusal(closed / "a.pth")
    finally:
        closed.chmod(0o700)


@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt])
def test_what_is_not_the_file_s_fault_stays_as_it_is(tmp_path, monkeypatch, kind):
    def load(*args, **kwargs):
        assert kwargs["weights_only"] is True
        raise kind

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(kind):
        read_state_dict(write(tmp_path / "a.pth", b"x"))


def test_files_without_batch_counters_fit(net, tmp_path):
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn, self.deep = nn.BatchNorm1d(4), nn.Sequential(nn.SyncBatchNorm(4))
            self.shared = self.bn

    for module in (net, nn.BatchNorm3d(4), Wide(), timm.layers.BatchNormAct2d(4)):
        whole = {k: v + 1 for k, v in module.state_dict().items()}
        old = {k: v for k, v in whole.items() if not k.endswith("num_batches_tracked")}
        assert len(old) < len(whole)
        torch.save(old, tmp_path / "old.pth")
        fit(module, read_state_dict(tmp_path / "old.pth"), "old.pth")
        fitted = module.state_dict()
        assert equal({k: fitted[k] for k in old}, old)
        assert all(fitted[k].item() == 0 for k in fitted.keys() - old.keys())


def test_only_all_of_batchnorm_s_own_counters_may_be_absent(net):
    double = nn.Sequential(net, nn.BatchNorm2d(2))
    state = double.state_dict()
    one = {k: v for k, v in state.items() if k != "1.num_batches_tracked"}
    with pytest.raises(WeightsError, match=r"missing 1\.num_batches_tracked$"):
        fit(double, one, "f.pth")
    bare = {k: v for k, v in state.items() if "num_batches" not in k and k != "1.running_var"}
    with pytest.raises(WeightsError, match=r"missing 1\.running_var$"):
        fit(double, bare, "f.pth")
    other = nn.Linear(2, 2)
    other.register_buffer("num_batches_tracked", torch.tensor(0))
    with pytest.raises(WeightsError, match=r"missing num_batches_tracked$"):
        fit(other, nn.Linear(2, 2).state_dict(), "f.pth")


def test_fit_is_strict_and_changes_nothing_on_failure(net):
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = {k: v + 1 for k, v in before.items()}
    missing = {k: v for k, v in state.items() if k != "2.bias"}
    with pytest.raises(WeightsError, match=r"f\.pth does not fit Sequential: missing 2\.bias"):
        fit(net, missing, "f.pth")
    with pytest.raises(WeightsError, match=r"left over extra"):
        fit(net, {**state, "extra": torch.zeros(1)}, "f.pth")
    with pytest.raises(WeightsError, match=r"2\.weight is \(5, 4\), not \(2, 4\)"):
        fit(net, {**state, "2.weight": torch.zeros(5, 4)}, "f.pth")
    assert equal(net.state_dict(), before)
    fit(net, state, "f.pth")
    assert equal(net.state_dict(), state)


def test_both_vgg_layouts_fit_both_libraries():
    torch.manual_seed(0)
    pixels = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        theirs = torchvision.models.vgg11_bn().eval()
        expected = theirs(pixels)
        ours = timm.create_model("vgg11_bn").eval()
        fit(ours, theirs.state_dict(), "torchvision's")
        assert torch.allclose(ours(pixels), expected, atol=1e-5)
        state = {k: v.clone() for k, v in ours.state_dict().items()}
        for parameter in theirs.parameters():
            parameter.zero_()
        fit(theirs, state, "timm's")
        assert torch.allclose(theirs(pixels), expected, atol=1e-5)


def test_another_architecture_s_weights_are_refused():
    with pytest.raises(WeightsError, match="does not fit VGG: "):
        fit(zoo.build("vgg11"), zoo.build("vgg11_bn").state_dict(), "x")
