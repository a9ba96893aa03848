"""One axis for several networks: joined on stride or on names, never on a number in a list."""

import itertools

import pytest

import vizkit
from vizkit.errors import InputError
from vizkit.results import Axis, Tap, align
from vizkit.results.axis import in_order

VGG11 = "1_1 2_1 3_1 3_2 4_1 4_2 5_1 5_2"
VGG16 = "1_1 1_2 2_1 2_2 3_1 3_2 3_3 4_1 4_2 4_3 5_1 5_2 5_3"
VGG19 = "1_1 1_2 2_1 2_2 3_1 3_2 3_3 3_4 4_1 4_2 4_3 4_4 5_1 5_2 5_3 5_4"


def stage(stride, module="m", **more):
    return Tap(f"stride{stride}", module, "act", stride, 8, **more)


def layers(names, role="act"):
    """Layers as VGG has them; block 1 is at stride 1, block 2 at 2, and so on."""
    return [
        Tap(f"conv{name}", f"features.{n}", role, 2 ** (int(name[0]) - 1), 8)
        for n, name in enumerate(names.split())
    ]


def names_of(taps):
    return tuple(tap.name for tap in taps)


def test_stages_are_joined_on_stride_and_a_missing_one_stays_missing():
    vgg = [stage(s, f"a.{s}") for s in (1, 2, 4, 8, 16, 32)]
    vovnet = [stage(s, f"b.{s}") for s in (2, 4, 8, 16, 32)]
    axis = align({"vovnet": vovnet, "vgg": vgg})
    assert axis.places == (1, 2, 4, 8, 16, 32)
    assert axis.by_stride
    assert 1 not in axis.taps["vovnet"]
    assert {place: tap.module for place, tap in axis.taps["vovnet"].items()} == {
        s: f"b.{s}" for s in (2, 4, 8, 16, 32)
    }
    assert all(axis.taps["vgg"][place].stride == place for place in axis.places)


def test_strides_are_in_order_of_size_whoever_has_them():
    axis = align({"a": [stage(4), stage(32)], "b": [stage(16), stage(2)]})
    assert axis.places == (2, 4, 16, 32)
    assert sorted(axis.taps["b"]) == [2, 16]


def test_names_and_numbers_in_lists_play_no_part_in_a_join_on_stride():
    a = [Tap("3", "3", "act", 4, 8), Tap("1", "1", "act", 2, 8)]
    b = [Tap("1", "1", "block", 4, 8), Tap("3", "3", "block", 16, 8)]
    axis = align({"a": a, "b": b})
    assert axis.places == (2, 4, 16)
    assert axis.taps["a"][4].name == "3"
    assert axis.taps["b"][4].name == "1"


@pytest.mark.parametrize("models", list(itertools.permutations([VGG11, VGG16, VGG19])))
def test_layers_are_joined_on_the_names_of_the_paper(models):
    axis = align({name: layers(name) for name in models})
    assert axis.places == names_of(layers(VGG19))
    assert not axis.by_stride
    assert "conv3_3" not in axis.taps[VGG11]
    assert axis.taps[VGG11]["conv3_2"].name == "conv3_2"
    for own in axis.taps.values():
        assert all(tap.name == place for place, tap in own.items())


def test_twins_with_and_without_normalisation_line_up_unit_by_unit():
    plain = [tap for pair in zip(layers(VGG11, "conv"), layers(VGG11), strict=True) for tap in pair]
    both = zip(layers(VGG11, "conv"), layers(VGG11, "norm"), layers(VGG11), strict=True)
    twin = [tap for unit in both for tap in unit]
    axis = align({"plain": plain, "twin": twin})
    assert axis.places == tuple(tap.label for tap in twin)
    assert "conv3_2:norm" not in axis.taps["plain"]
    assert axis.taps["plain"]["conv3_2:act"].role == "act"


def test_a_network_read_once_a_layer_is_joined_on_labels_if_another_is_read_in_several_roles():
    one = layers("3_1 3_2")
    several = [*layers("3_1", "conv"), *layers("3_1"), *layers("3_2", "conv"), *layers("3_2")]
    axis = align({"one": one, "several": several})
    assert axis.places == ("conv3_1:conv", "conv3_1:act", "conv3_2:conv", "conv3_2:act")
    assert sorted(axis.taps["one"]) == ["conv3_1:act", "conv3_2:act"]


