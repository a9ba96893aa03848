"""Whatever the network: taps are where its maps are, and what is counted is what is there."""

import math

import pytest
import torch
from hand_counts import cost_of
from hypothesis import assume, example, given
from hypothesis import strategies as st
from network_oracles import differentiable, runs_of
from property_settings import examples
from random_networks import Sketch, sketches
from random_steps import Conv, Gate, Head, Norm, Twice
from torch import nn

import vizkit
from vizkit.errors import InputError
from vizkit.stages import find_stages

CLEAR = sketches(clear=True)
ROLES = {
    "conv": nn.Conv2d,
    "norm": (nn.BatchNorm2d, nn.GroupNorm),
    "pool": (nn.MaxPool2d, nn.AvgPool2d),
    "act": (nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.Hardswish, nn.GELU, nn.Tanh),
}


def runs(sketch):
    return runs_of(sketch.out_of_place(), sketch.inputs(1))[0]


def role_of(ran):
    return next((role for role, kinds in ROLES.items() if isinstance(ran.module, kinds)), None)


def stride_of(maps, sketch):
    """Input rows per row, to the nearest power of two."""
    return 2 ** round(math.log2(sketch.size[0] / maps.shape[2]))


def has_places(ran):
    """Whether the output is a map, also where an input is a little wider than it is here."""
    return ran.made.ndim == 4 and ran.made.shape[2] > 1


def assert_told_as_it_is(taps, found, sketch):
    """Channels and strides are those of the maps, in forward order."""
    assert not any(tap.channels_last for tap in taps)
    order = {(ran.path, ran.call): n for n, ran in enumerate(found)}
    positions = [order[tap.module, tap.call] for tap in taps]
    assert positions == sorted(positions), "in forward order"
    for tap, position in zip(taps, positions, strict=True):
        maps = found[position].made
        assert tap.channels == maps.shape[1], tap
        assert tap.stride == stride_of(maps, sketch), tap


@examples(40)
@given(CLEAR)
def test_stages_are_what_the_sizes_of_the_maps_say(sketch):
    found, taps = runs(sketch), find_stages(sketch.searched())
    strides = [tap.stride for tap in taps]
    assert len(set(strides)) == len(strides)
    assert [tap.name for tap in taps] == [f"stride{stride}" for stride in strides]
    assert_told_as_it_is(taps, found, sketch)


CONTAINER = Sketch((7, 7), (Conv(1, padding=(1, 1)), Conv(1, padding=(1, 1), stride=2)))


@examples(40)
@example(CONTAINER)
@given(CLEAR)
def test_every_stride_of_a_convolution_is_a_stage(sketch):
    convs = [ran for ran in runs(sketch) if role_of(ran) == "conv" and has_places(ran)]
    small = [
        ran for ran in convs if stride_of(ran.made, sketch) <= 4 * stride_of(ran.given, sketch)
    ]
    taps = find_stages(sketch.searched())
    assert {stride_of(ran.made, sketch) for ran in small} <= {tap.stride for tap in taps}


NARROW = Sketch((14, 7), (Conv(1, padding=(1, 1)),), Head("pool, conv", classes=2))


NEARLY_FLAT = Sketch((7, 21), (Conv(1, padding=(1, 1), stride=2),))


@examples(40)
@example(NARROW)
@example(NEARLY_FLAT)
@given(sketches())
def test_nothing_here_has_its_channels_behind_its_places(sketch):
    assert find_stages(sketch.searched())
    assert not any(tap.channels_last for tap in find_stages(sketch.searched(), "layers"))


@examples(40)
@given(CLEAR)
def test_every_layer_is_there_once_in_forward_order(sketch):
    found, taps = runs(sketch), find_stages(sketch.searched(), "layers")
    assert_told_as_it_is(taps, found, sketch)
    assert len({tap.label for tap in taps}) == len(taps)
    layers = {(ran.path, ran.call): role_of(ran) for ran in found if role_of(ran)}
    assert all(layers[tap.module, tap.call] == tap.role for tap in taps)
    keys = [(tap.module, tap.call) for tap in taps]
    assert len(set(keys)) == len(keys)
    wanted = {(ran.path, ran.call) for ran in found if role_of(ran) and has_places(ran)}
    assert wanted <= set(keys)


