"""Files as timm, torchvision, mmpretrain and mmcls write them, loaded by name."""

import argparse
import json
import os
import sys
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pytest
import timm.utils
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import vizkit
from vizkit import zoo
from vizkit.checkpoints import fit, read_checkpoint
from vizkit.checkpoints.layouts import from_mmpretrain
from vizkit.errors import WeightsError
from vizkit.models import imagenet_classes

CLASSES = ["cat", "dog", "owl"]
VGGS = [name for name in zoo.NAMES if name.startswith("vgg")]


def made(name, seed=0):
    """A network in which no two numbers are alike, running statistics included."""
    torch.manual_seed(seed)
    network = zoo.build(name, len(CLASSES)).eval()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.1, 0.5)
    return network


def mmpretrain(network):
    """The same weights as mmpretrain names them, by walking through the layers."""
    state, number, inside = OrderedDict(), -1, {nn.Conv2d: "conv", nn.BatchNorm2d: "bn"}
    for layer in network.features:
        number += isinstance(layer, nn.Conv2d | nn.MaxPool2d)
        for key, value in layer.state_dict().items():
            state[f"backbone.features.{number}.{inside[type(layer)]}.{key}"] = value
    head = [network.pre_logits.fc1, network.pre_logits.fc2, network.head.fc]
    for number, layer in zip((0, 3, 6), head, strict=True):
        weight = layer.weight.detach()
        state[f"backbone.classifier.{number}.weight"] = weight.flatten(1) if number else weight
        state[f"backbone.classifier.{number}.bias"] = layer.bias.detach()
    key = "backbone.classifier.0.weight"
    state[key] = state[key].reshape(len(state[key]), -1)
    return state


def same(a, b):
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        return torch.equal(a(pixels), b(pixels))


def loaded(name, path, **options):
    return vizkit.load(f"demo/{name}", weights=path, device="cpu", **options)


@pytest.mark.parametrize("name", VGGS)
def test_every_vgg_of_mmpretrain(name, tmp_path):
    network = made(name)
    meta = {"dataset_meta": {"classes": CLASSES}, "mmengine_version": "0.10.7"}
    torch.save({"state_dict": mmpretrain(network), "meta": meta}, tmp_path / "a.pth")
    found = loaded(name, tmp_path / "a.pth")
    assert same(found.module, network)
    assert found.classes == tuple(CLASSES)
    assert found.source == "weights from a.pth (mmpretrain)"


def test_mmpretrain_s_keys_are_torchvision_s_at_full_size():
    with torch.device("meta"):
        for name in VGGS:
            network = getattr(torchvision.models, name)()
            walked, number = OrderedDict(), -1
            for layer in network.features:
                number += isinstance(layer, nn.Conv2d | nn.MaxPool2d)
                kind = "bn" if isinstance(layer, nn.BatchNorm2d) else "conv"
                for key, value in layer.state_dict().items():
                    walked[f"backbone.features.{number}.{kind}.{key}"] = value
            for key, value in network.classifier.state_dict().items():
                walked[f"backbone.classifier.{key}"] = value
            renamed = from_mmpretrain(walked)
            assert list(renamed) == list(network.state_dict())
            assert all(renamed[k].shape == v.shape for k, v in network.state_dict().items())


class HistoryBuffer:
    """Pickled as mmengine's is: its methods among its state."""

    def __init__(self, values):
        self._log_history = np.array(values)

    def mean(self):
        return self._log_history.mean()

    def __getstate__(self):
        return {**self.__dict__, "statistics_methods": {"mean": HistoryBuffer.mean}}


@pytest.fixture
def mmengine(monkeypatch):
    """A module of mmengine's name that files can refer to."""
    name = "mmengine.logging.history_buffer"
    for part in ("mmengine", "mmengine.logging", name):
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    sys.modules[name].HistoryBuffer = HistoryBuffer
    monkeypatch.setattr(HistoryBuffer, "__module__", name)
    monkeypatch.setattr(HistoryBuffer.mean, "__module__", name)


