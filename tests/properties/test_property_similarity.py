"""Whatever the maps: similarity is HSIC written out in float64, and keeps the laws of CKA."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from network_oracles import chosen, maps_of
from property_settings import examples
from random_networks import Wishes, sketches

import vizkit
from vizkit.cka.gram import gram_of
from vizkit.cka.hsic import cka, hsic

SEEDS = st.integers(0, 2**16)
COUNTS = st.integers(4, 12)
WIDTHS = st.lists(st.integers(1, 20), min_size=1, max_size=4)


def features_of(seed, count, widths):
    generator = np.random.default_rng(seed)
    return [generator.normal(1, 2, (count, width)) for width in widths]


def apart(kernel):
    """A kernel without its diagonal: no image is compared with itself."""
    return kernel - np.diag(np.diag(kernel))


def hsic_by_hand(first, second):
    """Song et al., equation 5, from features about the origin."""
    n = len(first)
    k, l = apart(first @ first.T), apart(second @ second.T)  # noqa: E741
    one = np.ones(n)
    both = np.trace(k @ l) - 2 / (n - 2) * (one @ k @ l @ one)
    alone = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (both + alone) / (n * (n - 3))


def every_pair(features):
    return np.array([[hsic_by_hand(a, b) for b in features] for a in features])


def kernels(features):
    return np.stack([each @ each.T for each in features])


def sizes_of(features):
    """How large what HSIC sums is, before it cancels: what roundings are shares of."""
    norms = np.array([np.linalg.norm(each - each.mean(axis=0)) ** 2 for each in features])
    return np.outer(norms, norms) / (len(features[0]) * (len(features[0]) - 3))


@examples(60)
@given(SEEDS, COUNTS, WIDTHS)
def test_hsic_is_its_definition(seed, count, widths):
    features = features_of(seed, count, widths)
    expected = every_pair([each - each.mean(axis=0) for each in features])
    found = hsic(kernels(features))
    assert (np.abs(found - expected) <= 1e-9 * sizes_of(features) * 10).all()
    assert np.array_equal(found, found.T)


@examples(40)
@given(SEEDS, COUNTS, WIDTHS, st.floats(0.01, 100))
def test_order_rotation_scale_and_offset_of_features_are_of_no_effect(seed, count, widths, scale):
    features = features_of(seed, count, widths)
    generator = np.random.default_rng(seed + 1)
    order = generator.permutation(count)
    changed = [
        scale * each[order] @ np.linalg.qr(generator.normal(size=(each.shape[1],) * 2))[0] + scale
        for each in features
    ]
    found = [hsic(kernels(each)) for each in (features, changed)]
    # an estimate near zero has nothing to be normalised by
    assume((np.diag(found[0]) > 1e-3 * np.diag(sizes_of(features))).all())
    np.testing.assert_allclose(cka(found[0]), cka(found[1]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.diag(cka(found[0])), 1, rtol=1e-12)


@examples(40)
@given(SEEDS, COUNTS, st.integers(1, 20000), st.booleans(), st.floats(0, 1000))
def test_products_are_those_of_centred_features(seed, count, width, precise, offset):
    values = np.random.default_rng(seed).normal(offset, 1, (count, width))
    maps = torch.from_numpy(values).to(torch.float64 if precise else torch.float32)
    exact = maps.double().numpy()
    centred = exact - exact.mean(axis=0)
    found = gram_of(maps)
    # centring rounds values of the size of the offset; products are of what is left
    eps = 2.0**-52 if precise else 2.0**-23
    lengths = np.linalg.norm(centred, axis=1) + eps * np.linalg.norm(exact, axis=1)
    rounding = eps * (width**0.5 + 8) * np.outer(lengths, lengths)
    rounding += 4 * eps * np.outer(lengths, np.linalg.norm(exact, axis=1))
    assert (np.abs(found - centred @ centred.T) <= rounding + rounding.T).all()


# those that overwrite their maps are run once more, the first time
PLAIN = sketches(Wishes(overwriting=False), precise=True, most=4, hooks=())


@examples(25)
@given(
    PLAIN, st.integers(0, 2**16 - 1), st.integers(4, 13), COUNTS,
    st.integers(0, 9),
)  # fmt: skip
def test_similarity_is_the_mean_over_batches_by_their_images(sketch, bits, count, size, seed):
    inputs = sketch.inputs(count)
    every, _ = maps_of(sketch, inputs)
    taps = chosen(every, bits)[:3]
    twin = replace(sketch, seed=sketch.seed + 1)
    network, batches = sketch.network(), []
    models = [sketch.classifier(network), twin.classifier()]
    network.register_forward_pre_hook(lambda _m, args: batches.append(args[0].clone()))
    found = vizkit.similarity(models, inputs, taps, batch_size=size, random_state=seed)
    total, natural = 0, 0
    for batch in batches:
        maps = [maps_of(each, batch)[0] for each in (sketch, twin)]
        features = [own[tap].flatten(1).numpy() for own in maps for tap in taps]
        total = total + len(batch) * every_pair([each - each.mean(axis=0) for each in features])
        natural = natural + len(batch) * sizes_of(features)
    assert found.images == sum(map(len, batches)) == count - found.left_out
    own, largest = np.diag(total), np.diag(natural)
    # taps that hardly differ between images, or of which HSIC is a small difference
    usable = (own > 1e-4 * largest) & (largest > 1e-20)
    expected = total / np.sqrt(np.outer(own, own).clip(min=1e-300))
    np.testing.assert_allclose(
        found.matrix[np.ix_(usable, usable)], expected[np.ix_(usable, usable)], rtol=0, atol=1e-6
    )


@examples(15)
@given(sketches(precise=True, most=4, hooks=()), st.integers(4, 9), st.integers(0, 9))
def test_a_network_is_like_its_double_and_other_networks_change_nothing(sketch, count, seed):
    models = {"it": sketch.classifier(), "double": sketch.classifier(sketch.out_of_place())}
    found = vizkit.similarity(models, sketch.inputs(count), random_state=seed).matrix
    alone = vizkit.similarity(models["it"], sketch.inputs(count), random_state=seed).matrix
    half = len(found) // 2
    np.testing.assert_allclose(found[:half, :half], alone, rtol=1e-9)
    np.testing.assert_allclose(found[:half, half:], alone, rtol=1e-9)
