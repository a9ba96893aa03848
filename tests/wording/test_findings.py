"""Differences between models are told in true sentences, the largest first."""

import math
import re

import numpy as np
import pandas as pd
import pytest

import vizkit
from vizkit.results import Similarity
from vizkit.statistics import STATISTICS
from vizkit.wording import phrases
from vizkit.wording.contrasts import contrasts, measures
from vizkit.wording.findings import changes, findings
from vizkit.wording.flips import Flips, flips

TOPICS = dict.fromkeys(("params", "gmacs", "ms", "receptive_field"), "profile")
TOPICS |= dict.fromkeys(("accuracy", "confidence"), "predictions")


def table(**quantities):
    """From models and values of each quantity: of the whole network, or by stride."""
    rows = []
    for quantity, values in quantities.items():
        for model, found in values.items():
            places = found if isinstance(found, dict) else {None: found}
            rows += [
                {
                    "model": model,
                    "topic": TOPICS.get(quantity, "statistics"),
                    "quantity": quantity,
                    "place": place,
                    "value": value,
                    "unit": quantity,
                }
                for place, value in places.items()
            ]
    return pd.DataFrame(rows).astype({"place": "Int64"})


def judged(**models):
    """From a string of 1 (right), 0 and ? (no known class) for each model."""
    known = {"1": True, "0": False, "?": None}
    parts = [
        pd.DataFrame(
            {
                "model": model,
                "image": [f"photo{n}" for n in range(len(answers))],
                "class": ["right" if answer == "1" else "wrong" for answer in answers],
                "probability": 0.5,
                "right": [known[answer] for answer in answers],
            }
        )
        for model, answers in models.items()
    ]
    return pd.concat(parts, ignore_index=True)


def alike(models, values, strides=(1, 2)):
    """Similarity of models at the same stride: values by pair and stride, else 0.5."""
    labels = pd.DataFrame(
        [
            {"model": m, "tap": f"stride{s}", "stride": s, "layer": f"stride{s}", "role": "act"}
            for m in models
            for s in strides
        ]
    )
    matrix = np.full((len(labels), len(labels)), 0.5)
    places = {(row.model, row.stride): n for n, row in enumerate(labels.itertuples())}
    for (a, b, stride), value in values.items():
        i, j = places[a, stride], places[b, stride]
        matrix[i, j] = matrix[j, i] = value
    np.fill_diagonal(matrix, 1.0)
    empty = np.full_like(matrix, np.nan)
    return Similarity(matrix, labels, empty, empty, images=9, batches=1)


def agreed(rows):
    names = ["model_a", "method_a", "stage_a", "model_b", "method_b", "stage_b", "spearman", "n"]
    return pd.DataFrame(rows, columns=names)


def texts(found):
    return [each.text for each in found]


def test_ratios():
    found = findings(table(std={"a": {8: 0.5, 16: 1.0}, "b": {8: 4.9, 16: 1.5}}))
    assert texts(found) == [
        "At stride 8, the activations of b spread 9.8 times as widely as those of a "
        "(4.9 against 0.50)."
    ]
    # 1 - 0.5 / 4.9
    assert found[0].size == pytest.approx(0.89796, abs=1e-5)
    assert (found[0].topic, found[0].section) == ("statistics", "statistics")


def test_any_two_models_are_compared_where_they_differ_most():
    mean = {"a": {1: 1.0, 2: 3.0}, "b": {1: 2.0, 2: 3.0}, "c": {1: 1.5, 2: 9.0, 4: 100.0}}
    assert texts(findings(table(mean=mean))) == [
        "At stride 2, the mean activation of c is 3.0 times as high as that of a (9.0 against 3.0)."
    ]


def test_shares():
    found = findings(table(sparsity={"a": {4: 0.45}, "b": {4: 0.81}}))
    assert texts(found) == [
        "At stride 4, 81 % of the activations of b are exactly zero, 45 % of those of a."
    ]
    assert found[0].size == pytest.approx(0.36)


def test_nothing_is_none_and_no_multiple():
    found = findings(table(dead={"a": {4: 0.25}, "b": {4: 0.0}}, mean={"a": {4: 0.5}, "b": {4: 0}}))
    assert texts(found) == [
        "At stride 4, the mean activation is 0.50 in a, none in b.",
        "At stride 4, 25 % of the channels of a never fire, none of those of b.",
    ]
    assert found[0].size == 1.0