def test_mmengine_s_training_files_with_their_average(mmengine, tmp_path, monkeypatch):
    # mmengine stores the average as the weights, and these as the average's
    average, last = made("vgg11_bn", 1), made("vgg11_bn", 2)
    optimizer = torch.optim.SGD(last.parameters(), 0.1, momentum=0.9)
    content = {
        "meta": {"dataset_meta": {"classes": tuple(CLASSES)}, "epoch": 3, "cfg": "model = dict()"},
        "state_dict": mmpretrain(average),
        "ema_state_dict": {
            "steps": torch.tensor(7),
            **{f"module.{key}": value for key, value in mmpretrain(last).items()},
        },
        "optimizer": optimizer.state_dict(),
        "param_schedulers": [{"last_step": 3, "verbose": False}],
        "message_hub": {"log_scalars": OrderedDict(loss=HistoryBuffer([1.0, 2.0]))},
    }
    torch.save(content, tmp_path / "epoch_3.pth")
    with monkeypatch.context() as without:
        without.delitem(sys.modules, "mmengine.logging.history_buffer")
        found = loaded("vgg11_bn", tmp_path / "epoch_3.pth")
        assert same(found.module, average)
        assert found.source == "weights from epoch_3.pth (mmpretrain, moving average)"
        found = loaded("vgg11_bn", tmp_path / "epoch_3.pth", ema=False)
        assert same(found.module, last)
        assert found.source == "weights from epoch_3.pth (mmpretrain)"
    # nothing is allowed from now on that was not before
    with pytest.raises(Exception, match="HistoryBuffer"):
        torch.load(tmp_path / "epoch_3.pth", weights_only=True)


def test_mmcls_files_with_class_names_and_a_copy_of_all_weights(tmp_path):
    network = made("vgg13")
    state = mmpretrain(network)
    copies = {f"ema_{key.replace('.', '_')}": torch.zeros_like(v) for key, v in state.items()}
    meta = {"CLASSES": CLASSES, "mmcls_version": "0.25.0", "epoch": 100, "hook_msgs": {}}
    torch.save({"meta": meta, "state_dict": {**state, **copies}}, tmp_path / "latest.pth")
    found = loaded("vgg13", tmp_path / "latest.pth")
    assert same(found.module, network)
    assert found.classes == tuple(CLASSES)


def test_imagenet_s_names_are_spelt_in_one_way(tmp_path):
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    theirs = [info.index_to_description(i) for i in range(1000)]
    assert theirs[0] == "tench, Tinca tinca"
    torch.manual_seed(0)
    state = mmpretrain(zoo.build("vgg11", 1000))
    torch.save({"state_dict": state, "meta": {"CLASSES": theirs}}, tmp_path / "a.pth")
    assert loaded("vgg11", tmp_path / "a.pth").classes == imagenet_classes()
    theirs[5], theirs[6] = theirs[6], theirs[5]
    torch.save({"state_dict": state, "meta": {"CLASSES": theirs}}, tmp_path / "a.pth")
    assert loaded("vgg11", tmp_path / "a.pth").classes == tuple(theirs)


def test_what_timm_s_training_stores(tmp_path):
    network = made("vovnet19b")
    average = timm.utils.ModelEmaV3(network)
    average.module.load_state_dict(made("vovnet19b", 5).state_dict())
    args = argparse.Namespace(lr=0.1, model="vovnet", output=None)
    saver = timm.utils.CheckpointSaver(
        network, torch.optim.SGD(network.parameters(), 0.1), args, average,
        checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path),
    )  # fmt: skip
    saver.save_checkpoint(4, metric=71.5)
    found = loaded("vovnet19b", tmp_path / "last.pth.tar", classes=CLASSES)
    assert same(found.module, average.module)
    assert found.source == "weights from last.pth.tar (moving average)"
    found = loaded("vovnet19b", tmp_path / "last.pth.tar", classes=CLASSES, ema=False)
    assert same(found.module, network)
    assert found.recipe["ema"] is False


def test_what_torchvision_s_training_stores(tmp_path):
    network = made("vgg11_bn")
    average = torch.optim.swa_utils.AveragedModel(network)
    content = {
        "model": nn.DataParallel(network).state_dict(),
        "model_ema": average.state_dict(),
        "args": argparse.Namespace(device="cuda", output_dir="."),
        "scaler": {},
        "epoch": 3,
    }
    torch.save(content, tmp_path / "a.pth")
    for ema in (True, False):
        found = loaded("vgg11_bn", tmp_path / "a.pth", classes=CLASSES, ema=ema)
        assert same(found.module, network)


def test_wrappers_leave_prefixes_that_are_taken_away(tmp_path):
    network = made("vgg11")
    wrapped = {
        "compiled": torch.compile(network),
        "parallel": nn.DataParallel(network),
        "both": nn.DataParallel(torch.compile(network)),
        "lightning": nn.ModuleDict({"model": network}),
    }
    for name, each in wrapped.items():
        torch.save({"state_dict": each.state_dict()}, tmp_path / f"{name}.ckpt")
        found = loaded("vgg11", tmp_path / f"{name}.ckpt", classes=CLASSES)
        assert same(found.module, network), name


