"""Whatever the network: every short cut gives what the long way gives."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from network_oracles import chosen, key_of, maps_of
from property_settings import examples
from random_networks import Sketch, Wishes, sketches
from random_steps import Branch, Conv, Drop, Norm, Shared, Twice
from torch import nn
from torch.nn import functional as F  # noqa: N812

import vizkit
from vizkit.attribution.chain import unroll
from vizkit.attribution.incremental import Changes, local_links, propagate
from vizkit.hooks import evaluating
from vizkit.linear import LinearHeads

BITS = st.integers(0, 2**16 - 1)
# hooks that only look: they keep no layer from being folded
QUIET = ("looks", "looks before", "keywords")
PLAIN = Wishes(code=False, branches=False, shared=False)
FLAT = ("flatten, linear", "mlp")
CHAINS = sketches(PLAIN, precise=True, heads=FLAT, hooks=())
# of these, little is computed again where a small part of the input changes
LOCAL = sketches(replace(PLAIN, local=True), precise=True, heads=FLAT, hooks=())


@st.composite
def convolutions(draw):
    """A convolution and its input; half of the time it covers the whole input."""
    channels, groups = draw(st.integers(1, 4)), 1
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    kernel = size if draw(st.booleans()) else draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    out = draw(st.integers(1, 5))
    if draw(st.integers(0, 4)) == 4:
        groups, out = channels, channels * 2
    options = {
        "stride": draw(st.sampled_from([1, 1, 2, (2, 3)])),
        "padding": draw(st.sampled_from([0, 0, 1, (0, 2), "valid"])),
        "dilation": draw(st.sampled_from([1, 1, (1, 2)])),
        "groups": groups,
    }
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    new = {"generator": generator, "dtype": torch.float64}
    images = torch.randn(draw(st.integers(1, 3)), channels, *size, **new)
    weight = torch.randn(out, channels // groups, *kernel, **new)
    bias = torch.randn(out, **new) if draw(st.booleans()) else None
    return images, weight, bias, options


@examples(80)
@given(convolutions(), st.booleans(), st.booleans(), st.booleans())
def test_a_linear_head_is_the_convolution_that_it_stands_for(drawn, module, named, gates):
    images, weight, bias, options = drawn

    def convolved(x):
        if module:
            layer = nn.Conv2d(x.shape[1], len(weight), weight.shape[2:], bias=False, **options)
            layer.weight, layer.bias = (
                nn.Parameter(weight),
                bias if bias is None else nn.Parameter(bias),
            )
            return layer(x)
        if named:
            return F.conv2d(input=x, weight=weight, bias=bias, **options)
        return torch.conv2d(x, weight, bias, *options.values())

    first, second = images.clone().requires_grad_(), images.clone().requires_grad_()
    try:
        expected = convolved(first)
    except RuntimeError:
        with LinearHeads(gates=gates), pytest.raises(RuntimeError):
            convolved(second)
        return
    with LinearHeads(gates=gates):
        found = convolved(second)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    expected.sin().sum().backward()
    found.sin().sum().backward()
    torch.testing.assert_close(second.grad, first.grad, rtol=1e-12, atol=1e-12)


@examples(50)
@given(sketches(Wishes(reused=True)))
def test_a_network_taken_apart_gives_the_same_to_the_bit(unchanged, sketch):
    expected, logits = maps_of(sketch)
    network, inputs = sketch.network(), sketch.inputs()
    with unchanged(network), evaluating(network), torch.no_grad():
        chain = unroll(network, inputs)
        assert torch.equal(chain.run(inputs), logits)
        runs = Counter(tap.module for tap in expected)
        for tap, maps in expected.items():
            start = chain.after(tap.module)
            # of modules that run in several places, see below
            if start is not None and runs[tap.module] == 1:
                assert torch.equal(chain.run(maps, start), logits), tap.label
    assert torch.equal(inputs, sketch.inputs())


# one ReLU, in the trunk and in a branch
IN_TWO_PLACES = Sketch(
    (7, 7), (Conv(2, padding=(1, 1)), Shared(), Branch((Norm(), Shared()))), precise=True
)


@examples(50)
@example(IN_TWO_PLACES)
@given(sketches())
def test_a_module_that_runs_in_several_places_is_no_link_to_go_on_from(sketch):
    expected, logits = maps_of(sketch)
    network, inputs = sketch.network(), sketch.inputs()
    with evaluating(network), torch.no_grad():
        chain = unroll(network, inputs)
        for tap, maps in expected.items():
            start = chain.after(tap.module)
            if start is not None:
                assert torch.equal(chain.run(maps, start), logits), tap.label


@examples(30)
@given(CHAINS)
def test_a_plain_sequence_is_taken_apart_into_its_layers(sketch):
    network, inputs = sketch.network(), sketch.inputs()
    with evaluating(network):
        chain = unroll(network, inputs)
    layers = {path for path, m in network.named_modules() if path and not list(m.children())}
    assert {link.path for link in chain.links if link.path} == layers


@examples(80)
@given(LOCAL, st.randoms(use_true_random=False), st.integers(1, 9), st.integers(1, 9))
def test_changes_of_rectangles_are_carried_as_if_all_was_computed_again(
    sketch, chance, height, width
):
    network, image = sketch.network(), sketch.inputs(1)
    rows, columns = sketch.size
    height, width = min(height, rows), min(width, columns)
    tops = [chance.randint(0, rows - height) for _ in range(4)]
    lefts = [chance.randint(0, columns - width) for _ in range(4)]
    generator = torch.Generator().manual_seed(sketch.seed)
    values = torch.randn(4, 3, height, width, generator=generator, dtype=torch.float64)
    changed = image.repeat(4, 1, 1, 1)
    for one, top, left, value in zip(changed, tops, lefts, values, strict=True):
        one[:, top : top + height, left : left + width] = value
    changes, before = Changes(tops, lefts, values), image
    with evaluating(network), torch.no_grad():
        chain = unroll(network, image)
        for link in chain.links[: local_links(chain)]:
            after = link(before)
            changes = propagate(link.module, before, after, changes)
            before, changed = after, link(changed)
            torch.testing.assert_close(changes.applied(after), changed, rtol=1e-9, atol=1e-12)


@examples(30)
@given(st.data(), st.integers(1, 12), st.integers(1, 12), st.integers(0, 9))
def test_occlusion_is_what_covering_one_window_after_the_other_costs(data, side, step, pick):
    # chains, where little is computed again, and anything else
    sketch = data.draw(st.one_of(LOCAL, CHAINS, sketches(precise=True, most=4)))
    side = min(side, *sketch.size)
    step = min(step, side)
    target = pick % sketch.head.classes
    # few enough windows
    assume(math.prod((length // step + 1) for length in sketch.size) <= 150)
    image, network = sketch.inputs(1), sketch.out_of_place()
    corners = list(
        itertools.product(*(range(0, length - side + step, step) for length in sketch.size))
    )
    covered = image.repeat(len(corners), 1, 1, 1)
    for one, (y, x) in zip(covered, corners, strict=True):
        one[:, y : y + side, x : x + side] = 0
    with torch.no_grad():
        intact, scores = network(image)[0, target], network(covered)[:, target]
    total, count = torch.zeros(2, *sketch.size, dtype=torch.float64)
    for score, (y, x) in zip(scores, corners, strict=True):
        total[y : y + side, x : x + side] += intact - score
        count[y : y + side, x : x + side] += 1
    found = vizkit.attribute(
        sketch.classifier(), image, "occlusion", target, window=side, stride=step
    )
    own, expected = found.values["occlusion"]["input"][0, 0].double(), total / count
    # losses are rounded to float32 before they are averaged
    atol = 1e-6 * float((intact - scores).abs().max()) + 1e-9 * float(intact.abs())
    torch.testing.assert_close(own, expected, rtol=0, atol=atol + 1e-12)


def assert_is_what_channels_cost(sketch, bits):
    """Ablation-CAM at some taps, against networks that lose one channel each."""
    expected, logits = maps_of(sketch)
    taps, classes = chosen(expected, bits)[:3], list(range(sketch.head.classes))
    found = vizkit.attribute(sketch.classifier(), sketch.inputs(), "ablation_cam", classes, taps)
    for tap in taps:
        maps = expected[tap]
        losses = [logits - without(sketch, tap, channel) for channel in range(tap.channels)]
        weights = torch.stack(losses)  # (C, N, K)
        wanted = torch.einsum("cnk,nchw->nkhw", weights, maps).relu()
        own = found.values["ablation_cam"][key_of(tap, taps)].double()
        size = float(maps.abs().max() * weights.abs().max()) * tap.channels
        # maps and losses are rounded to float32; losses are differences of scores
        atol = 1e-6 * size + 1e-6 * float(maps.abs().max() * logits.abs().max())
        torch.testing.assert_close(own, wanted, rtol=0, atol=atol + 1e-12)


@examples(30)
@given(sketches(Wishes(shared=False), precise=True, most=4), BITS)
def test_ablation_cam_is_what_losing_each_channel_costs(sketch, bits):
    assert_is_what_channels_cost(sketch, bits)


@examples(30)
@example(IN_TWO_PLACES, 1 << 3)
@given(sketches(precise=True, most=4), BITS)
def test_ablation_cam_also_at_modules_that_run_in_several_places(sketch, bits):
    assert_is_what_channels_cost(sketch, bits)


def without(sketch, tap, channel):
    """Logits of the double with one channel of one tap set to zero."""
    network, calls = sketch.out_of_place(), itertools.count()

    def cut(_module, _inputs, output):
        if next(calls) != tap.call:
            return None
        keep = torch.ones(output.shape[1], dtype=output.dtype)
        keep[channel] = 0
        return output * keep[:, None, None]

    network.get_submodule(tap.module).register_forward_hook(cut)
    with torch.no_grad():
        return network(sketch.inputs())


def foldable(steps):
    """Batch normalisations of what one convolution gives, and nothing else reads."""
    count, before = 0, None
    for step in steps:
        if isinstance(step, Norm) and not step.groups and isinstance(before, Conv):
            count += 1
        if isinstance(step, Branch):
            count += foldable(step.left) + foldable(step.right)
        # in evaluation mode a dropout passes on the very same map
        before = before if isinstance(step, Drop) else step
    return count


NORMED_BETWEEN = Sketch(
    (7, 7), (Conv(2, padding=(1, 1)), Twice(Conv(2, padding=(1, 1)), Norm()), Norm())
)
NORMED_IN_A_BRANCH = Sketch(
    (7, 7), (Conv(2, padding=(1, 1)), Branch((Norm(), Conv(2, (1, 1)), Norm()), (Norm(),)))
)


@examples(60)
@example(NORMED_BETWEEN)
@example(NORMED_IN_A_BRANCH)
@given(sketches(hooks=QUIET))
def test_folding_computes_the_same_with_fewer_layers(unchanged, sketch):
    network, inputs = sketch.network(), sketch.inputs()
    classifier = sketch.classifier(network)
    with unchanged(network):
        folded = vizkit.fold_batch_norm(classifier)
    logits = maps_of(sketch)[1]
    with torch.no_grad():
        found = folded.module.eval()(inputs.clone())
    size = max(1.0, float(logits.abs().max()))
    torch.testing.assert_close(
        found, logits, rtol=0, atol=(1e-9 if sketch.precise else 1e-3) * size
    )
    counts = [
        sum(isinstance(each, nn.BatchNorm2d) for each in net.modules())
        for net in (network, folded.module)
    ]
    assert counts[0] - counts[1] == foldable(sketch.steps)