def test_negative_values_are_subtracted():
    found = findings(table(mean={"a": {4: -0.5, 8: 2.0}, "b": {4: 0.5, 8: 2.0}}))
    assert texts(found) == ["At stride 4, the mean activation is 0.50 in b, −0.50 in a."]
    # a difference of 1, and the largest absolute value is 2
    assert found[0].size == pytest.approx(0.5)


def test_costs():
    costs = table(
        params={"a": 1_535_706, "b": 857_194}, gmacs={"a": 0.4, "b": 0.1}, ms={"a": 3.0, "b": 4.5}
    )
    # two of a topic at most
    assert texts(findings(costs)) == [
        "a needs 4.0 times as many multiply-accumulates for an image as b "
        "(0.40 against 0.10 GMACs).",
        "a has 1.8 times as many parameters as b (1.54 million against 857,000).",
    ]
    assert texts(findings(costs[costs["quantity"] == "ms"])) == [
        "b takes 1.5 times as long for an image as a (4.5 against 3.0 ms)."
    ]


def test_the_same_is_not_told_twice():
    values = {"a": {1: 1.0}, "b": {1: 4.0}}
    squares = {"a": {1: 1.0}, "b": {1: 16.0}}
    found = findings(table(energy=squares, std=values, max={"a": {1: 1.0}, "b": {1: 3.0}}))
    assert len(found) == 1
    assert "spread 4.0 times" in found[0].text
    assert "mean squared activation" in findings(table(energy=squares))[0].text


def test_most_topics_and_order():
    several = table(
        std={"a": {1: 1.0}, "b": {1: 10.0}},
        sparsity={"a": {1: 0.1}, "b": {1: 0.9}},
        skew={"a": {1: 1.0}, "b": {1: 2.0}},
        params={"a": 1.0, "b": 5.0},
        confidence={"a": 0.5, "b": 0.8},
    )
    found = findings(several)
    # 0.9, 0.8, 0.8 and 0.3; the skewness is the third of its topic
    assert [each.topic for each in found] == ["statistics"] * 2 + ["profile", "predictions"]
    assert [each.size for each in found] == pytest.approx([0.9, 0.8, 0.8, 0.3])
    assert len(findings(several, most=2)) == 2
    assert findings(several, most=0) == []


def test_little_is_not_told():
    assert (
        findings(table(std={"a": {1: 1.0}, "b": {1: 1.005}}, dead={"a": {1: 0}, "b": {1: 0}})) == []
    )


def test_one_model_and_nothing():
    one = table(std={"a": {1: 1.0, 2: 3.0}}, params={"a": 3.0})
    similar = alike(["a"], {})
    rows = agreed([["a", "m", "stride1", "a", "m", "stride1", 0.1, 3]])
    assert findings(one, similarity=similar, agreement=rows, predictions=judged(a="1010")) == []
    assert findings(measures(), agreement=rows[:0]) == []


def test_nan_is_left_out():
    values = table(std={"a": {1: math.nan, 2: 1.0}, "b": {1: 5.0, 2: 2.0}, "c": {2: math.inf}})
    assert texts(findings(values)) == [
        "At stride 2, the activations of b spread 2.0 times as widely as those of a "
        "(2.0 against 1.0)."
    ]


def test_unknown_statistics_are_called_by_their_name():
    found = findings(table(sharpness={"a": {1: 1.0}, "b": {1: 2.0}}))
    assert found[0].text.startswith("At stride 1, the statistic “sharpness” of b is 2.0 times")


def test_every_statistic_has_words():
    for name in STATISTICS:
        assert "statistic “" not in phrases.phrase(name).noun, name


def test_accuracy_needs_more_than_chance():
    # 6 against 0: p = 2 / 2^6 = 0.031; 5 against 0: 0.0625
    clear = judged(a="111111" + "1" * 4, b="000000" + "1" * 4)
    found = findings(measures(), predictions=clear)
    words = "a names the right class on 100 % of the photos, b on 40 %, "
    assert texts(found)[0] == words + "more than chance: 6 against 0 photos."
    assert found[0].size == pytest.approx(0.6)
    assert (found[0].topic, found[0].section) == ("predictions", "predictions")
    unclear = judged(a="11111" + "1" * 5, b="00000" + "1" * 5)
    found = findings(table(accuracy={"a": 1.0, "b": 0.5}), predictions=unclear)
    assert not any("right class" in text for text in texts(found))
    # without photos it cannot be told from chance
    assert findings(table(accuracy={"a": 1.0, "b": 0.5})) == []