def test_vizkit_s_own_files_bring_their_classes(tmp_path):
    network = made("vgg11")
    header = {"vizkit": json.dumps({"classes": CLASSES})}
    save_file(network.state_dict(), tmp_path / "a.safetensors", metadata=header)
    assert loaded("vgg11", tmp_path / "a.safetensors").classes == tuple(CLASSES)
    for odd in ("[", "[1]", '{"classes": [1]}', '{"classes": "cat"}'):
        save_file(network.state_dict(), tmp_path / "b.safetensors", metadata={"vizkit": odd})
        assert read_checkpoint(tmp_path / "b.safetensors").classes == ()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("depth", r"missing .*left over .*\. These are weights of vgg13"),
        ("normalised", r"left over features\.1\.weight.*\. These are weights of vgg11_bn"),
        ("classes", r"The file has 3 classes, the network 10: give the 3 names as classes"),
        ("NaN", r"NaN or infinity in features\.0\.bias"),
        ("integers", r"another kind of number: features\.0\.bias"),
        ("lacking", r"missing head\.fc\.weight, head\.fc\.bias$"),
    ],
)
def test_what_differs_is_named_and_nothing_is_changed(kind, said, tmp_path):
    source = {"depth": "vgg13", "normalised": "vgg11_bn"}.get(kind, "vgg11")
    state = made(source).state_dict()
    if kind == "NaN":
        state["features.0.bias"][0] = torch.nan
    if kind == "integers":
        state["features.0.bias"] = state["features.0.bias"].int()
    if kind == "lacking":
        state = {key: value for key, value in state.items() if not key.startswith("head")}
    network = zoo.build("vgg11", 10 if kind == "classes" else 3)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=said):
        fit(network, read_checkpoint(tmp_path / "a.pth").state, "a.pth")
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


class Trap:
    def __reduce__(self):
        return os.system, ("echo ran",)


def test_code_among_what_training_stores_is_refused_by_name(tmp_path, capfd):
    state = made("vgg11").state_dict()
    for content in (
        {"state_dict": state, "args": argparse.Namespace(lr=Trap())},
        {"state_dict": state, "message_hub": {"a": Trap()}},
        {"model": made("vgg11")},
    ):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(WeightsError, match=r"could run code: refused \((posix|timm|vizkit)"):
            loaded("vgg11", tmp_path / "a.pth", classes=CLASSES)
    assert "ran" not in capfd.readouterr().out


def test_mmpretrain_s_own_weights_from_a_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with pytest.raises(WeightsError, match="'mmpretrain/vgg11_bn' are not in the cache"):
        vizkit.load("mmpretrain/vgg11bn_8xb32_in1k")
    model = vizkit.load("mmpretrain/vgg11_bn", weights=None, device="cpu")
    assert model.module.classifier[6].out_features == 1000
    assert str(model.transform) == "224 px, bilinear, crop 0.875"
    with pytest.raises(vizkit.InputError, match="unknown mmpretrain model 'vgg12'"):
        vizkit.load("mmpretrain/vgg12")
    table = vizkit.list_models("mmpretrain/*").set_index("name")
    assert len(table) == 8
    assert table.loc["mmpretrain/vgg19_bn", "top1"] == 74.68


def test_the_size_at_which_weights_were_tested():
    model = vizkit.load("ese_vovnet19b_dw", weights=None, use_test_size=True, device="cpu")
    assert str(model.transform) == "288 px, bicubic, crop 0.95"
    assert model.recipe["use_test_size"] is True
    for name in ("vgg11", "torchvision/vgg11", "mmpretrain/vgg11", "demo/vgg11"):
        with pytest.raises(vizkit.InputError, match="no other test size is known of 'vgg11'"):
            vizkit.load(name, weights=None, use_test_size=True)


def test_reading_is_the_same_in_many_threads_and_beside_what_users_allow(tmp_path):
    content = {"model": made("vgg11").state_dict(), "args": argparse.Namespace(lr=np.float64(1))}
    torch.save(content, tmp_path / "a.pth")
    allowed = [np.dtype, (np.float64, "numpy.core.multiarray.scalar")]
    torch.serialization.add_safe_globals(allowed)
    try:
        with ThreadPoolExecutor(4) as pool:
            files = [tmp_path / "a.pth"] * 24
            found = list(pool.map(lambda file: len(read_checkpoint(file).state), files))
        assert set(found) == {len(content["model"])}
        assert set(allowed) <= set(torch.serialization.get_safe_globals())
        assert not any(name == "argparse.Namespace" for _, name in _named_globals())
    finally:
        torch.serialization.clear_safe_globals()