@examples(30)
@given(CLEAR, st.integers(0, 99))
def test_a_path_gives_every_run_of_its_module_with_a_label_of_its_own(sketch, which):
    found = [ran for ran in runs(sketch) if has_places(ran)]
    path = found[which % len(found)].path
    own = [ran for ran in found if ran.path == path]
    taps = find_stages(sketch.searched(), [path])
    assert [tap.call for tap in taps] == list(range(len(own)))
    assert_told_as_it_is(taps, found, sketch)
    role = "block" if role_of(own[0]) is None else role_of(own[0])
    numbered = [f"{path}:{role}"] + [f"{path}:{role}#{n}" for n in range(2, len(own) + 1)]
    assert [tap.label for tap in taps] == numbered
    captured = vizkit.capture(sketch.searched(), sketch.inputs(1), [path])
    for label, ran in zip(numbered, own, strict=True):
        assert torch.equal(captured[label], ran.made), label


@examples(30)
@given(CLEAR)
def test_gates_are_the_sigmoids(sketch):
    gates = [ran for ran in runs(sketch) if isinstance(ran.module, nn.Sigmoid)]
    if not gates:
        with pytest.raises(InputError, match="no gates"):
            find_stages(sketch.searched(), "gates")
        return
    taps = find_stages(sketch.searched(), "gates")
    assert [(t.module, t.call, t.channels) for t in taps] == [
        (ran.path, ran.call, ran.made.shape[1]) for ran in gates
    ]


@examples(40)
@given(CLEAR)
def test_a_profile_adds_up_to_what_is_counted_by_hand(sketch):
    frame = vizkit.profile(sketch.searched()).set_index("stage")
    cost = cost_of(sketch)
    total = frame.loc["total"]
    assert total["params"] == cost.params == sum(p.numel() for p in sketch.network().parameters())
    assert round(total["gmacs"] * 1e9) == cost.macs
    assert round(total["activations"] * 1e6) == cost.activations
    parts = frame.drop("total")[["params", "gmacs", "activations"]].sum()
    assert parts.tolist() == pytest.approx(total[parts.index].tolist())


@examples(40)
@given(CLEAR)
def test_a_profile_gives_each_stage_what_ran_since_the_one_before(sketch):
    classifier = sketch.searched()
    frame, found = vizkit.profile(classifier), runs(sketch)
    order = {(ran.path, ran.call): n for n, ran in enumerate(found)}
    start, seen = 0, set()
    for tap, (_, row) in zip(classifier.stages, frame.iterrows(), strict=False):
        end = order[tap.module, tap.call] + 1
        part, start = found[start:end], end
        weighted = [ran for ran in part if isinstance(ran.module, nn.Conv2d)]
        assert row["stage"] == tap.name
        assert (row["channels"], row["height"], row["width"]) == found[end - 1].made.shape[1:]
        assert round(row["gmacs"] * 1e9) == sum(map(macs_of, weighted))
        assert round(row["activations"] * 1e6) == sum(ran.made.numel() for ran in weighted)
        own = {id(p): p.numel() for ran in part for p in ran.module.parameters(recurse=False)}
        assert row["params"] == sum(n for key, n in own.items() if key not in seen)
        seen |= own.keys()


def macs_of(ran):
    return ran.made.numel() * ran.module.weight[0].numel()


def mixes_everything(steps):
    """Whether some step lets every place see the whole map."""
    for step in steps:
        inner = [*getattr(step, "left", ()), *getattr(step, "right", ())]
        inner += [step.between] if isinstance(step, Twice) else []
        if isinstance(step, Gate) or getattr(step, "groups", 0) * isinstance(step, Norm):
            return True
        if mixes_everything(inner):
            return True
    return False


@examples(30)
@given(sketches(precise=True, clear=True))
def test_what_a_place_depends_on_lies_in_its_receptive_field(sketch):
    assume(not mixes_everything(sketch.steps) and differentiable(sketch))
    pixels = sketch.inputs(1).requires_grad_()
    found, _ = runs_of(sketch.out_of_place(), pixels, graph=True)
    taps = [ran.tap for ran in found if has_places(ran)]
    fields = vizkit.receptive_fields(sketch.searched(), sketch.inputs(1), taps)
    for ran in filter(has_places, found):
        height, width = ran.made.shape[2:]
        score = ran.made[:, :, height // 2, width // 2].sum()
        (gradient,) = torch.autograd.grad(score, pixels, retain_graph=True)
        strength = gradient.abs().sum(dim=1)[0]
        x0, y0, x1, y1 = fields.boxes["Random"][ran.tap.label]
        outside = strength.clone()
        outside[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = 0
        assert not outside.any(), ran.tap.label
        measured = torch.from_numpy(fields.maps["Random"][ran.tap.label])
        torch.testing.assert_close(measured, strength, rtol=1e-9, atol=1e-12)