def test_many_pairs_need_more():
    # the same 6 against 0 is one of three tests: 3 x 0.031 = 0.094
    three = judged(a="111111" + "1" * 4, b="000000" + "1" * 4, c="111111" + "1" * 4)
    assert not any("right class" in text for text in texts(findings(measures(), predictions=three)))


@pytest.mark.parametrize(
    ("first", "second", "chance"), [(34, 9, 0.000173), (6, 0, 0.03125), (3, 3, 1.0), (0, 0, 1.0)]
)
def test_mcnemar(first, second, chance):
    found = Flips(99, first, second)
    # both tails of a fair coin, by hand
    total, least = first + second, min(first, second)
    tail = sum(math.comb(total, n) for n in range(least + 1)) / 2**total
    assert found.chance == pytest.approx(min(1.0, 2 * tail))
    assert found.chance == pytest.approx(chance, rel=0.02)


def test_flips_are_paired_by_photo():
    predictions = judged(a="110?1", b="01?11")
    # photo 0 is right in a only, 1 and 4 in both; 2 and 3 are not known to both
    assert flips(predictions.sample(frac=1, random_state=1), "a", "b") == Flips(3, 1, 0)
    assert flips(predictions, "b", "a") == Flips(3, 0, 1)
    same = predictions.assign(image="photo")
    assert flips(same, "a", "b") == Flips(3, 1, 0)


def test_photos_without_classes_show_other_disagreements():
    predictions = pd.DataFrame(
        {
            "model": ["a"] * 4 + ["b"] * 4 + ["c"] * 4,
            "image": list("wxyz") * 3,
            "class": [*"dddd", *"ddde", *"ffff"],
            "probability": 0.5,
            "right": None,
        }
    )
    found = findings(measures(), predictions=predictions)
    # c agrees with nobody on anything: it may know other classes
    assert texts(found) == ["a and b name different classes for 25 % of the photos (1 of 4)."]
    assert (found[0].section, found[0].size) == ("disagreements", 0.25)
    assert findings(measures(), predictions=predictions[["model", "image"]]) == []


def test_similarity():
    values = {("a", "b", 1): 0.9, ("a", "c", 2): -0.014, ("b", "c", 1): math.nan}
    found = findings(measures(), similarity=alike(["a", "b", "c"], values))
    assert texts(found) == [
        "At stride 2, the feature maps of a and c are least alike (CKA similarity −0.01; 1: the "
        "same up to rotation and scale, 0: unrelated); most alike are those of a and b at stride "
        "1 (0.90)."
    ]
    assert found[0].size == 1.0
    two = findings(measures(), similarity=alike(["a", "b"], {("a", "b", 1): 0.25}))
    assert "most alike at stride 2 (0.50)" in two[0].text
    assert two[0].size == 0.75


def test_agreement_counts_other_models_at_the_same_stage():
    rows = [
        ["a", "cam", "stride1", "b", "cam", "stride1", 0.4, 7],
        ["a", "cam", "stride1", "b", "cam", "stride2", -0.9, 7],
        ["a", "cam", "stride1", "a", "cam", "stride1", -0.9, 7],
        ["a", "cam", "stride1", "b", "lrp", "stride1", -0.9, 7],
        ["a", "cam", "stride2", "b", "cam", "stride2", math.nan, 0],
        ["a", "lrp", "input", "c", "lrp", "input", 0.3, 1],
    ]
    found = findings(measures(), agreement=agreed(rows))
    assert texts(found) == [
        "At input, the explanations of a and c by lrp agree least (rank correlation 0.30 over "
        "1 map; 1: the same order of places, 0: unrelated)."
    ]
    assert found[0].size == pytest.approx(0.7)
    assert (found[0].topic, found[0].section) == ("attributions", "attributions")
    against = findings(measures(), agreement=agreed([[*rows[0][:6], -0.5, 7]]))
    assert against[0].size == 1.0
    assert "rank correlation −0.50 over 7 maps" in against[0].text


TWINS = ["a", "b", "a_bn", "b_bn"]


