"""The list of models, and what is counted of those in it."""

import math

import pytest

import vizkit
from vizkit.errors import InputError
from vizkit.models import list_models
from vizkit.profiling import count_listed, profile
from vizkit.profiling.listed import MOST


def test_counted_is_what_a_profile_counts():
    listed = list_models("demo/*vgg11*")
    frame, left_out = count_listed(listed)
    assert left_out == []
    assert frame[list(listed.columns)].equals(listed)
    assert list(frame["name"]) == ["demo/vgg11", "demo/vgg11_bn"]
    for _, row in frame.iterrows():
        total = profile(row["name"]).iloc[-1]
        assert row["counted_params"] == total["params"] == row["params"]
        assert row["gmacs"] == pytest.approx(total["gmacs"])
        assert row["activations"] == pytest.approx(total["activations"])
        assert row["counted_size"] == 128


def test_published_parameters_are_counted():
    frame, _ = count_listed(list_models("torchvision/vgg1[69]*"))
    assert len(frame) == 4
    assert (frame["counted_params"] == frame["params"]).all()
    expected = dict.fromkeys(("vgg16", "vgg16_bn"), 15.470264) | dict.fromkeys(
        ("vgg19", "vgg19_bn"), 19.632062
    )
    found = frame.set_index(frame["name"].str.removeprefix("torchvision/"))["gmacs"]
    assert found.to_dict() == pytest.approx(expected, abs=1e-6)


def test_networks_without_feature_maps_are_counted():
    frame, left_out = count_listed(list_models("vit_tiny_patch16_224"))
    assert left_out == []
    assert frame["counted_params"][0] == 5_717_416
    assert frame["gmacs"][0] == pytest.approx(1.26, abs=0.2)


def test_what_cannot_be_counted_is_told():
    # its weights' preset has 518 px, the untrained network takes 224
    listed = list_models("torchvision/vit_h_14").head(1)
    frame, left_out = count_listed(listed)
    ((name, reason),) = left_out
    assert name == "torchvision/vit_h_14"
    assert "does not run on a (1, 3, 518, 518) input" in reason
    assert math.isnan(frame["gmacs"][0])


def test_hundreds_of_models_are_too_many():
    listed = list_models()
    assert len(listed) > 1000
    with pytest.raises(InputError, match=rf"{len(listed)} models are too many.*narrow the pattern"):
        count_listed(listed)
    assert MOST < 200


def test_nothing_listed():
    frame, left_out = count_listed(list_models("no such model"))
    assert frame.empty
    assert left_out == []
    assert "gmacs" in frame


def test_the_list_itself_counts_nothing():
    assert "gmacs" not in vizkit.list_models("demo/*")
