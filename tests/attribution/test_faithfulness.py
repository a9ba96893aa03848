"""Trust: curves, boxes, sensitivity, random weights and agreement against hand and packages."""

import contextlib
import itertools
import math
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from skimage.transform import resize
from torch import nn
from torchcam.methods import GradCAM
from torchcam.metrics import ClassificationMetric, DeletionInsertionMetric

import vizkit
from vizkit.attribution import (
    METHODS,
    agreement,
    areas,
    attribute,
    faithfulness,
    method,
    perturbation_curves,
    randomisation,
)
from vizkit.attribution.baselines import BASELINES
from vizkit.attribution.measures import energy, order, pointing
from vizkit.errors import InputError
from vizkit.models import Classifier
from vizkit.results import Attributions, Seen

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import quantus

HEIGHT, WIDTH = 14, 20
PLACES = HEIGHT * WIDTH
KEYS = ["model", "image", "method", "stage", "target", "index"]
MEASURES = ["deletion_auc", "insertion_auc", "average_drop", "increase", "sensitivity"]
LOCATED = ["pointing_game", "energy_in_box"]
only = {"references": False, "randomised": False}


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(classes=3, seed=5, size=(HEIGHT, WIDTH)):
    """A network whose scores are weighted sums of the pixels, and its weights."""
    net = nn.Sequential(nn.Conv2d(3, classes, size), nn.Flatten()).eval()
    with torch.no_grad():
        net[0].weight.copy_(random(classes, 3, *size, seed=seed) / 10)
    transform = vizkit.Transform(size, size)
    names = ("cat", "dog", "rocket")[:classes]
    return Classifier("linear", net, transform, names, (), "by hand")


def scores(classifier, inputs):
    """Do what `linear` does without torch's convolutions."""
    layer = classifier.module[0]
    weight, bias = (each.detach().double().numpy() for each in (layer.weight, layer.bias))
    return np.einsum("nchw,kchw->nk", np.asarray(inputs, dtype=np.float64), weight) + bias


def small(seed=0):
    """A trained-like network on inputs of any size, whose first stage is as large as they are."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()


class Extractor:
    """Gives torchcam's measures maps (N, H, W) that are known already."""

    def __init__(self, model, maps):
        self.model, self.maps = model, maps

    def __call__(self, class_idx, scores, **_options):
        return [self.maps]

    def fuse_cams(self, cams):
        return cams[0]

    def _hooks_off(self):
        return contextlib.nullcontext()


def given(classifier, inputs, targets=0, **maps):
    """Make attributions of maps (N, T, h, w) that no method computed."""
    found = attribute(classifier, inputs, "saliency", targets)
    values = {name: {"input": each.float()} for name, each in maps.items()}
    return replace(found, values=values, labels={name: name for name in maps})


@pytest.fixture
def brightness():
    """A method that looks at the photo only."""

    @method("brightness", label="Brightness", paper="none", level="input")
    def brightness(query):
        """Tell how bright the input is."""
        return query.inputs.mean(dim=1, keepdim=True).expand(-1, query.targets.shape[1], -1, -1)

    yield "brightness"
    del METHODS["brightness"]


