"""Whatever the network: attributions are their formulas, from gradients by plain autograd."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cam_oracles import BY_GRADIENTS, slack
from hypothesis import assume, example, given
from hypothesis import strategies as st
from network_oracles import chosen, differentiable, key_of, runs_of
from property_settings import examples
from random_networks import Sketch, sketches
from random_steps import Act, Branch, Conv, Drop, Head, Norm

import vizkit
from vizkit.attribution.query import by_class
from vizkit.errors import InputError
from vizkit.forward import recorded

# where the graph begins behind the module that a user's backward hook is on, PyTorch says so
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")

BITS = st.integers(0, 2**16 - 1)
METHODS = st.sampled_from(sorted(BY_GRADIENTS))
PRECISE = sketches(precise=True)


def gradients_of(sketch, inputs=None, against=None, passed=False):
    """Maps and the gradient of every class by each of them, of the double: plain autograd.

    What modules pass on as it is only where it is asked for: see the last test.
    """
    given_inputs = sketch.inputs() if inputs is None else inputs
    runs, logits = runs_of(sketch.out_of_place(), given_inputs.clone().requires_grad_(), graph=True)
    maps = {r.tap: r.made for r in runs if r.made.ndim == 4 and (passed or not r.passes)}
    scores = logits if against is None else logits - logits[:, [against]]
    by_target = [
        torch.autograd.grad(
            scores[:, k].sum(), list(maps.values()), retain_graph=True, materialize_grads=True
        )
        for k in range(logits.shape[1])
    ]
    gradients = {tap: torch.stack([g[n] for g in by_target], 1) for n, tap in enumerate(maps)}
    return {tap: made.detach() for tap, made in maps.items()}, gradients, logits.detach()


def assert_is_formula(found, method, maps, gradients, taps, times=1, noise=1e-12):
    """The maps of a method are its formula to within the roundings of float32.

    Gradients that cancel are of the size of ``noise``, whatever they should be.
    """
    for tap in taps:
        given_maps = maps[tap].double().numpy()[:, None]
        expected, size = BY_GRADIENTS[method](given_maps, gradients[tap].double().numpy())
        off = np.abs(found.values[method][key_of(tap, taps)].double().numpy() - expected)
        allowed = times * slack(given_maps, size) + noise * np.abs(given_maps).sum()
        assert (off <= allowed).all(), (tap.label, off.max(), size.max())


@examples(60)
@given(PRECISE, BITS)
def test_gradients_by_every_map_are_those_of_plain_autograd(sketch, bits):
    assume(differentiable(sketch))
    maps, gradients, _ = gradients_of(sketch)
    taps = chosen(maps, bits)
    targets = torch.arange(sketch.head.classes).expand(sketch.images, -1)
    network, inputs = sketch.network(), sketch.inputs()
    with recorded(network, taps, inputs, detach=False, cut=True) as (recorder, logits):
        found = by_class(logits, [recorder.outputs[tap] for tap in taps], targets)
    for tap, own in zip(taps, found, strict=True):
        # the same sums in float64, at most in another order
        size = float(gradients[tap].abs().max())
        torch.testing.assert_close(own, gradients[tap], rtol=1e-9, atol=1e-9 * size + 1e-12)


@examples(60)
@given(PRECISE, BITS, METHODS, st.booleans())
def test_maps_are_the_formula_of_their_method(sketch, bits, method, other):
    assume(differentiable(sketch))
    against = 0 if other else None
    maps, gradients, _ = gradients_of(sketch, against=against)
    taps, classes = chosen(maps, bits), list(range(sketch.head.classes))
    found = vizkit.attribute(
        sketch.classifier(), sketch.inputs(), method, classes, taps, against=against
    )
    assert_is_formula(found, method, maps, gradients, taps)


@examples(40)
@given(PRECISE, BITS, METHODS, st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_several_classes_and_images_are_as_each_alone(sketch, bits, method, picks):
    assume(differentiable(sketch))
    maps, gradients, logits = gradients_of(sketch)
    taps, classifier = chosen(maps, bits), sketch.classifier()
    classes = [pick % sketch.head.classes for pick in picks]
    inputs = sketch.inputs()
    together = vizkit.attribute(classifier, inputs, method, classes, taps)
    for t, target in enumerate(classes):
        alone = vizkit.attribute(classifier, inputs, method, target, taps)
        for key, values in alone.values[method].items():
            assert torch.equal(together.values[method][key][:, t], values[:, 0])
    for n in range(len(inputs)):
        alone = vizkit.attribute(classifier, inputs[n : n + 1], method, classes, taps)
        own = {tap: each[n : n + 1, classes] for tap, each in gradients.items()}
        assert_is_formula(alone, method, {t: m[n : n + 1] for t, m in maps.items()}, own, taps)
    predicted = vizkit.attribute(classifier, inputs, method, None, taps)
    assert torch.equal(predicted.targets[:, 0], logits.argmax(dim=1))


@examples(40)
@given(PRECISE, BITS)
def test_eigen_cam_is_the_first_singular_direction(sketch, bits):
    maps, _, _ = gradients_of(sketch)
    taps = chosen(maps, bits)
    found = vizkit.attribute(sketch.classifier(), sketch.inputs(), "eigen_cam", [0, 1], taps)
    for tap in taps:
        for n, values in enumerate(maps[tap].double().numpy()):
            own = found.values["eigen_cam"][key_of(tap, taps)][n].double().numpy()
            assert (own[0] == own[1]).all(), "the class plays no part"
            left, lengths, _ = np.linalg.svd(values.reshape(len(values), -1).T, full_matrices=False)
            # two directions of one length have no first
            if len(lengths) > 1 and lengths[1] > 0.9 * lengths[0]:
                continue
            expected = (left[:, 0] * lengths[0]).reshape(values.shape[1:])
            # how far roundings of the maps may turn the direction
            atol = 1e-5 * max(lengths[0], 1e-30)
            if abs(expected.sum()) > 100 * atol * expected.size:
                expected = expected * np.sign(expected.sum())
                assert own[0].sum() >= 0
            else:
                expected = expected * np.sign((own[0] * expected).sum() or 1)
            np.testing.assert_allclose(own[0], expected, rtol=0, atol=atol)


# networks whose last map is pooled and read by one linear layer
POOLED = sketches(
    precise=True, heads=("pool, linear", "mean, linear", "pool, conv"), most=4, hooks=("looks",)
)


def assert_shares_the_logit_out(sketch):
    """The mean of CAM over places is the logit without the bias."""
    maps, _, logits = gradients_of(sketch)
    last = next(tap for tap in maps if tap.module == "body")
    found = vizkit.attribute(sketch.classifier(), sketch.inputs(), "cam", None, [last])
    *_, bias = (p for name, p in sketch.network().named_parameters() if name.endswith("bias"))
    own = found.values["cam"]["body"].double()
    scores = logits.gather(1, found.targets) - bias.detach()[found.targets]
    # maps and weights are rounded to float32; a weight is 1 at most here
    size = float(maps[last].abs().max()) * maps[last].shape[1]
    torch.testing.assert_close(own.mean(dim=(-2, -1)), scores, rtol=0, atol=1e-6 * size + 1e-30)


@examples(40)
@given(POOLED)
def test_cam_shares_the_logit_out(sketch):
    assert_shares_the_logit_out(replace(sketch, steps=(*sketch.steps, Act("relu"))))


BALANCED = Sketch(
    (27, 26),
    (Conv(1, (3, 1), 2, (2, 0), 2, bias=False, mode="replicate"),),
    Head(classes=2),
    images=4,
    seed=1,
    precise=True,
)


@examples(40)
@example(BALANCED)
@given(POOLED)
def test_cam_shares_the_logit_out_also_of_maps_of_both_signs(sketch):
    assert_shares_the_logit_out(sketch)


@examples(30)
@given(PRECISE)
def test_gradients_by_pixels_are_those_of_plain_autograd(sketch):
    assume(differentiable(sketch))
    classes = list(range(sketch.head.classes))
    pixels = sketch.inputs().requires_grad_()
    logits = sketch.out_of_place()(pixels.clone())
    expected = torch.stack(
        [torch.autograd.grad(logits[:, k].sum(), pixels, retain_graph=True)[0] for k in classes], 1
    )
    found = vizkit.attribute(
        sketch.classifier(), sketch.inputs(), ["saliency", "input_x_gradient"], classes
    )
    # float64 until the maps are written down as float32
    size = float(expected.abs().max()) * float(sketch.inputs().abs().max())
    saliency = expected.abs().amax(dim=2)
    shares = (expected * pixels.detach()[:, None]).sum(dim=2)
    for name, wanted in (("saliency", saliency), ("input_x_gradient", shares)):
        own = found.values[name]["input"].double()
        torch.testing.assert_close(own, wanted, rtol=2.0**-23, atol=1e-9 * size + 1e-12)


@examples(30)
@given(sketches(precise=False), BITS, METHODS)
def test_float32_networks_give_the_same_to_their_precision(sketch, bits, method):
    assume(differentiable(sketch))
    maps, gradients, _ = gradients_of(sketch)
    taps, classes = chosen(maps, bits), list(range(sketch.head.classes))
    found = vizkit.attribute(sketch.classifier(), sketch.inputs(), method, classes, taps)
    # maps and gradients themselves are rounded at every layer
    assert_is_formula(found, method, maps, gradients, taps, times=100, noise=1e-7)


@examples(10)
@given(sketches(precise=True, heads=("mlp", "flatten, linear"), most=3))
def test_cam_says_where_it_has_no_meaning(sketch):
    with pytest.raises(InputError, match="global average pooling"):
        vizkit.attribute(sketch.classifier(), sketch.inputs(), "cam")


PASSED_ON = Sketch((7, 7), (Conv(1, padding=(1, 1)), Branch((Drop(), Norm()))), precise=True)


@examples(60)
@example(PASSED_ON, 0xFFFF)
@given(PRECISE, BITS)
def test_a_map_that_is_passed_on_is_explained_as_what_is_read_behind_it(sketch, bits):
    assume(differentiable(sketch))
    maps, gradients, _ = gradients_of(sketch, passed=True)
    taps, classes = chosen(maps, bits), list(range(sketch.head.classes))
    found = vizkit.attribute(sketch.classifier(), sketch.inputs(), "hires_cam", classes, taps)
    assert_is_formula(found, "hires_cam", maps, gradients, taps)
