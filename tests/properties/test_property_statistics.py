"""Whatever the maps and however they are shared out: sums are those of all images at once."""

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from network_oracles import chosen, maps_of
from property_settings import examples
from random_networks import sketches
from torch import nn

import vizkit
from vizkit.results import Tap
from vizkit.statistics.registry import ACCUMULATORS, Site
from vizkit.statistics.sample import Sample
from vizkit.storing import load_state, save_state

CLASSES = sorted(set(ACCUMULATORS.values()), key=lambda cls: cls.__name__)
every = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
FOLDERS = ("cat", "dog", "fox")
# what the values of a channel may be like, made from normal ones
KINDS = {
    "ordinary": lambda x: 3 * x + 0.2,
    "rectified": lambda x: x.clamp(min=0),
    "zero": lambda x: 0 * x,
    "constant": lambda x: 0 * x + 0.3,
    "far from zero": lambda x: x + 100,
    "negative": lambda x: -x.abs() - 1,
    "tiny": lambda x: 1e-6 * x,
}


@dataclass(frozen=True)
class Pile:
    """Random maps of some images, and how they are shared out."""

    images: int
    size: tuple[int, int]
    kinds: tuple[str, ...]
    precise: bool
    places: int | None
    seed: int

    def sample(self, numbers):
        """The maps, labels and gradients of some of the images."""
        maps, labels, gradients = self.tensors()
        rows = list(numbers)
        return Sample(maps[rows], rows, labels[rows], gradients[rows], self.places)

    def tensors(self):
        generator = torch.Generator().manual_seed(self.seed)
        shape = self.images, len(self.kinds), *self.size
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        columns = [KINDS[kind](values[:, c]) for c, kind in enumerate(self.kinds)]
        dtype = torch.float64 if self.precise else torch.float32
        labels = torch.randint(len(FOLDERS), (self.images,), generator=generator)
        return torch.stack(columns, 1).to(dtype), labels, values.flip(0).to(dtype)

    @property
    def site(self):
        generator = torch.Generator().manual_seed(self.seed)
        norm = nn.BatchNorm2d(len(self.kinds))
        with torch.no_grad():
            norm.weight.uniform_(0.5, 2, generator=generator)
        return Site(Tap("conv1", "conv1", "norm", 1, len(self.kinds)), FOLDERS, norm)


PILES = st.builds(
    Pile,
    images=st.integers(1, 9),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kinds=st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=5).map(tuple),
    precise=st.booleans(),
    places=st.sampled_from([None, 1, 7, 100]),
    seed=st.integers(0, 2**16),
)
ORDERS = st.randoms(use_true_random=False)


def counted(cls, pile, batches):
    accumulator = cls(pile.site)
    for batch in batches:
        accumulator.update(pile.sample(batch))
    return accumulator


def one_by_one(numbers):
    return [[n] for n in numbers]


def parts_of(numbers, chance):
    """Cut numbers into consecutive parts, at random; some may be empty."""
    cuts = sorted(chance.randint(0, len(numbers)) for _ in range(chance.randint(0, 4)))
    edges = [0, *cuts, len(numbers)]
    return [numbers[a:b] for a, b in itertools.pairwise(edges)]


def merged_anyhow(accumulators, chance):
    """Merge two by two, in any order, until one is left."""
    left = list(accumulators)
    while len(left) > 1:
        chance.shuffle(left)
        left[0].merge(left.pop())
    return left[0]


def numbers_of(accumulator):
    """Everything that it says: by channel and of the whole tap."""
    found = {f"{name} by channel": v.numpy() for name, v in accumulator.channels().items()}
    return found | {name: np.array(value) for name, value in accumulator.whole().items()}


def assert_same(first, second, pile, relative):
    """The same to so many digits of the values that went in."""
    size = float(pile.tensors()[0].abs().max())
    # statistics are values, their squares, or pure numbers
    atol = relative * max(1.0, size, size**2)
    others = numbers_of(second)
    for name, value in numbers_of(first).items():
        np.testing.assert_allclose(value, others[name], relative, atol, err_msg=name)


@every
@examples(15)
@given(pile=PILES, chance=ORDERS)
def test_workers_that_share_the_images_know_what_one_would(cls, pile, chance):
    images = range(pile.images)
    shared = list(images)
    chance.shuffle(shared)
    workers = [counted(cls, pile, one_by_one(part)) for part in parts_of(shared, chance)]
    whole = counted(cls, pile, one_by_one(images))
    assert_same(merged_anyhow(workers, chance), whole, pile, 1e-9)


@every
@examples(15)
@given(pile=PILES, chance=ORDERS)
def test_batches_of_any_size_make_no_difference(cls, pile, chance):
    batches = [part for part in parts_of(range(pile.images), chance) if part]
    whole = counted(cls, pile, [range(pile.images)])
    # float32 maps are summed in float32, a batch at a time
    assert_same(counted(cls, pile, batches), whole, pile, 1e-9 if pile.precise else 2e-5)