class TestCurves:
    @pytest.mark.parametrize("baseline", ["mean", "black", "white"])
    @pytest.mark.parametrize("steps", [1, 9, 28])
    def test_by_hand_on_sums_of_pixels(self, baseline, steps):
        classifier, inputs = linear(), random(2, 3, HEIGHT, WIDTH)
        maps = random(2, 2, HEIGHT, WIDTH, seed=1)
        curves = perturbation_curves(
            classifier,
            given(classifier, inputs, [2, 0], maps=maps),
            baseline=baseline,
            steps=steps,
            references=False,
        )
        colour = {"mean": None, "black": 0.0, "white": 1.0}[baseline]
        transform = classifier.transform
        blank = (
            np.zeros(3)
            if colour is None
            else (colour - np.array(transform.mean)) / np.array(transform.std)
        )
        expected = []
        for n in range(2):
            for t, target in enumerate((2, 0)):
                ranked = sorted(range(PLACES), key=lambda place: -maps[n, t].flatten()[place])
                for curve in ("deletion", "insertion"):
                    for step in range(steps + 1):
                        count = round(step / steps * PLACES)
                        away = ranked[:count] if curve == "deletion" else ranked[count:]
                        pixels = inputs[n].flatten(1).double().numpy().copy()
                        pixels[:, away] = blank[:, None]
                        logits = scores(classifier, pixels.reshape(1, 3, HEIGHT, WIDTH))
                        expected.append(softmax(logits)[0, target])
        np.testing.assert_allclose(curves["probability"], expected, rtol=1e-4)
        assert list(curves["fraction"][: steps + 1]) == list(np.linspace(0, 1, steps + 1))
        assert list(curves["map"].unique()) == [0, 1, 2, 3]

    @pytest.mark.parametrize("baseline", ["mean", "blur"])
    def test_as_torchcam_does(self, baseline):
        net, inputs = small(), random(3, 3, 20, 20)
        # another map for every image, each value once
        maps = torch.stack([random(20, 20, seed=n) for n in range(3)]).double()

        # a standard deviation of a twentieth of 20 pixels, cut off at three of them
        blurred = np.stack(
            [
                [gaussian_filter(channel, 1.0, mode="mirror", truncate=3.0) for channel in image]
                for image in inputs.double().numpy()
            ]
        )
        cover = {"mean": None, "blur": torch.from_numpy(blurred).float()}[baseline]
        oracle = DeletionInsertionMetric(
            Extractor(net, maps), lambda logits: logits.softmax(dim=1), steps=25, baseline=cover
        )
        oracle.update(inputs, 3)
        expected = oracle.summary()
        attributions = given(net, inputs, 3, maps=maps[:, None])
        curves = perturbation_curves(
            net, attributions, baseline=baseline, steps=25, references=False
        )
        found = areas(curves)[["deletion_auc", "insertion_auc"]].mean()
        assert dict(found) == pytest.approx(expected, rel=1e-5)

    def test_as_quantus_does(self):
        classifier, inputs = linear(size=(12, 15)), random(2, 3, 12, 15)
        maps = random(2, 1, 12, 15, seed=2)
        oracle = quantus.PixelFlipping(
            features_in_step=3 * 12,
            perturb_func_kwargs={"perturb_baseline": 0.0},
            normalise=False,
            disable_warnings=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = oracle(
                model=classifier.module,
                x_batch=inputs.numpy(),
                y_batch=np.array([1, 1]),
                a_batch=maps.repeat(1, 3, 1, 1).numpy(),
                channel_first=True,
                softmax=True,
                device="cpu",
            )
        curves = perturbation_curves(
            classifier,
            given(classifier, inputs, 1, maps=maps),
            baseline="mean",
            steps=15,
            references=False,
        )
        deletion = curves[(curves["curve"] == "deletion") & (curves["fraction"] > 0)]
        np.testing.assert_allclose(deletion["probability"], np.ravel(expected), rtol=1e-4)

    @pytest.mark.parametrize("baseline", BASELINES)
    def test_ends(self, demo, baseline):
        photos = {name: vizkit.samples()[name] for name in ("rocket", "coffee")}
        found = attribute(demo, photos, "grad_cam", ["church", "parachute"], "stride16")
        curves = perturbation_curves(demo, found, baseline=baseline, steps=2)
        blank = {
            "mean": torch.zeros(2, 3, 128, 128),
            "black": demo.transform.normalize(torch.zeros(2, 128, 128, 3)),
            "white": demo.transform.normalize(torch.full((2, 128, 128, 3), 255.0)),
            "blur": torch.from_numpy(
                np.stack(
                    [
                        # 6.4 pixels, cut off at 19
                        [gaussian_filter(c, 6.4, mode="mirror", radius=19) for c in image]
                        for image in found.inputs.double().numpy()
                    ]
                )
            ).float(),
        }[baseline]
        with torch.no_grad():
            bare = demo.module(blank).softmax(dim=1).gather(1, found.targets)
        for whole, empty, curve in ((0, 1, "deletion"), (1, 0, "insertion")):
            rows = curves[(curves["curve"] == curve) & (curves["method"] == "grad_cam")]
            for fraction, expected in ((whole, found.probabilities), (empty, bare)):
                ends = rows[rows["fraction"] == fraction]["probability"]
                np.testing.assert_allclose(ends, expected.flatten(), rtol=2e-3, atol=1e-6)

    def test_areas_are_trapezoids(self):
        classifier, inputs = linear(), random(2, 3, HEIGHT, WIDTH)
        maps = random(2, 2, HEIGHT, WIDTH, seed=1)
        attributions = given(classifier, inputs, [0, 1], first=maps, second=-maps)
        curves = perturbation_curves(classifier, attributions, steps=7)
        found = areas(curves)
        assert list(found.columns) == [*KEYS, "deletion_auc", "insertion_auc"]
        for n in range(len(found)):
            for curve in ("deletion", "insertion"):
                rows = curves[(curves["map"] == n) & (curves["curve"] == curve)]
                y = list(rows["probability"].astype(float))
                expected = sum((a + b) / 2 for a, b in itertools.pairwise(y)) / 7
                assert found[f"{curve}_auc"][n] == pytest.approx(expected, rel=1e-6)
                assert list(rows.iloc[0][KEYS]) == list(found.iloc[n][KEYS])

    def test_the_best_map_of_a_linear_network(self):
        classifier, inputs = linear(2), random(1, 3, HEIGHT, WIDTH)
        weight = classifier.module[0].weight.detach()
        # what each place adds to the difference that the probability of two classes is made of
        best = (inputs * (weight[0] - weight[1])).sum(dim=1, keepdim=True)
        attributions = given(
            classifier, inputs, 0, best=best, noise=random(1, 1, HEIGHT, WIDTH), worst=-best
        )
        table = areas(perturbation_curves(classifier, attributions, baseline="mean"))
        table = table.set_index("method")
        assert table["deletion_auc"].idxmin() == table["insertion_auc"].idxmax() == "best"
        assert table["deletion_auc"].idxmax() == table["insertion_auc"].idxmin() == "worst"

    def test_more_steps_than_places(self):
        classifier, inputs = linear(), random(1, 3, HEIGHT, WIDTH)
        attributions = given(classifier, inputs, 0, maps=random(1, 1, HEIGHT, WIDTH))
        coarse, fine = (
            areas(perturbation_curves(classifier, attributions, steps=steps, references=False))
            for steps in (PLACES, 4 * PLACES)
        )
        assert coarse["deletion_auc"][0] == pytest.approx(fine["deletion_auc"][0], abs=2e-3)

    def test_maps_of_stages_are_stretched(self, demo):
        inputs = random(1, 3, 64, 64)
        found = attribute(demo, inputs, "grad_cam", 1, "stride16")
        maps = found.values["grad_cam"]["stride16"]
        assert maps.shape[-2:] == (4, 4)
        large = resize(maps[0, 0].double().numpy(), (64, 64), order=1, mode="edge")
        # what interpolation rounds differently must not change places with its neighbours
        given_large = given(demo, inputs, 1, maps=torch.from_numpy(large)[None, None])
        first, second = (
            perturbation_curves(demo, each, references=False) for each in (found, given_large)
        )
        np.testing.assert_allclose(first["probability"], second["probability"], atol=2e-3)

    def test_another_network(self):
        classifier, inputs = linear(), random(1, 3, HEIGHT, WIDTH)
        attributions = given(classifier, inputs, 2, maps=random(1, 1, HEIGHT, WIDTH))
        other = replace(linear(seed=9), name="other")
        curves = perturbation_curves(other, attributions, steps=1, references=False)
        expected = softmax(scores(other, inputs))[0, 2]
        assert curves["probability"][0] == pytest.approx(expected, rel=1e-4)
        with pytest.raises(InputError, match="explain class 2, but linear has 2 classes"):
            perturbation_curves(linear(2), attributions)

    def test_nothing_is_changed(self, unchanged):
        net, inputs = small().train(), random(1, 3, 16, 16)
        attributions = given(net, inputs, 0, maps=random(1, 1, 16, 16))
        original = inputs.clone()
        with unchanged(net):
            perturbation_curves(net, attributions, steps=3)
        assert torch.equal(inputs, original)
        assert torch.equal(attributions.inputs, original)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"baseline": "blurr"}, "unknown baseline 'blurr'; did you mean 'blur'"),
            ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
            ({"steps": 2.5}, "steps must be a whole number of at least 1, not 2.5"),
        ],
    )
    def test_impossible(self, options, message):
        classifier, inputs = linear(), random(1, 3, HEIGHT, WIDTH)
        attributions = given(classifier, inputs, 0, maps=random(1, 1, HEIGHT, WIDTH))
        for measure in (
            lambda: perturbation_curves(classifier, attributions, **options),
            lambda: faithfulness(classifier, inputs, attributions, **options),
        ):
            with pytest.raises(InputError, match=message):
                measure()

    def test_black_needs_to_know_black(self):
        classifier, inputs = linear(), random(1, 3, HEIGHT, WIDTH)
        attributions = given(classifier, inputs, 0, maps=random(1, 1, HEIGHT, WIDTH))
        unknown = replace(classifier, transform=lambda photo: classifier.transform(photo))
        with pytest.raises(InputError, match=r"'black' needs a vizkit\.Transform"):
            perturbation_curves(unknown, attributions, baseline="black")
        perturbation_curves(unknown, attributions, baseline="mean")


