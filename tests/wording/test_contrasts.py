"""What a change of design does is read from names, and measured over pairs."""

import math

import numpy as np
import pandas as pd
import pytest

import vizkit
from vizkit.results import StageStatistics
from vizkit.wording.contrasts import COLUMNS, Contrast, contrasts, effects, kind_of, measures

VGGS = [f"demo/vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")]


def named(models):
    return {contrast.name: contrast for contrast in contrasts(models)}


def table(rows):
    """From model, quantity, place, value and unit."""
    parts = [
        {"model": m, "topic": "statistics", "quantity": q, "place": p, "value": v, "unit": u}
        for m, q, p, v, u in rows
    ]
    return pd.DataFrame(parts).astype({"place": "Int64"})


def stages(rows, units=None):
    frame = pd.DataFrame(rows, columns=["model", "stride", "layer", "role", "statistic", "value"])
    return StageStatistics(frame, pd.DataFrame(), images=2, units=units or {})


def test_bundled_models_give_all_three():
    found = named([*VGGS, "demo/vovnet19b"])
    twins = [(f"demo/vgg{n}", f"demo/vgg{n}_bn") for n in (11, 13, 16, 19)]
    assert found["batch normalisation"].pairs == tuple(twins)
    series = (("demo/vgg11", "demo/vgg19"), ("demo/vgg11_bn", "demo/vgg19_bn"))
    assert found["depth"].pairs == series
    # a VoVNet is batch normalised: plain VGGs would mix two causes
    against = tuple((f"demo/vgg{n}_bn", "demo/vovnet19b") for n in (11, 13, 16, 19))
    assert found["architecture"].pairs == against
    assert found["architecture"].words == "vovnet19b instead of vgg with batch normalisation"
    assert len(found) == 3


def test_order_of_models_does_not_turn_pairs_round():
    found = named(["vgg19_bn", "vgg19", "vgg11", "vgg11_bn"])
    assert ("vgg19", "vgg19_bn") in found["batch normalisation"].pairs
    assert ("vgg11", "vgg19") in found["depth"].pairs


def test_twins_need_the_same_source_and_tag():
    found = named(["vgg16.tv_in1k", "vgg16_bn.tv_in1k", "vgg16.other", "torchvision/vgg16_bn"])
    assert found["batch normalisation"].pairs == (("vgg16.tv_in1k", "vgg16_bn.tv_in1k"),)
    assert "depth" not in found
    assert "architecture" not in found


def test_depth_needs_the_same_source_suffix_and_tag():
    names = ["demo/vgg11", "vgg19", "vgg13.a", "vgg16.b", "ese_vovnet19b_dw", "ese_vovnet39b"]
    assert "depth" not in named(names)
    # one digit is a version or a size, not a number of layers
    assert "depth" not in named(["mobilenetv2_100", "mobilenetv3_100"])


def test_plain_models_stand_for_a_family_without_others():
    found = named(["vgg11", "vgg16", "resnet50"])
    assert found["architecture"].pairs == (("vgg11", "resnet50"), ("vgg16", "resnet50"))
    assert found["architecture"].words == "resnet50 instead of vgg"


def test_several_families_are_told_apart():
    found = contrasts(["vgg11_bn", "vgg16", "vgg19", "resnet18", "resnet50", "ese_vovnet19b_dw"])
    pairs = {each.name: each.pairs for each in found if each.name.startswith("architecture")}
    assert pairs == {
        "architecture, resnet": (("vgg11_bn", "resnet18"), ("vgg11_bn", "resnet50")),
        "architecture, ese_vovnet": (("vgg11_bn", "ese_vovnet19b_dw"),),
    }


@pytest.mark.parametrize(
    "models", [[], ["MyNet"], ["vgg11"], ["/", "a/b.c/d", "_bn"], ["VGG", "VGG (2)", "net 3"]]
)
def test_names_that_tell_nothing_give_nothing(models):
    assert contrasts(models) == []


def test_unknown_names_may_have_twins():
    found = contrasts(["MyNet", "MyNet_bn", "runs/my.net", "runs/my.net_bn", "vgg16"])
    pairs = (("MyNet", "MyNet_bn"), ("runs/my.net", "runs/my.net_bn"))
    assert [(each.name, each.pairs) for each in found] == [("batch normalisation", pairs)]