@every
@examples(10)
@given(pile=PILES, chance=ORDERS)
def test_merging_is_commutative_and_nothing_is_neutral(cls, pile, chance):
    cut = chance.randint(0, pile.images)
    sides = [one_by_one(range(cut)), one_by_one(range(cut, pile.images))]
    one, other = (counted(cls, pile, side) for side in sides)
    one.merge(counted(cls, pile, sides[1]))
    other.merge(counted(cls, pile, sides[0]))
    assert_same(one, other, pile, 1e-9)
    before = {name: value.clone() for name, value in one.state().items()}
    one.merge(cls(pile.site))
    nothing = cls(pile.site)
    nothing.merge(one)
    for name, value in before.items():
        assert torch.equal(one.state()[name], value), name
        assert torch.equal(nothing.state()[name], value), name


@every
@examples(8)
@given(pile=PILES, chance=ORDERS)
def test_stored_and_read_back_it_goes_on_to_the_same_bits(cls, pile, chance):
    batches = [part for part in parts_of(range(pile.images), chance) if part]
    stop = chance.randint(0, len(batches))
    stopped, again = counted(cls, pile, batches[:stop]), cls(pile.site)
    progress, facts = {"done": stop, "counted": 3, "failed": {"2": "torn"}}, {"places": pile.places}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        save_state(path, stopped.state(), progress, facts)
        tensors, read = load_state(path, facts, again.state())
    assert read == progress
    again.restore(tensors)
    for batch in batches[stop:]:
        again.update(pile.sample(batch))
    for name, value in counted(cls, pile, batches).state().items():
        assert torch.equal(again.state()[name], value), name


def by_hand(maps):
    """Statistics of stored maps (N, C, h, w), in NumPy float64: of each channel."""
    values = np.moveaxis(maps.double().numpy(), 1, 0).reshape(maps.shape[1], -1)
    fired = (maps.double().numpy() > 0).any(axis=(2, 3))
    return {
        "mean": values.mean(axis=1),
        "std": values.std(axis=1),
        "energy": (values**2).mean(axis=1),
        "min": values.min(axis=1),
        "max": values.max(axis=1),
        "sparsity": (values == 0).mean(axis=1),
        "below_zero": (values < 0).mean(axis=1),
        "dead": (~fired.any(axis=0)).astype(float),
        "active": fired.mean(axis=0),
    }


def of_all_channels(maps):
    """The same of the whole tap."""
    values, channels = maps.double().numpy(), by_hand(maps)
    means = {name: each.mean() for name, each in channels.items()}
    return means | {
        "mean": values.mean(),
        "std": values.std(),
        "energy": (values**2).mean(),
        "min": values.min(),
        "max": values.max(),
    }


@examples(40)
@given(sketches(precise=True), st.integers(0, 2**16 - 1), st.integers(1, 9), st.integers(1, 4))
def test_a_network_is_described_by_what_its_stored_maps_say(sketch, bits, count, size):
    inputs = sketch.inputs(count)
    maps, _ = maps_of(sketch, inputs)
    taps = [replace(tap, name=f"tap {n}") for n, tap in enumerate(chosen(maps, bits))]
    maps = {tap.label: maps[replace(tap, name=tap.module)] for tap in taps}
    found = vizkit.describe(
        sketch.classifier(), inputs, list(by_hand(torch.zeros(1, 1, 1, 1))), taps, batch_size=size
    )
    assert found.images == count
    names = {tap.name + (f"#{tap.call + 1}" if tap.call else ""): maps[tap.label] for tap in taps}
    for (layer, name), value in found.frame.set_index(["layer", "statistic"])["value"].items():
        own = names[layer]
        scale = max(1.0, float(own.abs().max())) ** 2
        assert value == pytest.approx(of_all_channels(own)[name], rel=1e-9, abs=1e-9 * scale), name
    for layer, rows in found.channels.groupby("layer"):
        scale = max(1.0, float(names[layer].abs().max())) ** 2
        for name, expected in by_hand(names[layer]).items():
            np.testing.assert_allclose(rows[name], expected, 1e-9, 1e-9 * scale, err_msg=name)


class StoppedError(Exception):
    """What stops a run."""


@examples(6)
@given(sketches(most=4, hooks=()), st.integers(5, 12), st.integers(1, 3), st.integers(1, 99))
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(sketch, count, size, when):
    inputs, network = sketch.inputs(count), sketch.network()
    classifier, batches = sketch.classifier(network), math.ceil(count / size)
    asked = {"statistics": ["std", "median", "max", "effective_rank"], "batch_size": size}
    whole = vizkit.describe(classifier, inputs, **asked)
    calls = iter(range(99))

    def stop(*_):
        if next(calls) == when % batches:
            raise StoppedError

    with TemporaryDirectory() as folder:
        handle = network.register_forward_pre_hook(stop)
        with pytest.raises(StoppedError):
            vizkit.describe(classifier, inputs, **asked, out=folder)
        handle.remove()
        resumed = vizkit.describe(classifier, inputs, **asked, out=folder, resume=True)
    pd.testing.assert_frame_equal(resumed.frame, whole.frame, check_exact=True)
    pd.testing.assert_frame_equal(resumed.channels, whole.channels, check_exact=True)
