"""Disagreement against formulas written out in NumPy, and against the plain way of doing it."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import jensenshannon
from torch import nn

import vizkit
from vizkit.comparing.parting import disagreement, disputed, explained
from vizkit.comparing.tallies import divergence
from vizkit.errors import InputError
from vizkit.images import Transform, as_images

CLASSES = ("ant", "bee", "cat", "dog")
SMALL = Transform(size=(32, 40), resize=(32, 40))


class Told(nn.Module):
    """A network that says what it is told: the image's grey value is the row of a table."""

    def __init__(self, table):
        super().__init__()
        self.grey = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.grey.weight, 1 / 3)
        self.table = nn.Parameter(torch.as_tensor(table, dtype=torch.float32))

    def forward(self, x):
        return self.table[self.grey(x).mean(dim=(1, 2, 3)).round().long() % len(self.table)]


def told(table, name, classes=CLASSES):
    return vizkit.wrap(Told(table), name=name, classes=classes, transform=SMALL)


def greys(labels):
    """Images by number, with names that lie in class folders."""
    return {f"{label}/{n}": torch.full((3, 8, 8), float(n)) for n, label in enumerate(labels)}


def tables(models, images, classes=4, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(0, 2, (models, images, classes)).astype(np.float32)


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def jsd(shares):
    """Generalised Jensen-Shannon divergence (M, N, K), sums written out, by log M."""
    models, images, classes = shares.shape
    found = []
    for n in range(images):
        total = 0.0
        for m, k in itertools.product(range(models), range(classes)):
            p, mean = shares[m, n, k], shares[:, n, k].mean()
            if p > 0:
                total += p * math.log(p / mean) / models
        found.append(total / math.log(models))
    return np.array(found)


def a_net(seed=0, name="net", classes=CLASSES, transform=SMALL):
    generator = torch.Generator().manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(6, 10, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(10, 4),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.normal_(0, 0.4, generator=generator)
    return vizkit.wrap(layers, name=name, classes=classes, transform=transform)


@pytest.fixture(scope="module")
def nets():
    return [a_net(seed, name) for seed, name in enumerate("xyz")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for n in range(12):
        own = root / CLASSES[n % 4]
        own.mkdir(exist_ok=True)
        noise = generator.normal(0, 30, (36, 48, 3)) + generator.uniform(30, 220, 3)
        noise[: 3 * n] += generator.uniform(-90, 90, 3)
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(own / f"{n:02}.png")
    return root


def by_image(found):
    return found.ranking.set_index("image").sort_index()


def same(found, other):
    """All numbers agree to 1e-5, whatever the order of the images."""
    both = [
        (
            by_image(each).drop(columns="position"),
            each.agreement,
            each.predictions.sort_values(["model", "image"], ignore_index=True),
        )
        for each in (found, other)
    ]
    for one, two in zip(*both, strict=True):
        pd.testing.assert_frame_equal(one, two, atol=1e-5, rtol=1e-5)


# --- predictions -----------------------------------------------------------------------------


@pytest.mark.parametrize("models", [2, 3, 7])
def test_divergence_is_the_sum_written_out(models):
    shares = softmax(tables(models, 6))
    found = divergence(torch.from_numpy(shares)).numpy()
    assert np.allclose(found, jsd(shares), atol=1e-12)
    # SciPy gives the square root, with natural logarithms
    if models == 2:
        expected = [jensenshannon(p, q) ** 2 / math.log(2) for p, q in zip(*shares, strict=True)]
        assert np.allclose(found, expected, atol=1e-12)


def test_divergence_reaches_its_ends():
    sure = torch.eye(3, dtype=torch.float64)
    assert divergence(sure[:, None]).item() == pytest.approx(1, abs=1e-12)
    assert divergence(sure[:1].expand(4, -1)[:, None]).item() == 0
    # two of three agree: log 3 - 2/3 log 2
    expected = 1 - 2 / 3 * math.log(2) / math.log(3)
    assert divergence(sure[[0, 0, 1]][:, None]).item() == pytest.approx(expected, abs=1e-12)


def test_predictions_and_ranking_are_those_of_the_logits():
    labels = [CLASSES[n % 4] for n in range(10)]
    logits = tables(3, 10)
    found = disagreement(
        [told(each, name) for each, name in zip(logits, "xyz", strict=True)],
        greys(labels), maps=False, batch_size=4,
    )  # fmt: skip
    shares = softmax(logits)
    ranks = found.ranking.sort_values("position")
    assert np.allclose(ranks["divergence"], jsd(shares), atol=1e-6)
    said = shares.argmax(axis=-1)
    assert list(ranks["classes"]) == [len(set(column)) for column in said.T]
    assert list(ranks["label"]) == list(ranks["explained"]) == labels
    assert ranks["maps"].isna().all()
    assert (ranks["pairs"] == 0).all()
    assert list(found.ranking["score"]) == sorted(ranks["divergence"], reverse=True)
    for m, name in enumerate("xyz"):
        own = found.predictions[found.predictions["model"] == name]
        assert list(own["image"]) == [f"{label}/{n}" for n, label in enumerate(labels)]
        assert list(own["index"]) == list(said[m])
        assert list(own["class"]) == [CLASSES[k] for k in said[m]]
        assert list(own["right"]) == [CLASSES[k] == b for k, b in zip(said[m], labels, strict=True)]
        truth = np.eye(4)[[CLASSES.index(label) for label in labels]]
        assert np.allclose(own["probability"], shares[m].max(axis=-1), atol=1e-6)
        assert np.allclose(own["own"], (shares[m] * truth).sum(axis=-1), atol=1e-6)
        assert np.allclose(own["brier"], ((shares[m] - truth) ** 2).sum(axis=-1), atol=1e-6)
        assert np.allclose(own["nll"], -np.log((shares[m] * truth).sum(axis=-1)), atol=1e-5)
    assert (found.images, found.models, found.labelled) == (10, ("x", "y", "z"), True)
    assert (found.stage, found.method, len(found.stages)) == (None, None, 0)


def test_hopeless_answers_have_finite_numbers():
    logits = np.array([[[200.0, 0, 0, 0]], [[0, 0, 0, 200.0]]])
    found = disagreement([told(e, n) for e, n in zip(logits, "xy", strict=True)], greys(["dog"]),
                         maps=False)  # fmt: skip
    own = found.predictions.set_index("model").loc["x"]
    assert (own["nll"], own["brier"]) == (pytest.approx(200), pytest.approx(2))
    assert found.ranking["divergence"][0] == pytest.approx(1)
    assert np.isfinite(found.scores()[["ece", "brier", "nll"]].to_numpy()).all()


def test_scores_and_calibration_equal_a_count_by_hand():
    labels = [CLASSES[n % 4] for n in range(60)]
    logits = tables(2, 60, seed=3)
    found = disagreement([told(e, n) for e, n in zip(logits, "xy", strict=True)], greys(labels),
                         maps=False)  # fmt: skip
    shares = softmax(logits)
    for m, row in found.scores().iterrows():
        sure, right = shares[m].max(axis=-1), [
            CLASSES[k] == label for k, label in zip(shares[m].argmax(axis=-1), labels, strict=True)
        ]  # fmt: skip
        error = 0.0
        for b in range(15):
            inside = [n for n in range(60) if b / 15 < sure[n] <= (b + 1) / 15]
            if inside:
                gap = np.mean([right[n] for n in inside]) - np.mean([sure[n] for n in inside])
                error += len(inside) / 60 * abs(gap)
        assert row["ece"] == pytest.approx(error, abs=1e-6)
        assert row["accuracy"] == pytest.approx(np.mean(right))
        assert row["confidence"] == pytest.approx(np.mean(sure), abs=1e-6)
        # Wilson, 1927
        z, p = 1.959963984540054, np.mean(right)
        middle = (p + z * z / 120) / (1 + z * z / 60)
        half = z / (1 + z * z / 60) * math.sqrt(p * (1 - p) / 60 + z * z / (4 * 60**2))
        assert (row["low"], row["high"]) == (
            pytest.approx(middle - half), pytest.approx(middle + half),
        )  # fmt: skip
    table = found.calibration(4)
    assert list(table["n"].groupby(table["model"]).sum()) == [60, 60]
    assert list(table["low"][:4]) == [0, 0.25, 0.5, 0.75]
    empty = table[table["n"] == 0]
    assert empty[["confidence", "accuracy", "accuracy_low"]].isna().all().all()
    with pytest.raises(InputError, match="bins must be"):
        found.calibration(0)


def test_a_bin_holds_its_upper_end():
    models = [told([[1.0, 1]], name, ("ant", "bee")) for name in "xy"]
    found = disagreement(models, greys(["ant"]), maps=False)
    assert list(found.predictions["probability"]) == [0.5, 0.5]
    assert list(found.calibration(2)["n"]) == [1, 0] * 2


def test_equally_disputed_images_stay_in_order():
    models = [told(row[None], name) for row, name in zip(np.eye(4), "xy", strict=False)]
    images = {name: torch.zeros(3, 8, 8) for name in ("b", "c", "a")}
    assert list(disagreement(models, images, maps=False).ranking["image"]) == ["b", "c", "a"]


def flipped():
    """x is right about images 0-5, y about 4-6, neither about 7; and surest about image 2."""
    right = np.zeros((2, 8), bool)
    right[0, :6] = right[1, 4:7] = True
    logits = np.zeros((2, 8, 4))
    for m, n in np.ndindex(2, 8):
        logits[m, n, 0 if right[m, n] else 1] = 9.0 if n == 2 else 3.0 + 0.1 * n
    # of image 6 only one is sure
    logits[1, 6, 0] = 20.0
    logits[0, 6, 1] = 0.5
    models = [told(e, n) for e, n in zip(logits, "xy", strict=True)]
    return disagreement(models, greys(["ant"] * 8), maps=False)


def test_flips_and_their_test():
    found = flipped()
    row = found.flip_counts().iloc[0]
    assert tuple(row[["a", "b", "only_a", "only_b", "both", "neither"]]) == ("x", "y", 4, 1, 2, 1)
    # two-sided: 2 * P(at most 1 of 5 fair coins)
    assert row["p"] == pytest.approx(2 * (math.comb(5, 0) + math.comb(5, 1)) / 2**5)
    flips = found.flips("x", "y")
    assert list(flips["image"]) == [f"ant/{n}" for n in (2, 3, 1, 0, 6)]
    assert list(flips["right"]) == ["x"] * 4 + ["y"]
    assert list(flips["wrong"]) == ["y"] * 4 + ["x"]
    assert (flips["class_a"][0], flips["class_b"][0]) == ("ant", "bee")
    back = found.flips("y", "x")
    assert list(back["image"]) == list(flips["image"])
    assert list(back["right"]) == list(flips["right"])
    assert np.allclose(back["probability_a"], flips["probability_b"])
    with pytest.raises(InputError, match="unknown model 'w'"):
        found.flips("x", "w")
    same_model = disagreement([told(np.eye(4), "x")] * 2, greys(["ant", "bee"]), maps=False)
    assert same_model.flip_counts()["p"][0] == 1
    assert same_model.flips("x", "x (2)").empty


def test_confusion_counts():
    found = flipped()
    table = found.confusion().set_index(["model", "label", "class"])["n"]
    expected = {("x", "ant", "ant"): 6, ("x", "ant", "bee"): 2,
                ("y", "ant", "ant"): 3, ("y", "ant", "bee"): 5}  # fmt: skip
    assert table.to_dict() == expected
    assert set(found.confusion("y")["model"]) == {"y"}
    with pytest.raises(InputError, match="unknown model"):
        found.confusion("w")


# --- classes ---------------------------------------------------------------------------------


def test_models_of_other_classes_are_compared_on_what_they_share():
    logits = tables(2, 6)
    other = ("emu", "dog", "ant", "fox")
    found = disagreement(
        [told(logits[0], "x"), told(logits[1], "y", other)],
        greys(["ant", "dog"] * 3), maps=False,
    )  # fmt: skip
    shared = [softmax(logits[0][:, [0, 3]]), softmax(logits[1][:, [2, 1]])]
    ranks = found.ranking.sort_values("position")
    assert np.allclose(ranks["divergence"], jsd(np.stack(shared)), atol=1e-6)
    own = found.predictions[found.predictions["model"] == "y"]
    assert np.allclose(own["probability"], softmax(logits[1]).max(axis=-1), atol=1e-6)
    assert list(own["right"]) == [
        other[k] == label
        for k, label in zip(logits[1].argmax(axis=-1), ["ant", "dog"] * 3, strict=True)
    ]


def test_too_few_shared_classes_are_refused():
    models = [told(np.eye(4), "x"), told(np.eye(4), "y", ("ant", "emu", "fox", "hen"))]
    with pytest.raises(InputError, match="here only 'ant'"):
        disagreement(models, [torch.zeros(3, 8, 8)], maps=False)
    with pytest.raises(InputError, match="here none"):
        disagreement([models[0], told(np.eye(4), "z", ())], [torch.zeros(3, 8, 8)], maps=False)
    more = told(np.eye(4), "z", (*CLASSES, "emu"))
    with pytest.raises(InputError, match="z has 4 outputs, and none for 'emu'"):
        disagreement([more, more], greys(["ant", "emu"]), maps=False)
    assert disagreement([more, models[0]], greys(["ant", "dog"]), maps=False, labelled=False).images


def test_classes_written_otherwise_are_the_same_when_right():
    names = [("golf ball", "gas pump"), ("gas_pump", "Golf_ball", "gas pump")]
    models = [told(np.array([[5.0, 0]]), "x", names[0]), told([[0, 5.0, 0]], "y", names[1])]
    with pytest.raises(InputError, match="only 'gas pump'"):
        disagreement(models, greys(["golf_ball"]), maps=False)
    names[1] = ("tench", "Golf_ball", "gas pump", "church")
    models = [
        told([[5.0, 0, 0]], "x", (*names[0], "church")),
        told([[0, 5.0, 0, 0]], "y", names[1]),
    ]
    found = disagreement(models, greys(["golf_ball"]), maps=False)
    assert found.ranking["classes"][0] == 1
    assert found.predictions["right"].all()
    assert list(found.confusion()["class"]) == ["golf ball"] * 2


def test_unnamed_classes_are_compared_by_their_number():
    logits = tables(2, 3)
    models = [told(e, n, ()) for e, n in zip(logits, "xy", strict=True)]
    found = disagreement(models, list(greys("abc").values()), maps=False)
    assert set(found.predictions["class"]) <= {f"class {n}" for n in range(4)}
    assert np.allclose(found.ranking.sort_values("position")["divergence"], jsd(softmax(logits)))
    with pytest.raises(InputError, match="x has no class names"):
        disagreement(models, greys("abc"), maps=False)
    assert not disagreement(models, greys("abc"), maps=False, labelled=False).labelled


def test_without_labels_what_needs_them_says_so(nets):
    photos = list(greys("abcd").values())
    found = disagreement(nets, photos)
    assert not found.labelled
    assert found.ranking["label"].isna().all()
    assert found.predictions[["own", "brier", "nll"]].isna().all().all()
    assert all(each is None for each in found.predictions["right"])
    assert found.labels == ()
    for ask in (
        found.scores, found.calibration, found.flip_counts, found.confusion,
        lambda: found.flips("x", "y"),
    ):  # fmt: skip
        with pytest.raises(InputError, match="without the images' own classes"):
            ask()
    # the class that is the most probable on average is explained
    shares = [softmax(vizkit.capture(each, photos, "0").logits.numpy()) for each in nets]
    best = np.mean(shares, axis=0).argmax(axis=-1)
    ranks = found.ranking.sort_values("position")
    assert list(ranks["explained"]) == [CLASSES[k] for k in best]


def test_a_folder_that_is_no_class_is_refused(nets, folder, tmp_path):
    (tmp_path / "emu").symlink_to(folder / "ant")
    with pytest.raises(InputError, match="unknown class folder of x 'emu'"):
        disagreement(nets, tmp_path)
    found = disagreement(nets, tmp_path, labelled=False)
    assert not found.labelled
    assert found.images == 3


# --- maps ------------------------------------------------------------------------------------


def test_everything_equals_the_plain_way(nets, folder, exactly):
    nets = [exactly(each) for each in nets]
    found = disagreement(nets, folder)
    photos = as_images(folder)
    labels = [photo.name.partition("/")[0] for photo in photos]
    targets = torch.tensor([CLASSES.index(label) for label in labels])
    maps = [vizkit.attribute(each, photos, targets=targets) for each in nets]
    plain = vizkit.agreement(maps, same_stage=True)
    merged = found.agreement.merge(
        plain, left_on=["model_a", "model_b", "stage"], right_on=["model_a", "model_b", "stage_a"],
        suffixes=("", "_plain"),
    )  # fmt: skip
    assert len(merged) == len(plain) == len(found.agreement) == 3 * 2
    for name in ("spearman", "ssim", "iou", "n"):
        assert np.allclose(merged[name], merged[f"{name}_plain"], atol=1e-6)
    assert list(found.agreement["stride"].unique()) == [2, 4]
    assert (found.stage, found.method) == ("stride4", "Grad-CAM")
    for n, name in enumerate(photo.name for photo in photos):
        own = vizkit.agreement([each.select(n) for each in maps], same_stage=True)
        last = own[own["stage_a"] == "stride4"]["spearman"].dropna()
        row = by_image(found).loc[name]
        assert row["pairs"] == len(last)
        assert row["maps"] == pytest.approx(1 - last.mean(), abs=1e-6, nan_ok=True)
    for each in nets:
        top = vizkit.predict(each, photos, 1)
        said = found.predictions[found.predictions["model"] == each.name]
        assert list(said["image"]) == list(top["image"])
        assert list(said["class"]) == list(top["class"])
        assert np.allclose(said["probability"], top["probability"], atol=1e-6)
    ranked = found.ranked("maps")
    assert list(ranked["score"]) == sorted(found.ranking["maps"], reverse=True)
    with pytest.raises(InputError, match="unknown ranking"):
        found.ranked("name")


def test_one_forward_each_and_networks_as_they_were(nets, folder, unchanged):
    counts = {}
    handles = [
        each.module.register_forward_hook(
            lambda module, inputs, _: counts.__setitem__(
                id(module), counts.get(id(module), 0) + len(inputs[0])
            )
        )
        for each in nets
    ]
    try:
        disagreement(nets, folder)  # learns which maps are overwritten in place
        for maps in (True, False):
            counts.clear()
            with unchanged(nets[0].module), unchanged(nets[2].module):
                disagreement(nets, folder, maps=maps)
            assert counts == {id(each.module): 12 for each in nets}
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("size", [1, 2, 100])
def test_neither_batches_nor_order_nor_loaders_matter(nets, folder, size):
    found = disagreement(nets, folder)
    same(found, disagreement(nets, folder, batch_size=size))
    photos = as_images(folder)
    turned = type(photos)(photos.photos[::-1])
    same(found, disagreement(nets, turned, batch_size=size, workers=1))
    same(
        disagreement(nets, folder, maps=False),
        disagreement(nets, folder, maps=False, batch_size=size),
    )


def test_few_graphs_are_held_at_once(nets, folder):
    sizes = []
    handle = nets[0].module.register_forward_hook(
        lambda _m, inputs, _o: sizes.append(len(inputs[0]))
    )
    try:
        disagreement(nets, folder, batch_size=64)
    finally:
        handle.remove()
    assert max(sizes) <= 16 // 3


def test_the_same_network_twice_agrees_with_itself(nets, folder):
    found = disagreement([nets[0], nets[0]], folder)
    assert found.models == ("x", "x (2)")
    assert (found.ranking["divergence"] < 1e-12).all()
    usable = found.agreement["n"] > 0
    assert np.allclose(found.agreement.loc[usable, ["spearman", "ssim", "iou"]], 1)
    assert np.allclose(found.ranking["maps"].dropna(), 0, atol=1e-9)


def test_stages_are_joined_on_stride_whatever_they_are_called(nets, folder):
    named = vizkit.wrap(nets[1].module, name="y", classes=CLASSES, transform=SMALL,
                        stages=["1", "3"])  # fmt: skip
    same(disagreement(nets[:2], folder), disagreement([nets[0], named], folder))
    by_name = disagreement(nets[:2], folder, at=["3"])
    assert list(by_name.agreement["stage"]) == ["3"]
    assert by_name.stage == "3"


def test_stages_of_one_name_and_other_strides_are_not_compared(folder):
    fine = vizkit.wrap(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                      nn.Flatten(), nn.Linear(4, 4)),
        name="fine", classes=CLASSES, transform=SMALL,
    )  # fmt: skip
    found = disagreement([a_net(), fine], folder, at=["1"])
    assert found.agreement.empty
    assert found.stage is None
    assert found.ranking["maps"].isna().all()
    with pytest.raises(InputError, match="no stage in common"):
        found.ranked("maps")


def test_input_level_methods(nets, folder):
    found = disagreement(nets[:2], as_images(folder)[:3], method="saliency")
    assert (found.stage, list(found.agreement["stage"])) == ("input", ["input"])
    assert list(found.agreement["stride"]) == [1]
    assert found.ranking["maps"].notna().all()


def test_different_transforms_are_told_and_lie_over_each_other(nets, folder):
    small = Transform(size=(20, 20), resize=(32, 32))
    models = [nets[0], a_net(1, "y", transform=small)]
    found = disagreement(models, folder)
    assert found.transforms == {"x": str(SMALL), "y": str(small)}
    photos = as_images(folder)
    targets = torch.tensor([CLASSES.index(photo.name.partition("/")[0]) for photo in photos])
    plain = vizkit.agreement(
        [vizkit.attribute(each, photos, targets=targets) for each in models], same_stage=True
    )
    assert np.allclose(found.agreement["spearman"], plain["spearman"], atol=1e-6)
    # what short words leave out is told in full
    shifted = Transform(size=(32, 40), resize=(32, 40), mean=(0.5, 0.5, 0.5))
    told_in_full = disagreement([nets[0], a_net(1, "y", transform=shifted)], folder, maps=False)
    assert len(set(told_in_full.transforms.values())) == 2


def test_tensor_images(nets):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(5, 3, 32, 40, generator=generator)
    found = disagreement(nets, images)
    assert set(found.transforms.values()) == {"tensors as they are"}
    assert list(by_image(found).index) == [f"image {n}" for n in range(1, 6)]
    top = vizkit.predict(nets[0], images, 1)
    assert np.allclose(found.predictions["probability"][:5], top["probability"], atol=1e-6)


# --- images ----------------------------------------------------------------------------------


def test_unreadable_files_are_left_out_and_listed(nets, folder, tmp_path):
    for own in folder.iterdir():
        (tmp_path / own.name).mkdir()
        for file in own.iterdir():
            (tmp_path / own.name / file.name).symlink_to(file)
    (tmp_path / "ant" / "00a.png").write_bytes(b"no photo")
    found = disagreement(nets, tmp_path, batch_size=3)
    same(found, disagreement(nets, folder))
    assert len(found.failed) == 1
    assert found.failed["file"][0].endswith("00a.png")
    assert "1 unreadable" in repr(found)
    chosen = disputed(found, tmp_path, 12)
    assert [photo.name for photo in chosen] == list(found.ranking["image"])
    only = tmp_path / "ant" / "00a.png"
    with pytest.raises(InputError, match="none of the images can be read"):
        disagreement(nets, only)


def test_images_of_one_name_are_told_apart(nets, folder):
    files = sorted(folder.rglob("*.png"))
    photos = [Image.open(file) for file in files[:3]]
    images = type(as_images(folder))(
        tuple(photo for each in photos for photo in [as_images({"cup": each}).photos[0]])
    )
    found = disagreement(nets[:2], images)
    assert sorted(found.ranking["image"]) == ["cup", "cup (2)", "cup (3)"]
    assert len(disputed(found, images, 2)) == 2
    with pytest.raises(InputError, match="not the images that were compared"):
        disputed(found, images[:1], 3)


def test_disputed_images_and_their_maps(nets, folder):
    found = disagreement(nets, folder)
    chosen = disputed(found, folder, 3, by="maps")
    assert [photo.name for photo in chosen] == list(found.ranked("maps")["image"][:3])
    maps = explained(nets, chosen)
    assert [each.model for each in maps] == ["x", "y", "z"]
    for each in maps:
        names = [each.target_name(n, 0) for n in range(3)]
        assert names == list(found.ranked("maps")["explained"][:3])
    for n, name in enumerate(found.ranked("maps")["image"][:3]):
        table = vizkit.agreement([each.select(n) for each in maps], same_stage=True)
        mean = table[table["stage_a"] == "stride4"]["spearman"].mean()
        assert 1 - mean == pytest.approx(by_image(found).loc[name, "maps"], abs=1e-6)
    free = explained(nets, chosen, labelled=False)
    best = disagreement(nets, chosen, labelled=False).ranking.set_index("image")["explained"]
    assert [free[0].target_name(n, 0) for n in range(3)] == [best[p.name] for p in chosen]


def test_bad_arguments_are_refused(nets, folder):
    with pytest.raises(InputError, match="two models to disagree, here is only x"):
        disagreement(nets[0], folder)
    with pytest.raises(InputError, match="unknown method 'gradcam'"):
        disagreement(nets, folder, method="gradcam")
    with pytest.raises(InputError, match="unknown method"):
        disagreement(nets, folder, method=["grad_cam"])
    with pytest.raises(InputError, match="batch_size"):
        disagreement(nets, folder, batch_size=0)
    with pytest.raises(InputError, match="unknown stage"):
        disagreement(nets, folder, at=["stride64"])
    # what only networks with a linear head allow
    with pytest.raises(InputError):
        disagreement(nets, [torch.zeros(3, 32, 40)], method="cam", at=["1"])
    with pytest.raises(InputError, match="no maps were asked for"):
        disagreement(nets, folder, maps=False).ranked("maps")
    broken = a_net(5, "broken")
    with torch.no_grad():
        broken.module[-1].bias.fill_(math.nan)
    with pytest.raises(InputError, match="broken gives NaN or infinity"):
        disagreement([nets[0], broken], folder)


def test_constant_maps_agree_with_nothing(nets, folder):
    dead = a_net(7, "dead")
    with torch.no_grad():
        dead.module[-1].weight.zero_()
    found = disagreement([nets[0], dead], folder)
    assert found.ranking["maps"].isna().all()
    assert (found.agreement["n"] == 0).all()
    with pytest.raises(InputError, match="the same everywhere"):
        found.ranked("maps")
    assert repr(found).startswith("Disagreement of x, dead: they predict different classes for")
    assert "<table" in found._repr_html_()


def test_real_photos_are_judged_as_evaluate_does(imagenette, tmp_path):
    for own in sorted((imagenette / "val").iterdir()):
        (tmp_path / own.name).mkdir()
        for file in sorted(own.iterdir())[:2]:
            (tmp_path / own.name / file.name).symlink_to(file)
    models = ["demo/vgg11", "demo/vgg11_bn", "demo/vovnet19b"]
    found = disagreement(models, tmp_path)
    expected = vizkit.evaluate(models, tmp_path)
    assert np.allclose(found.scores()["accuracy"], expected["top1"])
    assert np.allclose(found.scores()["low"], expected["top1_low"])
    assert found.stage == "stride32"
    assert list(found.labels)[:2] == ["tench", "English springer"]
    # the first network alone has a stage of stride 1; two of three have
    assert set(found.agreement[found.agreement["stride"] == 1]["model_b"]) == {"demo/vgg11_bn"}
    assert (found.agreement["spearman"].between(-1, 1)).all()