def test_changes_of_ratios_and_shares():
    values = table(
        std={"a": {8: 1.0}, "a_bn": {8: 4.0}, "b": {8: 1.0}, "b_bn": {8: 9.0}},
        sparsity={"a": {4: 0.5}, "a_bn": {4: 0.4}, "b": {4: 0.5}, "b_bn": {4: 0.2}},
        accuracy={"a": 0.80, "a_bn": 0.84, "b": 0.80, "b_bn": 0.86},
        params={"a": 1000.0, "a_bn": 1001.0, "b": 1000.0, "b_bn": 1001.0},
    )
    assert changes(values, contrasts(TWINS)) == {
        "batch normalisation": [
            "Batch normalisation: at stride 8 the activations spread 6.0 times as widely "
            "(4.0 to 9.0 times in 2 pairs).",
            "At stride 4 the share of activations that are exactly zero falls by 20 percentage "
            "points on average (10 to 30 in 2 pairs).",
            "Accuracy rises by 5.0 percentage points on average (4.0 to 6.0 in 2 pairs).",
        ]
    }


def test_changes_both_ways_are_not_told():
    std = {"a": {8: 1.0, 4: 1.0}, "a_bn": {8: 9.0, 4: 2.0}, "b": {8: 9.0, 4: 1.0}}
    std["b_bn"] = {8: 1.0, 4: 2.0}
    values = table(
        std=std, mean={name: {4: 1.0} for name in TWINS}, params=dict.fromkeys(TWINS, 5.0)
    )
    assert changes(values, contrasts(TWINS))["batch normalisation"] == [
        "Batch normalisation: at stride 4 the activations spread 2.0 times as widely "
        "(about the same in both pairs).",
        "Nothing else changes clearly and in one direction: not the number of parameters.",
    ]
    nothing = values[values["place"].ne(4).fillna(True)]
    assert changes(nothing, contrasts(TWINS))["batch normalisation"] == [
        "Batch normalisation: nothing changes clearly and in one direction: not the spread of "
        "activations and the number of parameters."
    ]


def test_a_change_at_one_stage_among_many_is_not_told():
    std = {name: dict.fromkeys((1, 2, 4, 8), 1.0) for name in TWINS}
    # up in both pairs at stride 8, both ways elsewhere
    std["a_bn"] = {1: 0.5, 2: 2.0, 4: 0.5, 8: 3.0}
    std["b_bn"] = {1: 2.0, 2: 0.5, 4: 2.0, 8: 3.0}
    told = changes(table(std=std), contrasts(TWINS))["batch normalisation"]
    assert "stride 8" not in " ".join(told)
    std["a_bn"][2] = std["b_bn"][2] = 1.5
    told = changes(table(std=std), contrasts(TWINS))["batch normalisation"]
    assert "at stride 8 the activations spread 3.0 times" in told[0]


def test_receptive_fields_end_at_the_image():
    profile = pd.DataFrame(
        {
            "model": ["a", "a", "b", "b"],
            "stage": ["stride1", "stride2"] * 2,
            "stride": [1.0, 2.0] * 2,
            "height": [64, 32] * 2,
            "width": [48, 24] * 2,
            "receptive_field": [20.0, 100.0, 40.0, 300.0],
            "params": 1.0,
            "gmacs": 1.0,
        }
    )
    sizes = measures(profile=profile).query("quantity == 'receptive_field'")
    assert list(sizes["value"]) == [20, 64, 40, 64]


def test_changes_of_accuracy_and_chance():
    one = judged(a="000000" + "1" * 4, a_bn="111111" + "1" * 4)
    told = changes(measures(predictions=one), contrasts(["a", "a_bn"]), predictions=one)
    assert told["batch normalisation"][0] == (
        "Batch normalisation: accuracy rises by 60 percentage points (1 pair); more than chance: "
        "6 against 0 photos."
    )
    both = judged(a="10", a_bn="01", b="01", b_bn="00")
    told = changes(measures(predictions=both), contrasts(TWINS), predictions=both)
    assert told["batch normalisation"][-2] == (
        "Batch normalisation: accuracy does not change in one direction (−50 to 0 percentage "
        "points in 2 pairs); within chance in both pairs."
    )


