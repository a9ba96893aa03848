"""Results: parts of attributions, all of them on one grid, and what their classes are called."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.transform import resize

from vizkit.attribution import attribute
from vizkit.errors import InputError
from vizkit.results import Attributions, Seen, Tap


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def found():
    """Three images, two classes, two methods at two stages and one at the input."""
    size = (12, 16)
    taps = (Tap("stride4", "a", "act", 4, 8), Tap("stride8", "b", "act", 8, 8))
    values = {
        "cam": {"stride4": maps(3, 2, 3, 4), "stride8": maps(3, 2, 2, 2)},
        "grad_cam": {"stride8": maps(3, 2, 2, 2, seed=1)},
        "saliency": {"input": maps(3, 2, *size)},
    }
    names = ("one.png", "two.png", "three.png")
    return Attributions(
        model="net",
        values=values,
        targets=torch.tensor([[0, 2], [1, 0], [2, 9]]),
        probabilities=torch.arange(6).reshape(3, 2) / 10,
        inputs=maps(3, 3, *size, seed=2),
        seen=Seen(
            names,
            np.arange(3, dtype=np.uint8).repeat(12 * 16 * 3).reshape(3, 12, 16, 3),
            tuple((float(n), 0.0, 9.0, 9.0) for n in range(3)),
            (None,) * 3,
            "by hand",
        ),
        taps=taps,
        classes=("cat", "dog", "rocket"),
        errors={"saliency": maps(3, 2, seed=3)},
        options={"n_masks": 4},
        labels={"cam": "CAM", "saliency": "Saliency"},
    )


def keys(attributions):
    return [(m, stage) for m, stages in attributions.values.items() for stage in stages]


class TestSelect:
    @pytest.mark.parametrize("n", [0, 1, 2, -1, -3])
    def test_an_image(self, found, n):
        part = found.select(n)
        assert keys(part) == keys(found)
        for method, stage in keys(found):
            assert torch.equal(part.values[method][stage][0], found.values[method][stage][n])
            assert len(part.values[method][stage]) == 1
        for name in ("targets", "probabilities", "inputs"):
            assert torch.equal(getattr(part, name), getattr(found, name)[[n]])
        assert part.seen.names == (found.seen.names[n],)
        assert part.seen.boxes == (found.seen.boxes[n],)
        assert np.array_equal(part.seen.pixels, found.seen.pixels[[n]])
        assert torch.equal(part.errors["saliency"], found.errors["saliency"][[n]])
        assert part.taps == found.taps
        assert part.labels == found.labels

    @pytest.mark.parametrize("target", [0, 1, -1])
    def test_a_class(self, found, target):
        part = found.select(target=target)
        for method, stage in keys(found):
            assert torch.equal(
                part.values[method][stage][:, 0], found.values[method][stage][:, target]
            )
            assert part.values[method][stage].shape[1] == 1
        assert torch.equal(part.targets[:, 0], found.targets[:, target])
        assert torch.equal(part.probabilities[:, 0], found.probabilities[:, target])
        assert torch.equal(part.errors["saliency"][:, 0], found.errors["saliency"][:, target])
        assert torch.equal(part.inputs, found.inputs)
        assert part.seen.names == found.seen.names

    @pytest.mark.parametrize(
        ("options", "expected", "taps"),
        [
            ({"methods": "saliency"}, [("saliency", "input")], 2),
            (
                {"methods": ["saliency", "cam"]},
                [("saliency", "input"), ("cam", "stride4"), ("cam", "stride8")],
                2,
            ),
            ({"stages": "stride4"}, [("cam", "stride4")], 1),
            ({"stages": ["stride8"]}, [("cam", "stride8"), ("grad_cam", "stride8")], 1),
            ({"stages": "input"}, [("saliency", "input")], 0),
            ({"methods": "cam", "stages": "stride8"}, [("cam", "stride8")], 1),
        ],
    )
    def test_methods_and_stages(self, found, options, expected, taps):
        part = found.select(**options)
        assert keys(part) == expected
        for method, stage in expected:
            assert part.values[method][stage].equal(found.values[method][stage])
        if "stages" in options:
            assert len(part.taps) == taps
            assert {tap.name for tap in part.taps} <= {stage for _, stage in expected}

    def test_all_at_once(self, found):
        part = found.select(1, methods="cam", stages="stride8", target=1)
        assert keys(part) == [("cam", "stride8")]
        assert torch.equal(
            part.values["cam"]["stride8"][0, 0], found.values["cam"]["stride8"][1, 1]
        )
        assert part.targets.tolist() == [[0]]
        assert part.errors == {}

    def test_what_was_selected_from_stays(self, found):
        before = keys(found)
        found.select(0, methods="cam")
        assert keys(found) == before
        assert len(found.seen) == 3

    def test_layers_with_several_roles(self, demo):
        layers = ["conv3_1:conv", "conv3_1:act", "stride16"]
        attributions = attribute(demo, maps(1, 3, 64, 64), stages=layers, targets=0)
        part = attributions.select(stages="conv3_1:act")
        assert keys(part) == [("grad_cam", "conv3_1:act")]
        assert [tap.label for tap in part.taps] == ["conv3_1:act"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n": 3}, "no image 3: there are 3, counted from 0"),
            ({"n": -4}, "no image -4"),
            ({"target": 2}, "no target 2: there are 2"),
            ({"methods": "gradcam"}, "unknown method 'gradcam'; did you mean 'grad_cam'"),
            ({"stages": "stride9"}, "unknown stage 'stride9'; did you mean 'stride"),
            ({"methods": "grad_cam", "stages": "stride4"}, "unknown stage 'stride4'"),
            ({"methods": "saliency", "stages": ["input", "stride4"]}, "unknown stage 'stride4'"),
        ],
    )
    def test_impossible(self, found, options, message):
        with pytest.raises(InputError, match=message):
            found.select(**options)


class TestStack:
    def test_at_the_size_of_the_input(self, found):
        stacked, labels = found.stack()  # noqa: PD013
        assert stacked.shape == (4, 3, 2, 12, 16)
        expected = pd.DataFrame(keys(found), columns=["method", "stage"])
        pd.testing.assert_frame_equal(labels, expected)
        for m, (method, stage) in enumerate(keys(found)):
            for n in range(3):
                for t in range(2):
                    raw = found.values[method][stage][n, t].double().numpy()
                    large = resize(raw, (12, 16), order=1, mode="edge")
                    np.testing.assert_allclose(stacked[m, n, t], large, atol=1e-5)

    def test_at_another_size(self, found):
        stacked, _ = found.stack((24, 40))  # noqa: PD013
        assert stacked.shape == (4, 3, 2, 24, 40)
        raw = found.values["saliency"]["input"][2, 1].double().numpy()
        large = resize(raw, (24, 40), order=1, mode="edge")
        np.testing.assert_allclose(stacked[3, 2, 1], large, atol=1e-5)

    def test_raw_values_stay(self, found):
        stacked, _ = found.stack()  # noqa: PD013
        assert torch.equal(stacked[3], found.values["saliency"]["input"])


class TestNames:
    def test_of_classes(self, found):
        assert found.target_name(0, 1) == "rocket"
        assert found.target_name(1, 0) == "dog"
        # more outputs than names
        assert found.target_name(2, 1) == "class 9"

    @pytest.mark.parametrize(
        ("against", "expected"),
        [(1, "rocket \u2212 dog"), (0, "rocket \u2212 cat"), (7, "rocket \u2212 class 7")],
    )
    def test_against(self, found, against, expected):
        found = replace(found, against=against)
        assert found.target_name(0, 1) == expected
        rows = found.to_frame()
        own = rows[(rows["image"] == "one.png") & (rows["index"] == 2)]
        assert set(own["target"]) == {expected}
        assert found.select(0, target=1).target_name(0, 0) == expected

    @pytest.mark.parametrize("against", ["golf ball", 8])
    def test_against_a_class_of_a_network(self, demo, against):
        given = maps(1, 3, 64, 64)
        attributions = attribute(demo, given, "saliency", ["church", 0], against=against)
        assert attributions.against == 8
        names = [attributions.target_name(0, t) for t in range(2)]
        assert names == ["church \u2212 golf ball", "tench \u2212 golf ball"]
        assert list(attributions.to_frame()["target"]) == names


class TestFrame:
    def test_a_row_for_each_map(self, found):
        frame = found.to_frame()
        expected = [
            (method, stage, name, int(found.targets[n, t]))
            for method, stage in keys(found)
            for n, name in enumerate(found.seen.names)
            for t in range(2)
        ]
        columns = ["method", "stage", "image", "index"]
        assert list(frame[columns].itertuples(index=False, name=None)) == expected
        row = frame.iloc[-1]
        own = found.values["saliency"]["input"][2, 1].numpy()
        assert row[["min", "max", "mean"]].tolist() == pytest.approx(
            [own.min(), own.max(), own.mean()], abs=1e-6
        )
        assert row["probability"] == pytest.approx(0.5)
        assert row["error"] == pytest.approx(found.errors["saliency"][2, 1].item())
        assert frame[frame["method"] != "saliency"]["error"].isna().all()

    def test_in_words(self, found):
        assert repr(found).startswith("Attributions of net, 3 image(s)\n")
        assert "(3, 2, 12, 16)" in repr(found)
        assert "<p>Attributions of net</p>" in found._repr_html_()