def test_measures_of_everything():
    statistics = stages(
        [
            ("a", 2, "stride2", "act", "std", 1.5),
            ("a", 2, "conv2_1", "act", "std", 9.0),
            ("a", 4, "stride4", "act", "std", np.nan),
        ],
        {"std": "spread"},
    )
    profile = pd.DataFrame(
        {
            "model": "a",
            "stage": ["stride2", "head", "total"],
            "stride": [2.0, np.nan, np.nan],
            "params": [3, 4, 7],
            "gmacs": [0.1, 0.2, 0.3],
            "receptive_field": [5.0, np.nan, np.nan],
        }
    )
    predictions = pd.DataFrame(
        {
            "model": ["a"] * 4,
            "image": list("wxyz"),
            "label": ["c", "c", None, "c"],
            "class": ["c", "d", "d", "c"],
            "probability": [0.5, 0.7, 0.9, 0.3],
            "right": [True, False, None, True],
        }
    )
    speed = pd.DataFrame({"model": ["a", "a", "a"], "ms": [4.0, 5.0, 90.0]})
    found = measures(statistics=statistics, profile=profile, predictions=predictions, speed=speed)
    assert list(found.columns) == COLUMNS
    rows = {
        (row.quantity, None if pd.isna(row.place) else row.place): (row.topic, row.value, row.unit)
        for row in found.itertuples()
    }
    assert rows.pop(("accuracy", None)) == ("predictions", pytest.approx(2 / 3), "share of photos")
    assert rows.pop(("confidence", None)) == ("predictions", pytest.approx(0.6), "probability")
    assert rows == {
        ("std", 2): ("statistics", 1.5, "spread"),
        ("params", None): ("profile", 7.0, "parameters"),
        ("gmacs", None): ("profile", 0.3, "GMACs"),
        ("receptive_field", 2): ("profile", 5.0, "pixels"),
        ("ms", None): ("profile", 5.0, "ms"),
    }


def test_measures_of_nothing():
    assert list(measures().columns) == COLUMNS
    assert measures().empty
    assert effects(measures(), contrasts(VGGS)).empty


def test_photos_without_classes_have_no_accuracy():
    rows = {"model": ["a", "a"], "image": ["x", "y"], "probability": [0.25, 0.75]}
    for right in ([None, None], [np.nan, np.nan]):
        found = measures(predictions=pd.DataFrame({**rows, "right": right}))
        assert list(found["quantity"]) == ["confidence"]
    assert list(measures(predictions=pd.DataFrame(rows))["quantity"]) == ["confidence"]


def test_pooled_stages_are_not_set_against_others():
    rows = [
        ("vgg", 16, "stride16", "act", "mean", 1.0),
        ("vgg", 32, "stride32", "pool", "mean", 2.0),
        ("vov", 32, "stride32", "block", "mean", 3.0),
    ]
    found = measures(statistics=stages(rows))
    assert list(zip(found["model"], found["place"], strict=True)) == [("vgg", 16), ("vov", 32)]
    assert list(measures(statistics=stages(rows[:2]))["place"]) == [16, 32]


def test_effect_of_a_ratio_is_the_geometric_mean():
    rows = [("a", "std", 8, 1.0, ""), ("a_bn", "std", 8, 2.0, "")]
    rows += [("b", "std", 8, 0.5, ""), ("b_bn", "std", 8, 4.0, "")]
    found = effects(table(rows), contrasts(["a", "a_bn", "b", "b_bn"]))
    row = found.iloc[0]
    # 2 and 8: their geometric mean is 4
    assert (row["typical"], row["low"], row["high"]) == pytest.approx((4.0, 2.0, 8.0))
    assert (row["kind"], row["pairs"], row["agree"], row["consistent"]) == ("ratio", 2, 2, True)
    assert (row["contrast"], row["place"], row["scale"]) == ("batch normalisation", 8, 4.0)


def test_effect_of_a_share_is_the_mean_difference():
    rows = [("a", "dead", 8, 0.1, "share"), ("a_bn", "dead", 8, 0.4, "share")]
    rows += [("b", "dead", 8, 0.5, "share"), ("b_bn", "dead", 8, 0.3, "share")]
    row = effects(table(rows), contrasts(["a", "a_bn", "b", "b_bn"])).iloc[0]
    assert (row["typical"], row["low"], row["high"]) == pytest.approx((0.05, -0.2, 0.3))
    assert (row["kind"], row["pairs"], row["agree"], row["consistent"]) == ("share", 2, 1, False)


