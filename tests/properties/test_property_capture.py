"""Whatever the network: what is captured is true, and the network stays as it was."""

import torch
from hypothesis import example, given
from hypothesis import strategies as st
from network_oracles import chosen, maps_of
from property_settings import examples
from random_networks import Sketch, Wishes, sketches
from random_steps import Act, Branch, Conv

from vizkit.forward import capture, consumed

BITS = st.integers(0, 2**16 - 1)


def assert_true(sketch, bits):
    """Some taps hold what their modules made, and the output is that of the plain network."""
    expected, logits = maps_of(sketch)
    taps = chosen(expected, bits)
    network = sketch.network()
    captured = capture(sketch.classifier(network), sketch.inputs(), taps)
    assert captured.taps == tuple(taps), "in forward order"
    for tap, maps in captured.items():
        assert torch.equal(maps, expected[tap]), tap.label
    assert torch.equal(captured.logits, logits)
    with torch.no_grad():
        assert torch.equal(network.eval()(sketch.inputs()), logits), "the double is one"


@examples(60)
@given(sketches(), BITS)
def test_maps_are_what_the_modules_made_and_the_output_is_the_networks(sketch, bits):
    assert_true(sketch, bits)


READ_AGAIN = Sketch(
    (7, 7), (Conv(1, padding=(1, 1)), Branch((Act(in_place=True), Conv(1, padding=(1, 1)))))
)


@examples(60)
@example(READ_AGAIN, 1)
@given(sketches(Wishes(reused=True)), BITS)
def test_also_where_what_is_overwritten_is_read_again(sketch, bits):
    assert_true(sketch, bits)


@examples(40)
@given(sketches(Wishes(reused=True)), BITS)
def test_a_map_that_is_consumed_is_seen_as_it_was_made(sketch, bits):
    expected, logits = maps_of(sketch)
    taps = chosen(expected, bits)
    seen = {}
    found = consumed(
        sketch.network(), taps, sketch.inputs(), lambda tap, maps: seen.update({tap: maps.clone()})
    )
    assert list(seen) == taps
    assert all(torch.equal(maps, expected[tap]) for tap, maps in seen.items())
    assert torch.equal(found, logits)
