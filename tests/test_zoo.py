"""The demo family is the real architectures with other numbers, and really trained."""

import json
import shlex

import pytest
import timm
import torch
from timm.models.vgg import VGG
from timm.models.vovnet import VovNet

import vizkit
from vizkit import zoo


@pytest.mark.parametrize("name", zoo.NAMES)
def test_module_paths_are_those_of_the_full_size_model(name):
    with torch.device("meta"):
        full = timm.create_model("ese_vovnet19b_dw" if name == "vovnet19b" else name)
    small = zoo.build(name)
    assert isinstance(small, VovNet if name == "vovnet19b" else VGG)
    assert [n for n, _ in small.named_modules()] == [n for n, _ in full.named_modules()]
    for mine, theirs in zip(small.feature_info, full.feature_info, strict=True):
        assert (mine["module"], mine["reduction"]) == (theirs["module"], theirs["reduction"])
        assert mine["num_chs"] * (2 if name == "vovnet19b" else 4) == theirs["num_chs"]


@pytest.mark.parametrize("name", zoo.NAMES)
def test_a_fresh_build_is_initialised_and_the_bundled_one_runs(name):
    torch.manual_seed(0)
    fresh = zoo.build(name, 4).eval()
    with torch.no_grad():
        logits = fresh(torch.randn(2, 3, 128, 128))
    assert logits.shape == (2, 4)
    assert torch.isfinite(logits).all()
    model = vizkit.load(f"demo/{name}", device="cpu")
    assert len(model.classes) == 10
    assert model.transform.size == (128, 128)
    assert all(torch.isfinite(p).all() for p in model.module.parameters())
    assert model.module.training is False


def test_recipes_say_how_each_was_made_and_how_good_it_is():
    recipes = zoo.recipes()
    assert set(recipes["models"]) == set(zoo.NAMES)
    known = vizkit.list_models("demo/*").set_index("name")
    for name, entry in recipes["models"].items():
        assert entry["params"] == sum(p.numel() for p in zoo.build(name).parameters())
        assert entry["top1_low"] < entry["top1"] < entry["top1_high"]
        assert known.loc[f"demo/{name}", "top1"] == entry["top1"]
        assert f"--arch demo/{name}" in entry["runs"][-1]
        for command in entry["runs"]:
            words = shlex.split(command)
            assert words[:2] == ["vizkit", "train"]
            assert "--seed" in words
    assert json.dumps(recipes)


def test_bundled_models_recognise_their_classes(imagenette):
    """At least what the recipe says, less its own uncertainty, on photos nobody trained on."""
    table = vizkit.evaluate([f"demo/{name}" for name in zoo.NAMES], imagenette / "located")
    for row in table.itertuples():
        entry = zoo.recipes()["models"][row.model.removeprefix("demo/")]
        # two intervals of independent samples overlap
        assert 100 * row.top1_high >= entry["top1_low"], row.model
        assert row.top1 > 0.7
