"""Schedules, averages, mixing and parts of steps, against computations of their own."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from timm.utils import ModelEmaV3
from torch import nn

import vizkit
from vizkit.training import Recipe, read_recipe, train
from vizkit.training.optimisation import make_mixing, make_optimizer, make_schedule
from vizkit.training.photos import Folder
from vizkit.training.sharing import Shuffled, parts_of

STEPS = 10


def rates(recipe):
    optimizer = make_optimizer(recipe, nn.Linear(2, 2))
    schedule = make_schedule(recipe, optimizer, STEPS)
    found = []
    for step in range(recipe.epochs * STEPS):
        schedule.step_update(step)
        found.append(optimizer.param_groups[0]["lr"])
    return np.array(found)


def test_multistep_is_torchs():
    recipe = read_recipe("vgg11bn_8xb32_in1k")
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, [30, 60, 90], 0.1)
    expected = []
    for _ in range(recipe.epochs):
        expected += [optimizer.param_groups[0]["lr"]] * STEPS
        optimizer.step()
        theirs.step()
    assert rates(recipe) == pytest.approx(np.array(expected))


def test_cosine_warms_up_and_ends_at_the_least_rate():
    recipe = Recipe(
        "demo/vgg11", phases=((32, 8),), schedule="cosine", learning_rate=1.0, warmup_epochs=2.0,
        warmup_rate=0.1, min_rate=0.01,
    )  # fmt: skip
    step = np.arange(80)
    cosine = 0.01 + 0.5 * 0.99 * (1 + np.cos(np.pi * step / 80))
    warm = 0.1 + 0.9 * step / 20
    assert rates(recipe) == pytest.approx(np.where(step < 20, warm, cosine))


def test_step_may_decay_between_epochs():
    recipe = Recipe(
        "demo/vgg11", phases=((32, 6),), schedule="step", learning_rate=1.0, warmup_epochs=0,
        decay_epochs=2.4, decay_rate=0.97,
    )  # fmt: skip
    assert rates(recipe) == pytest.approx(0.97 ** (np.arange(60) // 24))


@pytest.mark.parametrize("schedule", ["poly", "tanh", "warm_cosine"])
def test_others_fall_from_the_peak(schedule):
    recipe = Recipe("demo/vgg11", phases=((32, 6),), schedule=schedule, decay_rate=1.0)
    found = rates(recipe)
    assert found.max() == pytest.approx(recipe.learning_rate, rel=0.1)
    assert (np.diff(found[STEPS + 1 :]) <= 1e-12).all()
    assert found[-1] < 0.1 * recipe.learning_rate


def test_weight_decay_spares_biases_and_norms_unless_all_decay():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    for everything in (False, True):
        recipe = Recipe("demo/vgg11", optimizer="momentum", decay_all=everything)
        groups = make_optimizer(recipe, net).param_groups
        decayed = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
        expected = net.parameters() if everything else [net[0].weight]
        assert decayed == {id(p) for p in expected}
        assert not any(group["nesterov"] for group in groups)


def test_the_average_is_that_of_the_weights_after_each_step(photos, tmp_path, monkeypatch):
    seen = []
    original = ModelEmaV3.update

    def update(self, model, step=None):
        seen.append({key: value.double() for key, value in model.state_dict().items()})
        original(self, model, step)

    monkeypatch.setattr(ModelEmaV3, "update", update)
    recipe = Recipe(
        "demo/vgg11_bn", phases=((32, 2),), batch_size=8, ema=0.7, save_as="float32",
        draws="photo",
    )  # fmt: skip
    log = train(recipe, photos / "train", tmp_path, val=photos / "val", workers=0, device="cpu")
    assert len(seen) == 6
    expected = seen[0]  # timm's average begins with the weights after the first step
    for later in seen[1:]:
        expected = {key: 0.7 * expected[key] + 0.3 * later[key] for key in later}
    kept = load_file(tmp_path / "model.safetensors")
    for key in ("features.0.weight", "features.1.running_var", "head.fc.weight"):
        assert torch.allclose(kept[key].double(), expected[key], atol=1e-6)
        assert not torch.allclose(kept[key].double(), seen[-1][key], atol=1e-6)
    assert set(log["weights"]) == {"ema"}
    # what the log measured is what the file holds, at its size
    file = tmp_path / "last.pth"
    last = vizkit.load("demo/vgg11_bn", weights=file, classes=["blue", "red"], device="cpu")
    assert torch.equal(last.module.state_dict()["head.fc.weight"], kept["head.fc.weight"])


def test_mixing_mixes_targets_as_it_mixes_photos():
    torch.manual_seed(0)
    pixels = torch.rand(6, 3, 16, 16)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    mixed, targets = make_mixing(Recipe("demo/vgg11", mixup=0.8), 3)(pixels, labels)
    share = float(targets[0, 0])
    assert 0 < share < 1
    assert torch.allclose(mixed, share * pixels + (1 - share) * pixels.roll(1, 0), atol=1e-6)
    assert torch.allclose(targets.sum(1), torch.ones(6))
    mixed, targets = make_mixing(Recipe("demo/vgg11", cutmix=1.0), 3)(pixels, labels)
    own = (mixed == pixels).all(1).float().mean((1, 2))
    assert torch.allclose(own[:1], targets[0, 0], atol=1e-6)
    same = make_mixing(Recipe("demo/vgg11"), 3)(pixels, labels)
    assert same[0] is pixels
    assert same[1] is labels


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2, 5])
@pytest.mark.parametrize("photos", [1, 7, 24, 25])
def test_every_photo_counts_once_in_its_step(photos, accumulate, world):
    per_rank = [parts_of(photos, 6, accumulate, rank, world) for rank in range(world)]
    steps = math.ceil(photos / 6)
    assert {sum(part.closes for part in parts) for parts in per_rank} == {steps}
    counted = sorted(p for parts in per_rank for part in parts if part.weight for p in part.places)
    assert counted == list(range(photos))
    for parts in per_rank:
        assert all(len(part.places) for part in parts)
    total = sum(part.weight for parts in per_rank for part in parts)
    # processes' gradients are averaged, so that a step's weights sum to how many there are
    assert total == pytest.approx(steps * world)


def test_all_processes_draw_one_order(photos):
    folder = Folder(photos / "train")
    orders = []
    for rank in (0, 1):
        torch.manual_seed(3)
        orders.append(list(Shuffled(folder, parts_of(24, 8, 1, rank, 2))))
    for a, b in zip(*orders, strict=True):
        assert not set(a) & set(b)
    assert sorted(i for order in orders for batch in order for i in batch) == list(range(24))


def test_parts_of_a_step_give_the_same_weights(photos, tmp_path):
    kept = []
    for accumulate in (1, 3):
        recipe = Recipe(
            "demo/vgg11", phases=((32, 2),), batch_size=9, accumulate=accumulate,
            optimizer="sgd", precision="float32", save_as="float32", draws="photo",
        )  # fmt: skip
        out = tmp_path / str(accumulate)
        train(recipe, photos / "train", out, workers=0, device="cpu")
        kept.append(load_file(out / "model.safetensors"))
    assert all(torch.allclose(kept[0][k], kept[1][k], atol=1e-5) for k in kept[0])


def test_gradients_are_clipped(photos, tmp_path):
    """One step of plain SGD moves the weights by the rate times the clipped norm."""
    recipe = Recipe(
        "demo/vgg11", weights="default", phases=((32, 1),), batch_size=24, optimizer="momentum",
        momentum=0.0, weight_decay=0.0, clip=0.01, schedule="multistep", warmup_epochs=0,
        learning_rate=1.0, precision="float32", save_as="float32", freeze=("stride1",),
    )  # fmt: skip
    from vizkit.training.network import build

    before = build(recipe, ["blue", "red"])[0].module.state_dict()
    train(recipe, photos / "train", tmp_path, workers=0, device="cpu")
    after = load_file(tmp_path / "model.safetensors")
    moved = sum(float((after[k] - before[k]).square().sum()) for k in after) ** 0.5
    assert moved == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    "values",
    [{"augment": "randaugment"}, {"augment": "autoaugment"}, {"augment": "trivialaugment"},
     {"augment": "augmix"}, {"erase": 1.0}, {"flip": 1.0}],
    ids=str,
)  # fmt: skip
def test_augmentation_changes_what_is_seen_and_repeats_itself(photos, values):
    def seen(**changed):
        folder = Folder(photos / "train")
        recipe = Recipe("demo/vgg11", phases=((32, 2),), draws="photo", **changed)
        epochs = []
        for epoch in (0, 1):
            folder.crop_at_random(recipe, epoch, vizkit.Transform())
            epochs.append(torch.stack([folder[i][0] for i in range(len(folder))]))
        return epochs

    plain, changed = seen(flip=0.0), seen(**{"flip": 0.0, **values})
    assert changed[0].shape == (24, 3, 32, 32)
    assert changed[0].dtype == torch.uint8
    assert not torch.equal(plain[0], changed[0])
    assert not torch.equal(changed[0], changed[1])
    assert torch.equal(changed[0], seen(**{"flip": 0.0, **values})[0])
    if "flip" in values:
        assert torch.equal(changed[0], plain[0].flip(-1))
    if "erase" in values:
        grey = torch.tensor([124, 116, 104], dtype=torch.uint8)[:, None, None]
        assert ((changed[0] == grey).all(1).flatten(1).sum(1) > 0).all()
