"""What a run starts from, and what it leaves as it was."""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import vizkit
from vizkit import zoo
from vizkit.errors import InputError, WeightsError
from vizkit.training import Recipe, train
from vizkit.training.freezing import Frozen
from vizkit.training.network import build, last_layer

TEN = zoo.recipes()["classes"]
SYNSETS = {"church": "n03028079", "tench": "n01440764"}


def bundled(name):
    return zoo.load(name).state_dict()


def fine_tuned(photos, out, arch, **values):
    values = {"weights": "default", "phases": ((32, 1),), "batch_size": 8, **values}
    recipe = Recipe(f"demo/{arch}", save_as="float32", **values)
    log = train(recipe, photos / "train", out, workers=0, device="cpu")
    return load_file(out / "model.safetensors"), log


class TestTheLastLayer:
    def test_of_the_same_classes_it_is_kept(self):
        found, words = build(Recipe("demo/vgg11", weights="default"), sorted(TEN))
        order = [TEN.index(name) for name in sorted(TEN)]
        own = bundled("vgg11")["head.fc.weight"]
        assert torch.equal(found.module.state_dict()["head.fc.weight"], own[order])
        assert found.classes == tuple(sorted(TEN))
        assert "head.fc keeps its classes" in words

    def test_a_network_that_is_not_trained_any_further_predicts_the_same(self, tmp_path):
        """In the order of the folders, whatever order the weights have."""
        image = vizkit.samples()["rocket"]
        folders = sorted(TEN, reverse=True)
        found, _ = build(Recipe("demo/vgg11_bn", weights="default"), folders)
        table = vizkit.predict(found, image, 10)
        expected = vizkit.predict("demo/vgg11_bn", image, 10)
        assert list(table["class"]) == list(expected["class"])
        assert table["probability"].to_numpy() == pytest.approx(expected["probability"].to_numpy())

    def test_of_some_of_the_classes_their_outputs_are_kept(self):
        folders = ["n03028079", "n01440764"]
        found, words = build(Recipe("demo/vgg11", weights="default"), folders)
        state, own = found.module.state_dict(), bundled("vgg11")
        rows = [TEN.index("church"), TEN.index("tench")]
        assert found.classes == ("church", "tench")
        for kind in ("weight", "bias"):
            assert torch.equal(state[f"head.fc.{kind}"], own[f"head.fc.{kind}"][rows])
        assert "keeps 2 of its 10 outputs" in words

    def test_of_other_classes_it_is_new_and_the_rest_is_kept(self):
        found, words = build(Recipe("demo/vgg16_bn", weights="default"), ["cat", "dog"])
        state, own = found.module.state_dict(), bundled("vgg16_bn")
        assert state["head.fc.weight"].shape[0] == 2
        others = [key for key in own if not key.startswith("head.fc")]
        assert all(torch.equal(state[key], own[key]) for key in others)
        assert "head.fc is new: 2 outputs instead of 10" in words

    def test_a_file_without_names_is_believed_and_that_is_said(self, tmp_path):
        save_file(bundled("vgg11"), tmp_path / "a.safetensors")
        recipe = Recipe("demo/vgg11", weights=str(tmp_path / "a.safetensors"))
        found, words = build(recipe, [f"class{i}" for i in range(10)])
        own = bundled("vgg11")["head.fc.weight"]
        assert torch.equal(found.module.state_dict()["head.fc.weight"], own)
        assert "the file names none" in words

    def test_a_runs_own_file_knows_its_classes(self, photos, tmp_path):
        state, _ = fine_tuned(photos, tmp_path / "first", "vgg11")
        file = str(tmp_path / "first" / "model.safetensors")
        found, words = build(Recipe("demo/vgg11", weights=file), ["red", "blue"])
        assert torch.equal(
            found.module.state_dict()["head.fc.weight"], state["head.fc.weight"].flip(0)
        )
        assert "keeps its classes" in words

    @pytest.mark.parametrize(
        ("arch", "path"),
        [("demo/vovnet19b", "head.fc"), ("torchvision/squeezenet1_1", "classifier.1"),
         ("torchvision/vgg11", "classifier.6"), ("resnet18", "fc")],
    )  # fmt: skip
    def test_it_is_found_in_any_network(self, arch, path):
        assert last_layer(vizkit.load(arch, weights=None, device="cpu")) == path

    def test_weights_of_another_network_are_refused(self, tmp_path):
        save_file(bundled("vgg13"), tmp_path / "a.safetensors")
        with pytest.raises(WeightsError, match="does not fit"):
            build(Recipe("demo/vgg11", weights=str(tmp_path / "a.safetensors")), TEN)
        with pytest.raises(WeightsError, match="no such weights file"):
            build(Recipe("demo/vgg11", weights="missing.pth"), TEN)