def test_no_change_is_not_consistent():
    rows = [("a", "dead", 8, 0.1, "share"), ("a_bn", "dead", 8, 0.1, "share")]
    row = effects(table(rows), contrasts(["a", "a_bn"])).iloc[0]
    assert (row["typical"], row["agree"], row["consistent"]) == (0.0, 0, False)


@pytest.mark.parametrize(
    ("before", "after", "typical", "low", "high"),
    [
        ((0.0,), (0.0,), 1.0, 1.0, 1.0),
        ((0.0,), (2.0,), math.inf, math.inf, math.inf),
        ((2.0,), (0.0,), 0.0, 0.0, 0.0),
        ((0.0, 1.0), (2.0, 3.0), 3.0, 3.0, math.inf),
        ((2.0, 4.0), (0.0, 1.0), 0.25, 0.0, 0.25),
    ],
)
def test_ratios_of_zeros(before, after, typical, low, high):
    names = "abcd"[: len(before)]
    rows = [(n, "std", 1, v, "") for n, v in zip(names, before, strict=True)]
    rows += [(f"{n}_bn", "std", 1, v, "") for n, v in zip(names, after, strict=True)]
    row = effects(table(rows), contrasts([each[0] for each in rows])).iloc[0]
    assert (row["typical"], row["low"], row["high"]) == pytest.approx((typical, low, high))


def test_to_and_from_nothing_has_no_typical_factor():
    rows = [("a", "std", 1, 0.0, ""), ("a_bn", "std", 1, 1.0, "")]
    rows += [("b", "std", 1, 1.0, ""), ("b_bn", "std", 1, 0.0, "")]
    row = effects(table(rows), contrasts([each[0] for each in rows])).iloc[0]
    assert math.isnan(row["typical"])
    assert not row["consistent"]


def test_pairs_without_both_numbers_do_not_count():
    rows = [("a", "std", 1, 1.0, ""), ("a_bn", "std", 1, np.nan, "")]
    rows += [("b", "std", 1, 1.0, ""), ("b_bn", "std", 1, 3.0, ""), ("a_bn", "std", 2, 5.0, "")]
    found = effects(table(rows), contrasts(["a", "a_bn", "b", "b_bn"]))
    assert list(found["place"]) == [1]
    assert found.iloc[0]["pairs"] == 1
    assert found.iloc[0]["typical"] == pytest.approx(3.0)


def test_negative_means_are_subtracted():
    rows = [("a", "mean", 1, -0.5, ""), ("a_bn", "mean", 1, 1.0, "")]
    row = effects(table(rows), [Contrast("x", (("a", "a_bn"),), "x")]).iloc[0]
    assert (row["kind"], row["typical"], row["scale"]) == ("difference", 1.5, 1.0)


@pytest.mark.parametrize(
    ("quantity", "unit", "values", "kind"),
    [
        ("std", "", [0.1, 0.2], "ratio"),
        ("mean", "", [0.1, -0.2], "difference"),
        ("sparsity", "", [0.1, 0.2], "share"),
        ("mine", "share of something", [0.0, 1.0], "share"),
        ("mine", "fraction", [0.0, 0.5], "share"),
        ("mine", "share of something", [0.0, 1.5], "ratio"),
        ("mine", "bits", [0.1, 0.5], "ratio"),
        ("mine", "bits", [-0.1, 0.5], "difference"),
        ("skew", "", [1.0, 2.0], "difference"),
    ],
)
def test_how_quantities_are_compared(quantity, unit, values, kind):
    assert kind_of(quantity, pd.DataFrame({"value": values, "unit": unit})) == kind


def test_real_twins():
    models = ["demo/vgg11", "demo/vgg11_bn"]
    statistics = vizkit.describe(models, list(vizkit.samples().values())[:2])
    profile = pd.concat([vizkit.profile(model) for model in models])
    found = effects(measures(statistics=statistics, profile=profile), contrasts(models))
    std = statistics.pivot("std")
    row = found[(found["quantity"] == "std") & (found["place"] == 8)].iloc[0]
    own = std.xs(8, level="stride").iloc[0]
    assert row["typical"] == pytest.approx(own["demo/vgg11_bn"] / own["demo/vgg11"])
    # a scale and an offset for each of the 128 + 128 + ... channels
    params = found[found["quantity"] == "params"].iloc[0]
    assert params["typical"] == pytest.approx(858570 / 857194)
    fields = found[found["quantity"] == "receptive_field"]
    assert (fields["typical"] == 1).all()
    assert len(fields) == 6