def _named_globals():
    return [each for each in torch.serialization.get_safe_globals() if isinstance(each, tuple)]


def test_what_does_not_fit_costs_no_memory(tmp_path):
    state = made("vgg11").state_dict() | {"features.0.bias": torch.zeros(1).expand(10**15)}
    with pytest.raises(WeightsError, match=r"other shapes: features\.0\.bias"):
        fit(zoo.build("vgg11", 3), state, "a.pth")


def test_numbers_that_become_infinite_are_refused():
    state = made("vgg11").state_dict()
    state["features.0.bias"] = state["features.0.bias"].double()
    state["features.0.bias"][0] = 1e300
    with pytest.raises(WeightsError, match=r"NaN or infinity in features\.0\.bias"):
        fit(zoo.build("vgg11", 3), state, "a.pth")


@pytest.mark.parametrize("names", [["a", "a", "a"], ["", "a", "b"], "abc", [1, 2, 3], None])
def test_names_that_name_nothing_are_left(names, tmp_path):
    content = {"state_dict": made("vgg11").state_dict(), "meta": {"CLASSES": names}}
    torch.save(content, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").classes == ()


def test_names_from_files_are_printable(tmp_path):
    names = ["\x1b[31mred\x1b[0m\nrow", "b" * 10_000, "c"]
    content = {"state_dict": made("vgg11").state_dict(), "meta": {"CLASSES": names}}
    torch.save(content, tmp_path / "a.pth")
    found = loaded("vgg11", tmp_path / "a.pth").classes
    assert all(name.isprintable() and len(name) <= 200 for name in found)
    assert found[2] == "c"


@pytest.mark.parametrize("other", ["state_dict_ema", "model_state_dict"])
def test_empty_mappings_hold_no_weights(other, tmp_path):
    network = made("vgg11")
    torch.save({"model": network.state_dict(), other: {}}, tmp_path / "a.pth")
    assert same(loaded("vgg11", tmp_path / "a.pth", classes=CLASSES).module, network)


def test_where_weights_were_looked_for_is_said(tmp_path):
    torch.save({"net": made("vgg11").state_dict()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="there is none under state_dict, model_state_dict"):
        read_checkpoint(tmp_path / "a.pth")


def test_mmpretrain_s_other_networks_are_named(tmp_path):
    state = {f"backbone.{key}": v for key, v in torchvision.models.resnet18().state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="Of mmpretrain's networks only VGGs are converted"):
        vizkit.load("torchvision/resnet18", weights=tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:The default weight init:FutureWarning")
def test_torchvision_s_networks_that_scale_their_input(tmp_path):
    torch.manual_seed(0)
    donor = torchvision.models.googlenet(init_weights=False, transform_input=True).eval()
    torch.save(donor.state_dict(), tmp_path / "a.pth")
    module = torchvision.models.get_model("googlenet", weights=None, init_weights=False)
    assert module.transform_input is False
    found = vizkit.load("torchvision/googlenet", weights=tmp_path / "a.pth", device="cpu")
    assert found.module.transform_input is True
    assert "input scaled" in found.source
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(found.module(pixels), donor(pixels))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": "abcdefghij"}, "classes are a list of names, not 'abcdefghij'"),
        ({"classes": 5}, "classes are a list of names, not 5"),
        ({"weights": ""}, "weights are 'default', None or a file, not ''"),
        ({"weights": True}, "weights are 'default', None or a file, not True"),
        ({"weights": {}}, "weights are 'default', None or a file, not {}"),
        ({"device": None}, "unknown device None"),
        ({"device": "xpu"}, "no xpu is available here"),
    ],
)
def test_values_of_another_kind(options, said):
    with pytest.raises(vizkit.VizkitError, match=said):
        vizkit.load("demo/vgg11", **options)


@pytest.mark.parametrize("weights", [None, "default"])
def test_an_unknown_tag_of_timm_s(weights):
    said = r"unknown pretrained weights 'ese_vovnet19b_dw\.bogus'.*ra_in1k"
    with pytest.raises(vizkit.InputError, match=said):
        vizkit.load("ese_vovnet19b_dw.bogus", weights=weights)