def test_synset_folders_get_the_names_of_their_classes(tmp_path):
    for name, synset in SYNSETS.items():
        for split in ("train", "val"):
            folder = tmp_path / split / (synset if split == "train" else name)
            folder.mkdir(parents=True)
            for i in range(3):
                vizkit.samples()["rocket"].resize((40, 40)).save(folder / f"{i}.png")
    recipe = Recipe("demo/vgg11", phases=((32, 1),), batch_size=4)
    # the validation photos' folders may have the names where the training photos' have synsets
    with pytest.raises(InputError, match="the training photos have"):
        train(recipe, tmp_path / "train", tmp_path / "run", val=tmp_path / "val", workers=0)
    train(recipe, tmp_path / "train", tmp_path / "run", val=tmp_path / "train", workers=0)
    file = tmp_path / "run" / "model.safetensors"
    model = vizkit.load("demo/vgg11", weights=file, device="cpu")
    assert model.classes == ("tench", "church")
    assert vizkit.evaluate(model, tmp_path / "train")["n"][0] == 6


class TestFreezing:
    def test_a_frozen_stage_stays_bit_for_bit_with_its_statistics(self, photos, tmp_path):
        state, _ = fine_tuned(photos, tmp_path, "vgg11_bn", freeze=("stride1", "stride4"), ema=0.5)
        own = bundled("vgg11_bn")
        last = {"stride1": 2, "stride2": 6, "stride4": 13}
        for key, value in own.items():
            if not key.startswith("features"):
                continue
            place = int(key.split(".")[1])
            frozen = place <= last["stride1"] or last["stride2"] < place <= last["stride4"]
            assert torch.equal(state[key], value) == frozen, key

    @pytest.mark.parametrize("arch", ["vgg11_bn", "vovnet19b"])
    def test_a_frozen_backbone_leaves_the_last_layer(self, photos, tmp_path, arch):
        state, _ = fine_tuned(photos, tmp_path, arch, freeze=("backbone",), optimizer="sgd",
                              decay_all=True)  # fmt: skip
        own = bundled(arch)
        changed = {key for key in own if not torch.equal(state[key], own[key])}
        assert changed == {"head.fc.weight", "head.fc.bias"}

    def test_frozen_parameters_get_no_gradient(self):
        found, _ = build(Recipe("demo/vgg11_bn", weights="default"), TEN)
        frozen = Frozen(found, ("stride1", "stride2"))
        found.module.train()
        frozen.hold()
        found.module(torch.randn(4, 3, 64, 64)).sum().backward()
        for name, parameter in found.module.named_parameters():
            inside = name.startswith("features.") and int(name.split(".")[1]) <= 6
            assert (parameter.grad is None) == inside, name
        norms = [m for m in found.module.modules() if isinstance(m, nn.BatchNorm2d)]
        assert [m.training for m in norms] == [False] * 2 + [True] * 6

    def test_unknown_stages_are_refused(self, photos, tmp_path):
        with pytest.raises(InputError, match=r"'stride3'; did you mean .* choose from backbone"):
            fine_tuned(photos, tmp_path / "run", "vgg11", freeze=("stride3",))
        assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet")
def test_a_network_of_torchvision_is_trained(photos, tmp_path):
    """One with several outputs in training is refused in words, another trains."""
    recipe = Recipe("torchvision/squeezenet1_1", phases=((64, 1),), batch_size=12)
    log = train(recipe, photos / "train", tmp_path / "run", val=photos / "val", workers=0)
    assert log["val_top1"].notna().all()
    recipe = Recipe("torchvision/googlenet", phases=((64, 1),), batch_size=12)
    with pytest.raises(InputError, match="GoogLeNetOutputs in training, not logits"):
        train(recipe, photos / "train", tmp_path / "other", workers=0)


def test_fine_tuning_learns(tmp_path):
    """Two of the ten classes under other names: the new last layer is soon right."""
    train_on = tmp_path / "photos"
    for i, (name, colour) in enumerate({"night": 30, "day": 220}.items()):
        (train_on / name).mkdir(parents=True)
        for k in range(16):
            shade = (colour + k, colour, colour - i * k)
            Image.new("RGB", (48, 40), shade).save(train_on / name / f"{k}.png")
    recipe = Recipe(
        "demo/vgg11_bn", weights="default", freeze=("backbone",), phases=((64, 8),),
        batch_size=8, learning_rate=1e-2, schedule="cosine", draws="photo",
    )  # fmt: skip
    log = train(recipe, train_on, tmp_path / "run", val=train_on, workers=0)
    assert log["val_top1"].iloc[-1] == 1.0