def test_changes_to_and_from_nothing():
    values = table(std={"a": {8: 0.0}, "a_bn": {8: 4.0}}, mean={"a": {8: 1.0}, "a_bn": {8: 0.0}})
    told = " ".join(changes(values[:2], contrasts(["a", "a_bn"]))["batch normalisation"])
    assert "the spread of activations rises from none (1 pair)" in told
    told = " ".join(changes(values[2:], contrasts(["a", "a_bn"]))["batch normalisation"])
    assert "the mean activation falls to none (1 pair)" in told
    some = table(std={"a": {8: 0.0}, "a_bn": {8: 4.0}, "b": {8: 1.0}, "b_bn": {8: 3.0}})
    told = changes(some, contrasts(TWINS))["batch normalisation"][0]
    assert told.endswith(
        "spread 3.0 times as widely (3.0 times or more in 2 pairs, in some from none)."
    )
    assert "inf" not in told


def test_changes_of_similarity_and_of_other_contrasts():
    models = ["vgg11", "vgg19", "vov19"]
    similar = alike(models, {("vgg11", "vgg19", 2): 0.3, ("vgg11", "vgg19", 1): 0.95})
    values = table(params={"vgg11": 1.0, "vgg19": 2.0, "vov19": 0.5})
    told = changes(values, contrasts(models), similarity=similar)
    assert told["depth"] == [
        "Depth (vgg19 instead of vgg11): the feature maps of a pair are least alike at stride 2 "
        "(CKA similarity 0.30; 1: the same up to rotation and scale) and most at stride 1 (0.95).",
        "There are 2.0 times as many parameters (1 pair).",
    ]
    # 0.5 and 0.25
    assert told["architecture"][0] == (
        "Architecture (vov19 instead of vgg): there are 0.35 times as many parameters (0.25 to "
        "0.50 times in 2 pairs)."
    )
    assert "0.50 on average, about the same in both pairs" in told["architecture"][1]


def test_changes_without_numbers():
    assert changes(measures(), contrasts(TWINS)) == {}
    assert changes(table(std={"a": {1: 1.0}, "b": {1: 2.0}}), []) == {}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"), (9.84, "9.8"), (14.2, "14"), (99.7, "100"), (143.4, "143"), (2346, "2,350"),
        (857_194, "857,000"), (1_535_706, "1.54 million"), (-0.314, "−0.31"), (0.0042, "0.0042"),
        (3.2e-7, "3.2 × 10⁻⁷"), (0.9996, "1.0"), (9.9999, "10"), (1.0, "1.0"),
    ],
)  # fmt: skip
def test_numbers(value, words):
    assert phrases.number(value) == words


def test_shares_and_ratios_in_words():
    shares = (0, 0.623, 1, 0.9962, 0.00004, 0.0123)
    words = ["none", "62 %", "100 %", "more than 99 %", "less than 0.01 %", "1.2 %"]
    assert [phrases.percent(share) for share in shares] == words
    assert [phrases.times(r) for r in (9.84, 1.034, 0.31)] == [
        "9.8 times",
        "1.03 times",
        "0.31 times",
    ]
    assert phrases.apart(0.501, 0.503) == ("0.501", "0.503")
    assert phrases.listed(["a"]) == "a"
    assert phrases.listed(list("abcdef")) == "a, b, c, d and 2 more"


def test_real_models():
    models = ["demo/vgg11", "demo/vgg11_bn"]
    photos = list(vizkit.samples().values())[:4]
    statistics = vizkit.describe(models, photos)
    predictions = pd.concat(
        [vizkit.predict(model, photos, k=1).assign(model=model, right=None) for model in models]
    )
    similar = vizkit.similarity(models, photos)
    values = measures(
        statistics=statistics,
        profile=pd.concat([vizkit.profile(model) for model in models]),
        predictions=predictions,
    )
    found = findings(values, similarity=similar, predictions=predictions)
    assert found == sorted(found, key=lambda each: -each.size)
    assert 0.01 <= found[-1].size <= found[0].size <= 1
    told = " ".join(texts(found))
    ratios = re.search(r"At stride (\d+), the mean activation of \S+ is (\S+) times", told)
    own = statistics.pivot("mean").xs(int(ratios[1]), level="stride").iloc[0]
    assert float(ratios[2]) == pytest.approx(own["demo/vgg11_bn"] / own["demo/vgg11"], rel=0.05)
    told = changes(values, contrasts(models), predictions=predictions, similarity=similar)
    assert list(told) == ["batch normalisation"]
    assert 2 <= len(told["batch normalisation"]) <= 5
    for text in [*texts(found), *told["batch normalisation"]]:
        assert text.endswith(".")
        assert not re.search(r"\b(nan|inf|NA)\b|-\d", text)