def test_a_module_that_runs_twice_has_two_places():
    twice = [Tap("relu", "relu", "act", 4, 8), Tap("relu", "relu", "act", 4, 8, call=1)]
    axis = align({"a": twice})
    assert axis.places == ("relu:act", "relu:act#2")
    assert [tap.call for tap in axis.taps["a"].values()] == [0, 1]


def test_one_layer_at_each_stride_keeps_its_own_name_where_all_agree():
    axis = align({"vgg11": layers("1_1 3_2"), "vgg19": layers("1_1 3_2")})
    assert axis.places == ("conv1_1", "conv3_2")
    # two layers of one stride are joined on it, as stages are
    axis = align({"vgg11": layers("3_2"), "vgg19": layers("3_4")})
    assert axis.places == (4,)


def test_no_order_of_any_one_network_decides_where_none_has_all():
    left = [(4, "conv3_1"), (4, "conv3_3"), (8, "conv4_1"), (8, "conv4_10")]
    right = [(4, "conv3_2"), (8, "conv4_1"), (8, "conv4_9")]
    found = [name for _, name in in_order([left, right])]
    assert found == ["conv3_1", "conv3_2", "conv3_3", "conv4_1", "conv4_9", "conv4_10"]


def test_the_order_of_a_network_that_has_all_is_kept():
    own = [(4, "z"), (4, "a"), (2, "odd")]
    assert in_order([[(4, "a")], own]) == own


def test_the_same_tap_twice_is_one_place():
    axis = align({"a": [stage(4), stage(4), stage(8)]})
    assert axis.places == (4, 8)


def test_a_network_without_taps_is_empty_everywhere():
    axis = align({"a": [stage(4)], "b": []})
    assert axis.places == (4,)
    assert axis.taps["b"] == {}
    named = align({"a": layers(VGG11), "b": []})
    assert named.taps["b"] == {}
    assert align({"b": []}).places == ()


def test_titles_and_table():
    axis = align({"a": [stage(4, "x"), stage(8, "y")], "b": [stage(8, "z")]})
    assert [axis.title(place) for place in axis.places] == ["stride 4", "stride 8"]
    frame = axis.to_frame()
    assert list(frame.columns) == [4, 8]
    assert frame.loc["a"].tolist() == ["x", "y"]
    assert frame.loc["b", 8] == "z"
    assert frame.isna().sum().sum() == 1
    named = align({"a": layers(VGG11)})
    assert named.title("conv3_2") == "conv3_2"
    with pytest.raises(InputError, match="unknown stride 2; choose from 4, 8"):
        axis.title(2)
    with pytest.raises(InputError, match="unknown layer 'conv3_3'; did you mean 'conv3_"):
        named.title("conv3_3")


def test_real_networks_lie_where_their_maps_say():
    models = {name: vizkit.load(f"demo/{name}", device="cpu") for name in ("vgg11", "vovnet19b")}
    axis = align({name: model.stages for name, model in models.items()})
    assert isinstance(axis, Axis)
    assert axis.places == (1, 2, 4, 8, 16, 32)
    photo = vizkit.samples()["rocket"]
    for name, model in models.items():
        maps = vizkit.capture(model, photo)
        for place, tap in axis.taps[name].items():
            assert maps.inputs.shape[-1] // maps[tap].shape[-1] == place


def test_each_network_keeps_its_own_order_among_others():
    ours = [(1, "conv1"), (4, "conv2"), (4, "conv3"), (8, "conv4")]
    theirs = [(2, "stem"), (4, "reduce"), (4, "mid"), (4, "concat"), (8, "again")]
    found = in_order([ours, theirs])
    for own in (ours, theirs):
        assert [layer for layer in found if layer in own] == own
    strides = [stride for stride, _ in found]
    assert strides == sorted(strides)


def test_orders_that_contradict_each_other_are_by_number():
    assert in_order([[(1, "b"), (1, "a")], [(1, "a"), (1, "b")]]) == [(1, "a"), (1, "b")]
