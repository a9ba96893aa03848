"""Weights from real files: both VGG layouts, strictly, and never running what is inside."""

import os

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