class TestTies:
    def test_a_constant_map_has_no_order_of_its_own(self):
        first, again, other = (order(torch.zeros(30, 30), seed) for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert sorted(first.tolist()) == list(range(900))
        # the first half is as far down the picture as the second, and as far to the right
        rows, columns = first // 30, first % 30
        for places in (rows, columns):
            assert places[:450].float().mean() == pytest.approx(14.5, abs=1.5)

    def test_among_values(self):
        values = torch.tensor([[1.0, 3.0, 1.0], [3.0, 2.0, 3.0]])
        orders = {tuple(order(values, seed).tolist()) for seed in range(40)}
        assert len(orders) > 6
        for each in orders:
            assert set(each[:3]) == {1, 3, 5}
            assert each[3] == 4
            assert set(each[4:]) == {0, 2}

    def test_curves_of_a_constant_map_are_reproducible(self):
        classifier, inputs = linear(), random(1, 3, HEIGHT, WIDTH)
        attributions = given(classifier, inputs, 0, maps=torch.full((1, 1, HEIGHT, WIDTH), 2.0))
        first, second = (perturbation_curves(classifier, attributions) for _ in range(2))
        pd.testing.assert_frame_equal(first, second)
        # any other constant map is the same order
        uniform = first[first["method"] == "(uniform)"]["probability"]
        constant = first[first["method"] == "maps"]["probability"]
        assert list(uniform) == list(constant)


class TestBoxes:
    """Where maps lie; `tests/test_boxes.py` tests how boxes come to lie on pixels."""

    @pytest.fixture(scope="class")
    @staticmethod
    def drawn():
        rng = np.random.default_rng(3)
        masks = np.zeros((6, HEIGHT, WIDTH), dtype=bool)
        for n in range(6):
            top, left = rng.integers(0, HEIGHT - 5), rng.integers(0, WIDTH - 7)
            masks[n, top : top + 4, left : left + 6] = True
        return rng.normal(size=(6, HEIGHT, WIDTH)), masks

    def quantus(self, metric, maps, masks):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return metric(abs=False, normalise=False, disable_warnings=True)(
                model=nn.Identity(),
                x_batch=np.zeros((len(maps), 3, HEIGHT, WIDTH)),
                y_batch=np.zeros(len(maps), dtype=int),
                a_batch=maps[:, None],
                s_batch=masks[:, None],
                channel_first=True,
                device="cpu",
            )

    def measured(self, values, boxes):
        classifier, inputs = linear(), random(1, 3, HEIGHT, WIDTH)
        maps = torch.as_tensor(values)[None, None]
        table = faithfulness(
            classifier,
            inputs,
            given(classifier, inputs, 0, maps=maps),
            boxes=[boxes],
            steps=1,
            **only,
        )
        return tuple(table[LOCATED].iloc[0])

    def test_energy_as_quantus_does(self, drawn):
        maps, masks = drawn
        expected = self.quantus(quantus.RelevanceMassAccuracy, maps.clip(0), masks)
        for values, mask, each in zip(maps, masks, expected, strict=True):
            assert energy(values, mask) == pytest.approx(float(each))

    def test_pointing_as_quantus_does(self, drawn):
        maps, masks = drawn
        raised = np.where(masks & (np.arange(6) % 2 == 0)[:, None, None], maps + 9, maps)
        expected = self.quantus(quantus.PointingGame, raised, masks)
        assert set(map(bool, expected)) == {True, False}
        for values, mask, each in zip(raised, masks, expected, strict=True):
            assert pointing(values, mask) == float(each)

    def test_by_hand(self):
        values = np.zeros((HEIGHT, WIDTH))
        values[2, 3], values[5, 9], values[13, 19] = 5, 3, -8
        assert self.measured(values, [(3, 2, 4, 3)]) == (1, 5 / 8)
        assert self.measured(values, [(9, 5, 10, 6)]) == (0, 3 / 8)
        assert self.measured(values, [(19, 13, 20, 14)]) == (0, 0)
        assert self.measured(values, [(0, 0, WIDTH, HEIGHT)]) == (1, 1)

    def test_several_boxes_count_once(self):
        values = np.zeros((HEIGHT, WIDTH))
        values[2, 3], values[5, 9] = 5, 3
        apart = [(3, 2, 4, 3), (9, 5, 10, 6)]
        assert self.measured(values, apart) == (1, 1)
        assert self.measured(values, [apart[0]] * 3) == (1, 5 / 8)
        assert self.measured(values, [(0, 0, 8, 8), (2, 1, 9, 4)]) == (1, 5 / 8)

    @pytest.mark.parametrize("value", [0.0, 2.5])
    def test_a_constant_map_scores_as_chance_does(self, value):
        found = self.measured(np.full((HEIGHT, WIDTH), value), [(0, 0, 10, 7)])
        assert found == pytest.approx((1 / 4, 1 / 4))

    def test_a_negative_map_points_but_has_no_energy(self):
        values = np.full((HEIGHT, WIDTH), -2.0)
        values[3, 3] = -1
        assert self.measured(values, [(0, 0, 10, 7)]) == pytest.approx((1, 1 / 4))
        assert self.measured(values, [(10, 7, 20, 14)]) == pytest.approx((0, 1 / 4))

    def test_places_that_share_the_greatest_value(self):
        values = np.zeros((HEIGHT, WIDTH))
        values[1, 1] = values[1, 2] = values[9, 9] = 4
        assert self.measured(values, [(0, 0, 5, 5)]) == pytest.approx((2 / 3, 2 / 3))

    def test_partly_outside(self):
        values = np.ones((HEIGHT, WIDTH))
        found = self.measured(values, [(-50, -50, 10, 7)])
        assert found == pytest.approx((1 / 4, 1 / 4))

    @pytest.mark.parametrize("boxes", [[], [(30, 2, 40, 9)], [(-9, -9, 0, 0)], [(2, 2, 2.4, 9)]])
    def test_nothing_to_hit(self, boxes):
        assert np.isnan(self.measured(np.ones((HEIGHT, WIDTH)), boxes)).all()

    def test_through_resizing_and_a_crop(self):
        # 200 x 100 -> 160 x 80 -> the 64 x 64 pixels from (48, 8)
        photo = np.zeros((100, 200, 3), dtype=np.uint8)
        photo[20:60, 80:110] = 255
        photo[70:80, 130:200] = 255
        transform = vizkit.Transform((64, 64), (80, 80), interpolation="nearest")
        net = vizkit.wrap(small(), transform=transform)
        images = {"white": Image.fromarray(photo)}
        inputs = attribute(net, images, "saliency").inputs
        bright = (inputs > 0).all(dim=1, keepdim=True).float()
        assert bright[0, 0].nonzero().amin(dim=0).tolist() == [8, 16]
        assert bright[0, 0].nonzero().amax(dim=0).tolist() == [55, 63]
        attributions = replace(
            attribute(net, images, "saliency"),
            values={"bright": {"input": bright}, "dark": {"input": 1 - bright}},
        )
        boxes = {"white": [(80, 20, 110, 60), (130, 70, 200, 80)], "another": [(0, 0, 9, 9)]}
        table = faithfulness(net, images, attributions, boxes=boxes, steps=1, **only)
        assert table[LOCATED].to_numpy().tolist() == [[1, 1], [0, 0]]


class TestAverageDrop:
    def test_as_torchcam_does(self):
        net, inputs = small(1), random(8, 3, 24, 24)
        with torch.no_grad():
            net[7].weight.mul_(5)
        predicted = net(inputs).argmax(dim=1)
        classes = [int((predicted[n] + n) % 4) for n in range(8)]
        # of the logits: given a softmax, torchcam's measure would explain what comes behind it
        with GradCAM(net, net[1]) as extractor:
            (cams,) = extractor(classes, net(inputs))
        oracle = ClassificationMetric(
            Extractor(net, cams.detach()), lambda logits: logits.softmax(dim=1)
        )
        oracle.update(inputs, classes)
        expected = oracle.summary()
        found = attribute(net, inputs, "grad_cam", torch.tensor(classes), "1")
        assert found.values["grad_cam"]["1"].shape == (8, 1, 24, 24)
        table = faithfulness(net, inputs, found, steps=1, **only)
        assert table["average_drop"].mean() == pytest.approx(expected["avg_drop"], rel=1e-4)
        assert table["increase"].mean() == expected["conf_increase"]
        assert 0 < table["increase"].mean() < 1

    def test_by_hand(self):
        classifier, inputs = linear(), random(1, 3, HEIGHT, WIDTH)
        values = random(HEIGHT, WIDTH, seed=4)
        values[0, 0] = 5
        attributions = given(classifier, inputs, [0, 1, 2], maps=values.expand(1, 3, HEIGHT, WIDTH))
        table = faithfulness(classifier, inputs, attributions, steps=1, **only)
        window = values.clamp(min=0) / 5
        before = softmax(scores(classifier, inputs))[0]
        after = softmax(scores(classifier, inputs * window))[0]
        expected = np.maximum(before - after, 0) / before
        np.testing.assert_allclose(table["average_drop"], expected, rtol=1e-4)
        assert list(table["increase"]) == [float(rises) for rises in after > before]
        assert set(table["increase"]) == {0, 1}

    @pytest.mark.parametrize("value", [-1.0, 0.0, 3.0])
    def test_a_constant_map_hides_nothing(self, value):
        classifier, inputs = linear(), random(1, 3, HEIGHT, WIDTH)
        attributions = given(classifier, inputs, 1, maps=torch.full((1, 1, HEIGHT, WIDTH), value))
        row = faithfulness(classifier, inputs, attributions, steps=1, **only).iloc[0]
        assert row["average_drop"] == pytest.approx(0, abs=1e-6)
        assert row["increase"] == 0


class TestSensitivity:
    @pytest.mark.parametrize("shape", [(1, 1), (2, 3)])
    def test_exact_on_a_linear_network(self, shape):
        count, wanted = shape
        classifier, inputs = linear(), random(count, 3, HEIGHT, WIDTH)
        targets = list(range(wanted))
        weight = classifier.module[0].weight.detach()
        shares = torch.einsum("nchw,kchw->nkhw", inputs, weight)[:, targets]
        table = faithfulness(
            classifier,
            inputs,
            given(classifier, inputs, targets, right=shares, wrong=-shares, scaled=shares / 50),
            baseline="mean",
            steps=1,
            **only,
        )
        for name, expected in {"right": 1, "wrong": -1, "scaled": 1}.items():
            found = table[table["method"] == name]["sensitivity"]
            np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_by_what_the_network_was_shown(self):
        net, inputs = small(), random(1, 3, 17, 30).abs() + 0.1
        maps = random(1, 2, 17, 30, seed=7)
        attributions = given(net, inputs, [3, 1], first=maps[:, :1].repeat(1, 2, 1, 1), second=maps)
        shown = []
        net.register_forward_pre_hook(lambda _module, given: shown.append(given[0].clone()))
        table = faithfulness(net, inputs, attributions, baseline="mean", steps=1, **only)
        subsets = [each for batch in shown for each in batch][-65:-1]
        removed = torch.stack([(each == 0).all(dim=0) for each in subsets])
        kept = torch.stack([(each == inputs[0]).all(dim=0) for each in subsets])
        assert torch.equal(removed, ~kept)
        # 24 of 7 x 7 cells of equal size, up to a pixel
        places = [[math.floor(i * 7 / side) for i in range(side)] for side in (17, 30)]
        for each in removed:
            cells = {(places[0][y], places[1][x]): set() for y, x in np.ndindex(each.shape)}
            for y, x in np.ndindex(each.shape):
                cells[places[0][y], places[1][x]].add(bool(each[y, x]))
            assert len(cells) == 49
            assert all(len(states) == 1 for states in cells.values())
            assert sum(states == {True} for states in cells.values()) == 24
        with torch.no_grad():
            lost = (net(inputs) - net(torch.stack(subsets))).double().numpy()
        expected = []
        for values in (attributions.values["first"], attributions.values["second"]):
            for t, target in enumerate((3, 1)):
                sums = (values["input"][0, t] * removed).sum(dim=(1, 2)).double().numpy()
                expected.append(np.corrcoef(sums, lost[:, target])[0, 1])
        by_method = table.sort_values(["method", "index"], ascending=[True, False])
        np.testing.assert_allclose(by_method["sensitivity"], expected, atol=1e-5)

    def test_subsets_by_seed(self):
        net, inputs = small(), random(1, 3, 21, 21)
        attributions = given(net, inputs, 0, maps=random(1, 1, 21, 21))
        first, again, other = (
            faithfulness(net, inputs, attributions, steps=1, seed=seed, **only)["sensitivity"][0]
            for seed in (0, 0, 1)
        )
        assert first == again != other

    def test_what_does_not_vary_correlates_with_nothing(self):
        net = small()
        with torch.no_grad():
            net[7].weight[2] = 0
        inputs = random(1, 3, 21, 21)
        maps = torch.stack([torch.ones(21, 21), random(21, 21)])[:, None, None]
        attributions = given(net, inputs, [0, 2], flat=maps[0].repeat(1, 2, 1, 1), noise=maps[1])
        attributions.values["noise"]["input"] = maps[1].repeat(1, 2, 1, 1)
        table = faithfulness(net, inputs, attributions, steps=1, **only)
        found = table.set_index(["method", "index"])["sensitivity"]
        assert found[~found.isna()].index.tolist() == [("noise", 0)]


class TestTable:
    @pytest.fixture(scope="class")
    @staticmethod
    def photos():
        return [vizkit.samples()[name] for name in ("rocket", "coffee")]

    def test_rows_and_columns(self, demo, photos, unchanged):
        images = dict(zip(("one", "two"), photos, strict=True))
        chosen = ["grad_cam", "saliency"]
        found = attribute(demo, images, chosen, ["church", "gas pump"], ["stride8", "stride16"])
        boxes = {"two": [(0, 0, 600, 400)]}
        with unchanged(demo.module):
            table = faithfulness(demo, images, found, boxes=boxes, steps=2)
        assert list(table.columns) == [*KEYS, *MEASURES, *LOCATED, "randomisation"]
        own = [("grad_cam", "stride8"), ("grad_cam", "stride16"), ("saliency", "input")]
        own += [("(centre)", "input"), ("(uniform)", "input")]
        expected = [
            ("demo/vgg11_bn", image, *which, target, index)
            for image in ("one", "two")
            for target, index in (("church", 4), ("gas pump", 7))
            for which in own
        ]
        assert list(table[KEYS].itertuples(index=False, name=None)) == expected
        assert list(table.index) == list(range(20))
        known = table[table["image"] == "two"]
        assert table[table["image"] == "one"][LOCATED].isna().all(axis=None)
        assert known[LOCATED].notna().all(axis=None)
        references = table["method"].isin(["(centre)", "(uniform)"])
        assert table["randomisation"][references].isna().all()
        assert table["randomisation"][table["method"] == "saliency"].notna().all()
        assert table[MEASURES[:4]].notna().all(axis=None)
        assert table[MEASURES[:4]].min(axis=None) >= 0
        assert table[MEASURES[:4]].max(axis=None) <= 1

    def test_columns_not_asked_for(self, demo, photos):
        found = attribute(demo, photos[0], "saliency", 0)
        table = faithfulness(demo, photos[0], found, steps=1, **only)
        assert list(table.columns) == [*KEYS, *MEASURES]
        assert list(table["method"]) == ["saliency"]

    def test_references_know_nothing_of_the_photo(self):
        classifier, inputs = linear(), random(2, 3, HEIGHT, WIDTH)
        attributions = given(classifier, inputs, 0, maps=random(2, 1, HEIGHT, WIDTH))
        box = [(5, 3, 15, 11)]
        table = faithfulness(
            classifier, inputs, attributions, boxes=[box, box], steps=1, randomised=False
        )
        uniform = table[table["method"] == "(uniform)"]
        assert list(uniform["energy_in_box"]) == pytest.approx([80 / PLACES] * 2)
        assert list(uniform["pointing_game"]) == pytest.approx([80 / PLACES] * 2)
        assert list(uniform["average_drop"]) == [0, 0]
        centre = table[table["method"] == "(centre)"]
        assert list(centre["pointing_game"]) == [1, 1]
        y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        bell = np.exp(-8 * ((y / HEIGHT - 0.5) ** 2 + (x / WIDTH - 0.5) ** 2))
        expected = bell[3:11, 5:15].sum() / bell.sum()
        assert list(centre["energy_in_box"]) == pytest.approx([expected] * 2)

    def test_images_of_one_name(self):
        classifier, inputs = linear(), random(3, 3, HEIGHT, WIDTH)
        maps = random(3, 1, HEIGHT, WIDTH, seed=2)
        attributions = given(classifier, inputs, 0, maps=maps)
        seen = replace(attributions.seen, names=("same",) * 3)
        whole = faithfulness(
            classifier,
            inputs,
            replace(attributions, seen=seen),
            boxes={"same": [(0, 0, 9, 9)]},
            steps=3,
            **only,
        )
        assert list(whole["image"]) == ["same"] * 3
        for n in range(3):
            alone = faithfulness(
                classifier,
                inputs[n],
                attributions.select(n),
                boxes=[[(0, 0, 9, 9)]],
                steps=3,
                **only,
            )
            for name in [*MEASURES, *LOCATED]:
                assert whole[name][n] == pytest.approx(alone[name][0], abs=1e-5)

    def test_a_class_twice(self):
        classifier, inputs = linear(), random(1, 3, HEIGHT, WIDTH)
        attributions = attribute(classifier, inputs, "input_x_gradient", [1, 1, 0])
        table = faithfulness(classifier, inputs, attributions, steps=3, **only)
        assert list(table["index"]) == [1, 1, 0]
        first, second, other = table[MEASURES].to_numpy()
        assert list(first) == list(second) != list(other)

    def test_boxes_by_name_or_by_position(self):
        classifier, inputs = linear(), random(2, 3, HEIGHT, WIDTH)
        attributions = given(classifier, inputs, 0, maps=random(2, 1, HEIGHT, WIDTH))
        assert attributions.seen.names == ("image 1", "image 2")
        boxes = [[(0, 0, 9, 9), (12, 2, 18, 8)], []]
        by_name = dict(zip(attributions.seen.names, boxes, strict=True))
        tables = [
            faithfulness(classifier, inputs, attributions, boxes=each, steps=1, **only)
            for each in (boxes, by_name, {"image 1": boxes[0]}, (np.array(boxes[0]), ()))
        ]
        for table in tables[1:]:
            pd.testing.assert_frame_equal(table, tables[0])
        assert list(tables[0]["energy_in_box"].isna()) == [False, True]

    def test_what_does_not_belong_together(self):
        classifier, inputs = linear(), random(2, 3, HEIGHT, WIDTH)
        attributions = given(classifier, inputs, 2, maps=random(2, 1, HEIGHT, WIDTH))
        with pytest.raises(InputError, match="of 2 images, but 1 images are given"):
            faithfulness(classifier, inputs[0], attributions)
        with pytest.raises(InputError, match="boxes for 3 images, but there are 2"):
            faithfulness(classifier, inputs, attributions, boxes=[[]] * 3, steps=1)
        with pytest.raises(InputError, match="explain class 2, but linear has 2 classes"):
            faithfulness(linear(2), inputs, attributions)

    def test_half_precision(self):
        net, inputs = small(), random(1, 3, 28, 28)
        attributions = given(net, inputs, 0, maps=random(1, 1, 28, 28))
        expected = faithfulness(net, inputs, attributions, steps=4, **only)
        found = faithfulness(net.bfloat16(), inputs, attributions, steps=4, **only)
        columns = ["deletion_auc", "insertion_auc", "average_drop"]
        np.testing.assert_allclose(found[columns], expected[columns], atol=0.02)


class TestRandomisation:
    METHODS = ("grad_cam", "saliency")

    @pytest.fixture(scope="class")
    @staticmethod
    def photo():
        return random(2, 3, 64, 64)

    @pytest.fixture(scope="class")
    @staticmethod
    def cascade(demo, photo):
        return randomisation(demo, photo, TestRandomisation.METHODS, [1, 6], "stride8")

    def test_frame(self, demo, photo, cascade):
        steps = ["trained", "head", "stride16", "stride8", "stride4", "stride2", "stride1"]
        assert list(cascade.steps) == steps
        expected = [
            ("demo/vgg11_bn", f"image {n}", *which, demo.classes[t], name, step)
            for step, name in enumerate(steps)
            for which in (("grad_cam", "stride8"), ("saliency", "input"))
            for n in (1, 2)
            for t in (1, 6)
        ]
        keys = ["model", "image", "method", "stage", "target", "randomised", "step"]
        assert list(cascade.frame.columns) == [*keys, "spearman", "ssim"]
        assert list(cascade.frame[keys].itertuples(index=False, name=None)) == expected
        first = cascade.frame[cascade.frame["step"] == 0]
        np.testing.assert_allclose(first[["spearman", "ssim"]], 1.0, atol=1e-12)
        for found in cascade.steps.values():
            assert found.targets.tolist() == [[1, 6], [1, 6]]
        assert repr(cascade).startswith("Randomisation over 7 steps: trained, head, stride16")

    def test_similarities_as_scipy_and_skimage_have_them(self, cascade):
        trained, last = (cascade.steps[name] for name in ("trained", "stride1"))
        rows = cascade.frame[cascade.frame["randomised"] == "stride1"]
        expected = []
        for name, stage in (("grad_cam", "stride8"), ("saliency", "input")):
            for n in range(2):
                for t in range(2):
                    maps = [
                        resize(each.values[name][stage][n, t].double().numpy(), (64, 64), order=1,
                               mode="edge")
                        for each in (trained, last)
                    ]  # fmt: skip
                    scaled = [(m - m.min()) / (m.max() - m.min()) for m in maps]
                    similar = structural_similarity(*scaled, data_range=1.0)
                    expected.append((spearmanr(*map(np.ravel, maps))[0], similar))
        # the ranks of values that interpolation rounds differently
        np.testing.assert_allclose(rows[["spearman", "ssim"]], expected, atol=2e-3)

    def test_maps_are_those_of_the_trained_network_and_of_others(self, demo, photo, cascade):
        expected = attribute(demo, photo, self.METHODS, [1, 6], "stride8")
        for name in self.METHODS:
            for stage, maps in expected.values[name].items():
                assert torch.equal(cascade.steps["trained"].values[name][stage], maps)
        before = None
        for found in cascade.steps.values():
            maps = found.values["saliency"]["input"]
            assert before is None or not torch.equal(maps, before)
            before = maps

    def test_the_network_is_left_as_it_was(self, demo, photo, unchanged):
        with unchanged(demo.module):
            randomisation(demo, photo[:1], "saliency", 0)
        net = small().train()
        with unchanged(net):
            randomisation(net, photo[:1], "saliency", 0, random_state=3)

    def test_by_seed(self, demo, photo):
        first, again, other = (
            randomisation(demo, photo, "saliency", 0, random_state=seed, only_last=True)
            for seed in (1, 1, 2)
        )
        pd.testing.assert_frame_equal(first.frame, again.frame)
        maps = [each.steps["stride1"].values["saliency"]["input"] for each in (first, again, other)]
        assert torch.equal(maps[0], maps[1])
        assert not torch.equal(maps[0], maps[2])

    def test_only_the_last_step(self, demo, photo, cascade):
        found = randomisation(demo, photo, self.METHODS, [1, 6], "stride8", only_last=True)
        assert list(found.steps) == ["trained", "stride1"]
        for name in self.METHODS:
            for stage, maps in cascade.steps["stride1"].values[name].items():
                assert torch.equal(found.steps["stride1"].values[name][stage], maps)
        columns = ["image", "method", "stage", "target", "randomised", "spearman", "ssim"]
        for step in ("trained", "stride1"):
            whole, last = (
                each.frame[each.frame["randomised"] == step][columns].reset_index(drop=True)
                for each in (cascade, found)
            )
            pd.testing.assert_frame_equal(whole, last)

    def test_a_map_that_does_not_look_at_the_weights(self, demo, photo, brightness):
        found = randomisation(demo, photo, ["brightness", "saliency"], 1)
        rows = found.frame[found.frame["method"] == "brightness"]
        assert len(rows) == 14
        np.testing.assert_allclose(rows[["spearman", "ssim"]], 1.0, atol=1e-12)
        attributions = attribute(demo, photo, ["brightness", "saliency"], 1)
        table = faithfulness(demo, photo, attributions, steps=1, references=False)
        by_method = table.set_index("method")["randomisation"]
        np.testing.assert_allclose(by_method["brightness"], 1.0, atol=1e-12)
        assert by_method["saliency"].max() < 0.9

    @pytest.mark.parametrize("own", [True, False])
    def test_in_the_end_no_weight_is_as_it_was(self, own, demo):
        classifier = vizkit.wrap(small()) if own else demo
        trained = dict(classifier.module.named_parameters())
        states = []

        @method("spy", label="Spy", paper="none", level="input")
        def spy(query):
            """Keep the weights."""
            states.append({k: v.detach().clone() for k, v in query.module.named_parameters()})
            return query.inputs[:, :1]

        try:
            found = randomisation(classifier, random(1, 3, 32, 32), "spy", 0)
        finally:
            del METHODS["spy"]
        assert len(states) == len(found.steps)
        for name, value in trained.items():
            assert torch.equal(states[0][name], value)
            constant = torch.equal(states[-1][name], value)
            # what training starts from may be what it ended with
            assert not constant or value.unique().numel() == 1
        changed = [
            {k for k in trained if not torch.equal(state[k], trained[k])} for state in states
        ]
        for fewer, more in itertools.pairwise(changed):
            assert fewer < more

    def test_faithfulness_compares_with_the_last_step(self, demo, photo, cascade):
        attributions = attribute(demo, photo, self.METHODS, [1, 6], "stride8")
        table = faithfulness(demo, photo, attributions, steps=1, seed=0)
        last = cascade.frame[cascade.frame["randomised"] == "stride1"]
        keys = ["image", "target", "method", "stage"]
        expected = last.set_index(keys)["spearman"]
        measured = table[~table["method"].str.startswith("(")].set_index(keys)["randomisation"]
        assert len(measured) == 8
        for key, value in measured.items():
            assert value == pytest.approx(expected[key], abs=1e-12)

    def test_options_and_the_class_explained_against(self, demo, photo):
        options = {"against": 2, "n_masks": 6}
        attributions = attribute(demo, photo, ["rise", "saliency"], 1, **options)
        table = faithfulness(demo, photo, attributions, steps=1, references=False)
        expected = randomisation(
            demo, photo, ["rise", "saliency"], 1, only_last=True, **options
        ).frame
        last = expected[expected["step"] == 1].set_index(["image", "method"])["spearman"]
        found = table.set_index(["image", "method"])["randomisation"]
        for key, value in found.items():
            assert value == pytest.approx(last[key], abs=1e-12)

    def test_constant_maps_are_like_nothing(self, demo, photo):
        @method("flat", label="Flat", paper="none", level="input")
        def flat(query):
            """Say nothing."""
            return torch.zeros(len(query.inputs), query.targets.shape[1], 64, 64)

        try:
            frame = randomisation(demo, photo, "flat", 0, only_last=True).frame
        finally:
            del METHODS["flat"]
        assert frame[["spearman", "ssim"]].isna().all(axis=None)

    def test_a_network_that_cannot_be_copied(self):
        class Single(nn.Sequential):
            def __deepcopy__(self, memo):
                raise TypeError("one of a kind")

        net = Single(*small())
        with pytest.raises(InputError, match="Single cannot be copied: one of a kind"):
            randomisation(net, random(1, 3, 16, 16), "saliency", 0)

    def test_unknown_names(self, demo, photo):
        with pytest.raises(InputError, match="unknown method 'salency'"):
            randomisation(demo, photo, "salency")


def record(maps, boxes=None, model="net", names=None, stage="input"):
    """Attributions by hand: ``maps`` is a dict of method to (N, T, h, w)."""
    first = next(iter(maps.values()))
    count, wanted = first.shape[:2]
    names = names or tuple(f"{n}.png" for n in range(count))
    boxes = tuple(boxes or [(0.0, 0.0, 64.0, 64.0)] * count)
    return Attributions(
        model=model,
        values={name: {stage: torch.as_tensor(each).float()} for name, each in maps.items()},
        targets=torch.zeros(count, wanted, dtype=torch.int64),
        probabilities=torch.ones(count, wanted),
        inputs=torch.zeros(count, 3, 64, 64),
        seen=Seen(names, np.zeros((count, 64, 64, 3), np.uint8), boxes, (None,) * count, "none"),
    )


def expected_agreement(first, second, top=0.1):
    """Spearman, SSIM and IoU of (M, h, w) each, averaged, by scipy, skimage and sets."""
    rows = []
    for a, b in zip(np.asarray(first, np.float64), np.asarray(second, np.float64), strict=True):
        scaled = [(each - each.min()) / (each.max() - each.min()) for each in (a, b)]
        highest = [set(np.argsort(-each, axis=None)[: round(top * a.size)]) for each in (a, b)]
        rows.append(
            (
                spearmanr(a.ravel(), b.ravel())[0],
                structural_similarity(*scaled, data_range=1.0),
                len(highest[0] & highest[1]) / len(highest[0] | highest[1]),
            )
        )
    return np.mean(rows, axis=0)


def smooth(*shape, seed=0):
    noise = np.random.default_rng(seed).normal(size=shape)
    blurred = gaussian_filter(noise, (0,) * (len(shape) - 2) + (3, 3))
    return blurred.astype(np.float32)


class TestAgreement:
    COLUMNS = ("spearman", "ssim", "iou")

    @pytest.mark.parametrize("top", [0.1, 0.25])
    def test_as_scipy_and_skimage_have_it(self, top):
        first, second = smooth(2, 3, 64, 64), smooth(2, 3, 64, 64, seed=1)
        second += first
        found = agreement(record({"a": first, "b": second}), top=top)
        names = ["model", "method", "stage"]
        assert list(found.columns) == [
            *(f"{name}_a" for name in names), *(f"{name}_b" for name in names), *self.COLUMNS, "n"
        ]  # fmt: skip
        assert found.iloc[0, :6].tolist() == ["net", "a", "input", "net", "b", "input"]
        expected = expected_agreement(first.reshape(6, 64, 64), second.reshape(6, 64, 64), top)
        np.testing.assert_allclose(found.loc[0, list(self.COLUMNS)].astype(float), expected, 1e-5)
        assert found["n"][0] == 6

    def test_larger_maps_are_averaged_and_smaller_ones_stretched(self):
        large, small_maps = smooth(2, 1, 96, 96), smooth(2, 1, 12, 12, seed=1)
        found = agreement(record({"a": large, "b": small_maps}), size=32)
        averaged = large.reshape(2, 32, 3, 32, 3).astype(np.float64).mean(axis=(2, 4))
        stretched = [
            resize(each.astype(np.float64), (32, 32), order=1, mode="edge")
            for each in small_maps[:, 0]
        ]
        expected = expected_agreement(averaged, stretched)
        np.testing.assert_allclose(found.loc[0, list(self.COLUMNS)].astype(float), expected, 1e-3)

    def test_every_pair_once(self):
        one = replace(
            record({"a": smooth(1, 1, 64, 64)}),
            values={
                "a": {s: torch.from_numpy(smooth(1, 1, 8, 8, seed=i)) for i, s in enumerate("xy")},
                "b": {"input": torch.from_numpy(smooth(1, 1, 64, 64, seed=2))},
            },
        )
        two = record({"a": smooth(1, 1, 64, 64, seed=3)}, model="other")
        found = agreement([one, two])
        keys = [("net", "a", "x"), ("net", "a", "y"), ("net", "b", "input")]
        keys.append(("other", "a", "input"))
        pairs = [(*keys[i], *keys[j]) for i in range(4) for j in range(i + 1, 4)]
        assert list(found.iloc[:, :6].itertuples(index=False, name=None)) == pairs
        pd.testing.assert_frame_equal(agreement(one), agreement([one]))

    def test_the_same_map(self):
        maps = smooth(2, 2, 64, 64)
        row = agreement(record({"a": maps, "b": 3 * maps - 1})).iloc[0]
        assert row[list(self.COLUMNS)].tolist() == pytest.approx([1, 1, 1], abs=1e-4)
        row = agreement(record({"a": maps, "b": maps.copy()})).iloc[0]
        assert row[list(self.COLUMNS)].tolist() == pytest.approx([1, 1, 1], abs=1e-12)

    def test_opposite_maps(self):
        maps = smooth(2, 2, 64, 64)
        row = agreement(record({"a": maps, "b": -maps})).iloc[0]
        assert row["spearman"] == pytest.approx(-1)
        assert row["ssim"] < 0
        assert row["iou"] == 0
        assert row["n"] == 4

    def test_constant_maps_agree_with_nothing(self):
        maps, flat = smooth(2, 1, 64, 64), np.full((2, 1, 64, 64), 0.1, np.float32)
        row = agreement(record({"a": maps, "b": flat})).iloc[0]
        assert row[list(self.COLUMNS)].isna().all()
        assert row["n"] == 0
        both = agreement(record({"a": flat, "b": flat})).iloc[0]
        assert both[list(self.COLUMNS)].isna().all()
        assert both["n"] == 0

    def test_constant_maps_are_left_out_of_the_mean(self):
        first, second = smooth(3, 1, 64, 64), smooth(3, 1, 64, 64, seed=1)
        second[1] = 0
        row = agreement(record({"a": first, "b": second})).iloc[0]
        expected = expected_agreement(first[[0, 2], 0], second[[0, 2], 0])
        np.testing.assert_allclose(row[list(self.COLUMNS)].astype(float), expected, 1e-5)
        assert row["n"] == 2

    def test_places_that_are_all_the_lowest_are_not_on_top(self):
        first, second = np.zeros((2, 1, 1, 64, 64), np.float32)
        first[0, 0, 10:12, 10:12] = second[0, 0, 10:12, 11:13] = 1
        row = agreement(record({"a": first, "b": second})).iloc[0]
        assert row["iou"] == pytest.approx(2 / 6)

    def test_networks_that_saw_other_parts_of_a_photo(self):
        """A bump at one place of a photo is at one place of what both networks saw of it."""
        photo = Image.fromarray(np.zeros((200, 260, 3), np.uint8))
        seen = {}
        for name, transform in {
            "wide": vizkit.Transform((64, 64), (64, 64)),
            "narrow": vizkit.Transform((96, 96), (160, 160)),
            "squashed": vizkit.Transform((64, 64), (64, 64), squash=True),
        }.items():
            left, top, right, bottom = transform.box(photo.size)
            size = transform.size[0]
            x = left + (np.arange(size) + 0.5) / size * (right - left)
            y = top + (np.arange(size) + 0.5) / size * (bottom - top)
            bump = np.exp(-((x - 145) ** 2 + (y - 80)[:, None] ** 2) / (2 * 30**2))
            box = (left, top, right, bottom)
            seen[name] = record({"bump": bump[None, None]}, [box], model=name)
        aligned = agreement(list(seen.values()))
        assert len(aligned) == 3
        assert aligned["spearman"].min() > 0.97
        assert aligned["ssim"].min() > 0.9
        assert aligned["iou"].min() > 0.6
        same = [
            replace(each, seen=replace(each.seen, boxes=((0.0, 0.0, 1.0, 1.0),)))
            for each in seen.values()
        ]
        apart = agreement(same)
        assert (apart["iou"] < aligned["iou"]).all()
        # what all of them saw is what is compared: a third network can only make it less
        pair = agreement([seen["wide"], seen["squashed"]])
        assert pair["iou"][0] > 0.6

    def test_the_common_part_to_the_pixel(self):
        whole = smooth(1, 1, 64, 64)
        middle = whole[:, :, 16:48, 16:48]
        first = record({"a": whole}, [(0.0, 0.0, 64.0, 64.0)], model="whole")
        second = record({"a": middle}, [(16.0, 16.0, 48.0, 48.0)], model="middle")
        row = agreement([first, second]).iloc[0]
        assert row[list(self.COLUMNS)].tolist() == pytest.approx([1, 1, 1], abs=1e-12)

    def test_crops_of_real_networks(self, demo):
        photo = {"rocket": vizkit.samples()["rocket"]}
        wide = replace(demo, name="wide", transform=replace(demo.transform, resize=(128, 128)))
        found = [attribute(net, photo, "grad_cam", "church", "stride8") for net in (demo, wide)]
        table = agreement(found)
        assert table[["model_a", "model_b"]].iloc[0].tolist() == ["demo/vgg11_bn", "wide"]
        assert table["n"][0] == 1
        left, _, right, _ = found[0].seen.boxes[0]
        start, _, end, _ = found[1].seen.boxes[0]
        assert start < left < right < end

    @pytest.mark.parametrize("apart", [(64.0, 0.0, 128.0, 64.0), (0.0, 99.0, 64.0, 120.0)])
    def test_networks_that_saw_nothing_in_common(self, apart):
        maps = smooth(1, 1, 64, 64)
        pair = [record({"a": maps}, model="x"), record({"a": maps}, [apart], model="y")]
        for order_of in (pair, pair[::-1]):
            with pytest.raises(InputError, match="a common part of each photo"):
                agreement(order_of)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": 0}, "size must be a whole number"),
            ({"size": 8.0}, "size must be a whole number"),
            ({"top": 0}, "top must be between 0 and 1, not 0"),
            ({"top": 1}, "top must be between 0 and 1, not 1"),
        ],
    )
    def test_impossible(self, options, message):
        with pytest.raises(InputError, match=message):
            agreement(record({"a": smooth(1, 1, 8, 8)}), **options)

    def test_what_cannot_be_compared(self):
        maps = smooth(1, 1, 64, 64)
        first = record({"a": maps})
        with pytest.raises(InputError, match="attributions of the same images"):
            agreement([first, record({"a": maps}, names=("x.png",), model="y")])
        with pytest.raises(InputError, match="as many classes from each network"):
            agreement([first, record({"a": smooth(1, 2, 64, 64)}, model="y")])
        with pytest.raises(InputError):
            agreement([])


