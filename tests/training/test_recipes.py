"""Recipes: what they refuse, and what the bundled ones say."""

import dataclasses

import pytest

from vizkit.errors import InputError
from vizkit.training import (
    Recipe,
    list_recipes,
    read_recipe,
    recipe_names,
    train,
    write_recipe,
)


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("norm", ["", "bn"])
def test_mmpretrains_schedule(depth, norm):
    """configs/_base_/schedules/imagenet_bs256.py; the plain networks' own files lower the rate."""
    recipe = read_recipe(f"vgg{depth}{norm}_8xb32_in1k")
    assert recipe.arch == f"torchvision/vgg{depth}{'_bn' if norm else ''}"
    assert recipe.learning_rate == (0.1 if norm else 0.01)
    assert (recipe.optimizer, recipe.momentum, recipe.weight_decay) == ("momentum", 0.9, 1e-4)
    assert (recipe.schedule, recipe.milestones, recipe.decay_rate) == (
        "multistep", (30, 60, 90), 0.1,
    )  # fmt: skip
    assert (recipe.phases, recipe.batch_size) == (((224, 100),), 8 * 32)
    assert (recipe.weights, recipe.decay_all, recipe.clip, recipe.warmup_epochs) == (
        "none", True, 0, 0,
    )  # fmt: skip
    assert (recipe.label_smoothing, recipe.min_crop, recipe.flip) == (0, 0.08, 0.5)


def test_all_are_listed_and_say_what_they_are():
    table = list_recipes().set_index("recipe")
    assert set(table.index) == set(recipe_names())
    assert len(table) == 12
    assert (table["about"].str.len() > 10).all()
    assert table.loc["ese_vovnet19b_dw_ra_in1k", "about"].startswith("an approximation")


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_that_is_written_reads_the_same(name, tmp_path):
    recipe = read_recipe(name, {"arch": "demo/vgg11", "seed": 4})
    write_recipe(recipe, tmp_path / "own.toml")
    assert read_recipe(tmp_path / "own.toml") == recipe


def test_odd_words_are_written_as_they_are(tmp_path):
    recipe = Recipe(
        "demo/vgg11", weights='a "b"\\ü\n.pth', optimizer_options={"eps": 1e-8, "amsgrad": True}
    )
    write_recipe(recipe, tmp_path / "own.toml")
    assert read_recipe(tmp_path / "own.toml") == recipe


def test_values_in_a_file_are_changed_by_those_beside_it(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('arch = "demo/vgg11"\nsize = 64\nepochs = 3\nlearning_rate = 1\n')
    assert read_recipe(path).phases == ((64, 3),)
    assert read_recipe(path).learning_rate == 1.0
    assert read_recipe(path, {"epochs": 5}).phases == ((64, 5),)
    assert read_recipe(path, {"size": 0}).phases == ((0, 3),)
    assert read_recipe(path, {"phases": [[32, 1], [64, 1]]}).epochs == 2
    assert read_recipe("demo", {"size": 96, "epochs": 2}).phases == ((96, 2),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch = 'demo/vgg11'\nlearning_rat = 1", "unknown key of recipe .*mean 'learning_rate'"),
        ("arch = 'demo/vgg11'\nbatch_size = '32'", "batch_size must be a whole number, not '32'"),
        ("arch = 'demo/vgg11'\nbatch_size = true", "batch_size must be a whole number, not True"),
        ("arch = 'demo/vgg11'\nfreeze = 'stride1'", "freeze must be a list, not 'stride1'"),
        ("arch = 'demo/vgg11'\nphases = [[64, 1.5]]", "phases cannot be"),
        ("arch = 'demo/vgg11'\nphases = [64, 2]", "phases cannot be"),
        ("arch = 'demo/vgg11'\nphases = [[64, 2]]\nepochs = 3", "give phases, or epochs, not both"),
        ("arch = 'demo/vgg11'\nepochs = -1", "phases cannot be"),
        ("epochs = 3", "is for any model: give arch"),
        ("arch = ", "is no recipe"),
    ],
)
def test_files_that_are_refused(tmp_path, text, message):
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_recipe(tmp_path / "own.toml")


def test_names_and_lengths_that_are_refused():
    with pytest.raises(InputError, match="unknown recipe 'finetun'; did you mean 'finetune'"):
        read_recipe("finetun")
    with pytest.raises(InputError, match="several phases: give size and epochs both"):
        read_recipe("demo", {"epochs": 2})


@pytest.mark.parametrize(
    "bad",
    [
        {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")},
        {"min_crop": 2.0}, {"phases": ()}, {"label_smoothing": 1.0}, {"ema": 1.0}, {"clip": -1.0},
        {"schedule": "plateau"}, {"augment": "rand"}, {"precision": "bf16"}, {"draws": "random"},
        {"save_as": "float64"}, {"magnitude": 31}, {"erase": 1.5}, {"milestones": (0,)},
        {"accumulate": 0}, {"warmup_epochs": -1.0},
    ],
    ids=str,
)  # fmt: skip
def test_values_that_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Recipe("demo/vgg11_bn", **bad)


def test_a_start_and_weights_are_one_too_many():
    with pytest.raises(InputError, match="give one"):
        Recipe("demo/vgg11", start="demo/vgg11=a.safetensors", weights="default")


def test_every_attribute_is_described():
    for each in dataclasses.fields(Recipe):
        assert each.name in Recipe.__doc__


@pytest.mark.parametrize(
    ("name", "arch"),
    [("ese_vovnet19b_dw_ra_in1k", "ese_vovnet19b_dw"), ("finetune", "demo/vgg13_bn"),
     ("finetune_head", "demo/vovnet19b")],
)  # fmt: skip
def test_bundled_recipes_run(photos, tmp_path, name, arch):
    changes = {"arch": arch, "size": 64, "epochs": 1, "batch_size": 12}
    recipe = read_recipe(name, changes)
    log = train(recipe, photos / "train", tmp_path, val=photos / "val", workers=0, device="cpu")
    assert log["val_top1"].notna().all()
    assert set(log["weights"]) == {"ema" if recipe.ema else "trained"}