class TestWhatWasOnceWrong:
    @pytest.fixture(scope="class")
    @staticmethod
    def given():
        return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))

    def test_options_of_methods_that_were_left_out(self, demo, given):
        maps = attribute(demo, given, ["grad_cam", "rise"], stages=["stride16"], n_masks=4)
        table = faithfulness(demo, given, maps.select(methods="grad_cam"), steps=2)
        assert "grad_cam" in set(table["method"])

    def test_one_network_twice(self, demo, given):
        both = [attribute(demo, given, targets=t, stages=["stride8"]) for t in (0, 3)]
        table = agreement(both)
        assert table[["model_a", "model_b"]].to_numpy().tolist() == [
            [demo.name, f"{demo.name} (2)"]
        ]

    def test_a_single_map_agrees_with_nothing(self, demo, given):
        table = agreement(attribute(demo, given, stages=["stride8"]))
        assert table.empty
        assert {"model_a", "stage_b", "spearman", "iou", "n"} <= set(table.columns)

    def test_a_grid_too_small_to_compare(self, demo, given):
        with pytest.raises(InputError, match="size must be a whole number of at least 7, not 2"):
            agreement(attribute(demo, given), size=2)

    def test_weights_of_modules_that_are_not_run_themselves(self):
        class Reads(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.hidden = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

            def forward(self, x):
                return self.conv(x).relu().mean(dim=(-2, -1)) @ self.hidden.weight.T

        torch.manual_seed(0)
        net, given = Reads(), torch.rand(1, 3, 16, 16)
        before = net.hidden.weight.clone()
        result = randomisation(net, given, "saliency", targets=1)
        assert torch.equal(net.hidden.weight, before)
        assert list(result.steps)[:2] == ["trained", "head"]
        maps = [each.values["saliency"]["input"] for each in result.steps.values()]
        assert not torch.equal(maps[0], maps[1])
