"""Every accumulator against its definition in NumPy float64; parts add up to the whole."""

import copy
import warnings
import weakref
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from vizkit.results import Tap
from vizkit.statistics.distribution import QUANTILES
from vizkit.statistics.registry import ACCUMULATORS, DEFAULT, STATISTICS, Site
from vizkit.statistics.sample import PLACES, Sample, places_of

CLASSES = sorted(set(ACCUMULATORS.values()), key=lambda cls: cls.__name__)
every = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
CHANNELS = 6
FOLDERS = ("cat", "dog", "fox")
# what is read off a histogram is right to the width of a bin
BIN = 1 / 64


@dataclass(frozen=True)
class Case:
    """Some images at one tap, and what came before and after."""

    maps: torch.Tensor
    labels: torch.Tensor
    gradients: torch.Tensor
    x: torch.Tensor
    norm: nn.BatchNorm2d
    places: int | None = None

    def __len__(self):
        return len(self.maps)

    def part(self, start, stop):
        rows = slice(start, stop)
        numbers = range(len(self))[rows]
        labels, gradients = self.labels[rows], self.gradients[rows]
        return Sample(self.maps[rows], numbers, labels, gradients, self.places)

    @property
    def site(self):
        tap = Tap("conv1_1", "features.0", "norm", 1, self.maps.shape[1])
        return Site(tap, FOLDERS, self.norm)

    @property
    def exact(self):
        return self.maps.double().numpy()

    @property
    def flat(self):
        """Sampled values: (C, N * P)."""
        seen = self.part(0, None).sampled.double().numpy()
        return seen.transpose(1, 0, 2).reshape(seen.shape[1], -1)

    @property
    def responses(self):
        return np.maximum(self.exact.mean(axis=(2, 3)), 0)


def a_case(cls=None, seed=0, n=9, size=(9, 6), places=None, dtype=torch.float32):
    """Channels that are rectified, zero, constant, far from zero, negative and ordinary."""
    generator = torch.Generator().manual_seed(seed)
    random = {"generator": generator, "dtype": torch.float64}
    x = (torch.randn(n, CHANNELS, *size, **random) * 3 + 1).to(dtype)
    norm = nn.BatchNorm2d(CHANNELS).eval().to(dtype)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        tensor.data = torch.randn(CHANNELS, **random).to(dtype)
    norm.running_var.data = (torch.rand(CHANNELS, **random) * 4 + 0.5).to(dtype)
    norm.weight.data[1] = 0
    if cls is ACCUMULATORS["gamma"]:
        maps = norm(x).detach()
    else:
        maps = (torch.randn(n, CHANNELS, *size, **random) * 3 + 0.2).to(dtype)
        maps[:, 0].relu_()
        maps[:, 1] = 0
        maps[:, 2] = 0.3
        maps[:, 3] += 100
        maps[:, 4] = -maps[:, 4].abs() - 1
    labels = torch.randint(len(FOLDERS), (n,), generator=generator)
    labels[:3] = torch.arange(3)
    gradients = torch.randn(n, CHANNELS, *size, **random).to(dtype)
    return Case(maps, labels, gradients, x, norm, places)


def counted(cls, case, start=0, stop=None, size=1):
    accumulator = cls(case.site)
    end = len(case) if stop is None else stop
    for first in range(start, end, size):
        accumulator.update(case.part(first, min(first + size, end)))
    return accumulator


def per_image(function):
    return lambda case: function(case.exact)


def standardised(function):
    """Skewness or kurtosis of rows; NaN where a row is constant."""

    def of(rows):
        rows = np.atleast_2d(rows)
        still = rows.max(axis=1) == rows.min(axis=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return np.where(still, np.nan, function(rows, axis=1))

    return of


SKEW, KURTOSIS = standardised(scipy.stats.skew), standardised(scipy.stats.kurtosis)


def active(case):
    return (case.exact.max(axis=(2, 3)) > 0).mean(axis=0)


def rare(case):
    return ((active(case) > 0) & (active(case) < 0.01)).astype(float)


def dead(case):
    return (case.exact <= 0).all(axis=(0, 2, 3)).astype(float)


def eigenvalues(case):
    return np.linalg.eigvalsh(np.cov(case.flat, bias=True)).clip(min=0)


def effective_rank(case):
    share = eigenvalues(case) / eigenvalues(case).sum()
    share = share[share > 0]
    return np.exp(-(share * np.log(share)).sum())


def participation_ratio(case):
    found = eigenvalues(case)
    return found.sum() ** 2 / (found**2).sum()


def redundancy(case):
    moves = np.flatnonzero(np.ptp(case.flat, axis=1) > 0)
    found = np.full(len(case.flat), np.nan)
    related = np.abs(np.atleast_2d(np.corrcoef(case.flat[moves])))
    np.fill_diagonal(related, 0)
    found[moves] = related.max(axis=1)
    return found


def class_selectivity(case):
    found = []
    labels = case.labels.numpy()
    for channel in case.responses.T:
        means = [channel[labels == label].mean() for label in np.unique(labels)]
        best = means.pop(int(np.argmax(means)))
        rest = np.mean(means)
        found.append((best - rest) / (best + rest) if best + rest > 0 else np.nan)
    return np.array(found)


def lifetime_sparsity(case):
    found = []
    for r in case.responses.T:
        n = len(r)
        dense = (r.sum() / n) ** 2 / ((r**2).sum() / n) if r.any() else np.nan
        found.append((1 - dense) / (1 - 1 / n))
    return np.array(found)


def parameters(case):
    return (
        getattr(case.norm, name).detach().double().numpy()
        for name in ("weight", "bias", "running_mean", "running_var")
    )


def mean_drift(case):
    gamma, _, mean, variance = parameters(case)
    found = case.x.double().numpy().mean(axis=(0, 2, 3)) - mean
    return np.where(np.abs(gamma) < 1e-6, np.nan, np.abs(found) / np.sqrt(variance + case.norm.eps))


def variance_ratio(case):
    gamma, _, _, variance = parameters(case)
    found = case.x.double().numpy().var(axis=(0, 2, 3))
    return np.where(np.abs(gamma) < 1e-6, np.nan, found / (variance + case.norm.eps))


def spatial_entropy(case):
    seen = np.abs(case.part(0, None).sampled.double().numpy())
    found = [[] for _ in range(seen.shape[1])]
    for image, channel in np.ndindex(seen.shape[:2]):
        activity = seen[image, channel]
        if activity.any():
            share = activity[activity > 0] / activity.sum()
            evenly = np.log(len(activity)) if len(activity) > 1 else 1
            found[channel].append(-(share * np.log(share)).sum() / evenly)
    return np.array([np.mean(values) if values else np.nan for values in found])


def gradient_norms(case):
    return np.sqrt((case.gradients.double().numpy() ** 2).sum(axis=(2, 3)))


# definitions from the docstrings
PER_CHANNEL = {
    "mean": per_image(lambda m: m.mean(axis=(0, 2, 3))),
    "std": per_image(lambda m: m.std(axis=(0, 2, 3))),
    "energy": per_image(lambda m: (m**2).mean(axis=(0, 2, 3))),
    "min": per_image(lambda m: m.min(axis=(0, 2, 3))),
    "max": per_image(lambda m: m.max(axis=(0, 2, 3))),
    "dead": dead,
    "active": active,
    "rare": rare,
    "sparsity": per_image(lambda m: (m == 0).mean(axis=(0, 2, 3))),
    "below_zero": per_image(lambda m: (m < 0).mean(axis=(0, 2, 3))),
    "skew": lambda case: SKEW(case.flat),
    "kurtosis": lambda case: KURTOSIS(case.flat),
    "spatial_entropy": spatial_entropy,
    "redundancy": redundancy,
    "class_selectivity": class_selectivity,
    "lifetime_sparsity": lifetime_sparsity,
    "gamma": lambda case: np.abs(next(parameters(case))),
    "beta": lambda case: list(parameters(case))[1],
    "mean_drift": mean_drift,
    "variance_ratio": variance_ratio,
    "gradient_norm": lambda case: gradient_norms(case).mean(axis=0),
}
WHOLE = {
    "mean": per_image(np.mean),
    "std": per_image(np.std),
    "energy": per_image(lambda m: (m**2).mean()),
    "min": per_image(np.min),
    "max": per_image(np.max),
    "dead": lambda case: dead(case).mean(),
    "active": lambda case: active(case).mean(),
    "rare": lambda case: rare(case).mean(),
    "sparsity": per_image(lambda m: (m == 0).mean()),
    "below_zero": per_image(lambda m: (m < 0).mean()),
    "skew": lambda case: SKEW(case.flat.ravel())[0],
    "kurtosis": lambda case: KURTOSIS(case.flat.ravel())[0],
    "spatial_entropy": lambda case: np.nanmean(spatial_entropy(case)),
    "effective_rank": effective_rank,
    "participation_ratio": participation_ratio,
    "redundancy": lambda case: np.nanmean(redundancy(case)),
    "class_selectivity": lambda case: np.nanmean(class_selectivity(case)),
    "lifetime_sparsity": lambda case: np.nanmean(lifetime_sparsity(case)),
    "gamma": lambda case: np.abs(next(parameters(case))).mean(),
    "beta": lambda case: list(parameters(case))[1].mean(),
    "mean_drift": lambda case: np.nanmedian(mean_drift(case)),
    "variance_ratio": lambda case: np.nanmedian(variance_ratio(case)),
    "gradient_norm": lambda case: np.sqrt((gradient_norms(case) ** 2).sum(axis=1)).mean(),
    **{
        name: lambda case, share=share: np.quantile(case.flat, share, method="inverted_cdf")
        for name, share in (("q01", 0.01), ("q05", 0.05), ("q25", 0.25), ("median", 0.5),
                            ("q75", 0.75), ("q95", 0.95), ("q99", 0.99))
    },
}  # fmt: skip
# of these a channel alone has none
WHOLE_ONLY = {"effective_rank", "participation_ratio", *QUANTILES}


def same(found, expected, tolerance=1e-6, floor=1e-9):
    return np.allclose(found, expected, rtol=tolerance, atol=floor, equal_nan=True)


def assert_defined(accumulator, case, tolerance=1e-6):
    for name, values in accumulator.channels().items():
        assert values.dtype == torch.float64
        assert values.shape == (CHANNELS,)
        expected = PER_CHANNEL[name](case)
        assert same(values, expected, tolerance, rounding(name, case)), (name, values, expected)
    for name, value in accumulator.whole().items():
        assert type(value) is float
        width = max(tolerance, BIN) if name in QUANTILES else tolerance
        expected, floor = WHOLE[name](case), rounding(name, case).max()
        assert same(value, expected, width, floor), (name, value, expected)


def rounding(name, case):
    """What float32 leaves of a channel that is constant, or of what cancels: (C,)."""
    scale = np.abs(case.exact).max(axis=(0, 2, 3))
    if name == "std":
        return 2e-7 * scale
    if name == "mean_drift":
        return 1e-7 * scale / np.abs(next(parameters(case))).clip(min=1e-6)
    if name in {"skew", "kurtosis", "class_selectivity", "lifetime_sparsity"}:
        return np.full_like(scale, 3e-6)
    return np.full_like(scale, 1e-9)


def assert_same(first, second, tolerance):
    """Two accumulators give the same numbers; 0 means to the last bit."""
    for name, values in second.channels().items():
        assert same(first.channels()[name], values, tolerance, tolerance), name
    for name, value in second.whole().items():
        assert same(first.whole()[name], value, tolerance, tolerance), name


def test_every_statistic_has_a_definition_here_a_unit_and_a_home():
    assert set(WHOLE) == set(STATISTICS) == set(ACCUMULATORS)
    assert set(PER_CHANNEL) == set(STATISTICS) - WHOLE_ONLY
    assert all(STATISTICS.values())
    assert set(DEFAULT) <= set(STATISTICS)
    assert len(DEFAULT) == len(set(DEFAULT))


@every
def test_the_registered_names_are_those_that_it_gives(cls):
    names = {name for name, home in ACCUMULATORS.items() if home is cls}
    accumulator = counted(cls, a_case(cls))
    assert set(accumulator.whole()) == names
    assert set(accumulator.channels()) == names - WHOLE_ONLY


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_it_equals_its_definition(cls, dtype):
    case = a_case(cls, dtype=dtype)
    # behind a batch normalisation in bfloat16 the input is known to that precision only
    rounded = dtype == torch.bfloat16 and cls is ACCUMULATORS["gamma"]
    assert_defined(counted(cls, case, size=4), case, 3e-2 if rounded else 1e-6)


@every
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (30, 17)], ids=str)
def test_it_equals_its_definition_on_other_sizes(cls, size):
    case = a_case(cls, seed=5, size=size)
    assert_defined(counted(cls, case, size=2), case)


@every
def test_it_equals_its_definition_on_sampled_places(cls):
    case = a_case(cls, seed=6, size=(12, 12), places=30)
    assert case.flat.shape == (CHANNELS, 9 * 30)
    assert_defined(counted(cls, case, size=4), case)


@every
@pytest.mark.parametrize("layout", [torch.channels_last, "transposed", "expanded"], ids=str)
def test_the_layout_in_memory_does_not_matter(cls, layout):
    case = a_case(cls, seed=7)
    case.maps[:, 2] = 0.5
    if layout == "transposed":
        maps = case.maps.transpose(2, 3).contiguous().transpose(2, 3)
    elif layout == "expanded":
        case = replace(case, maps=case.maps[:, :, :1, :1].expand(-1, -1, 9, 6).contiguous())
        maps = case.maps[:, :, :1, :1].expand(-1, -1, 9, 6)
    else:
        maps = case.maps.contiguous(memory_format=layout)
    other = replace(case, maps=maps)
    assert_same(counted(cls, other, size=4), counted(cls, case, size=4), 1e-5)


@every
def test_parts_merge_to_the_whole_in_any_order(cls):
    case = a_case(cls, seed=1)
    whole = counted(cls, case)
    for cut in (0, 1, 4, 8, 9):
        for order in ((slice(0, cut), slice(cut, 9)), (slice(cut, 9), slice(0, cut))):
            first, second = (counted(cls, case, part.start, part.stop) for part in order)
            kept = copy.deepcopy(second.state())
            first.merge(second)
            assert_same(first, whole, 1e-10)
            assert all(torch.equal(value, kept[name]) for name, value in second.state().items())


@every
def test_many_parts_merge_to_the_whole(cls):
    case = a_case(cls, seed=2, n=12)
    merged = cls(case.site)
    for start in (8, 0, 4):
        merged.merge(counted(cls, case, start, start + 4, size=4))
    assert_same(merged, counted(cls, case, size=12), 1e-6)


@every
@pytest.mark.parametrize("places", [50, None])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("size", [2, 5, 9])
def test_it_does_not_depend_on_batch_size(cls, size, layout, places):
    case = a_case(cls, seed=3, size=(14, 14), places=places)
    case = replace(case, maps=case.maps.contiguous(memory_format=layout))
    assert_same(counted(cls, case, size=size), counted(cls, case), 2e-6)


@every
def test_maps_are_neither_changed_nor_kept(cls):
    case = a_case(cls, seed=4)
    before = copy.deepcopy(case)
    accumulator = cls(case.site)
    accumulator.update(case.part(0, 4))
    sizes = {name: (value.shape, value.dtype) for name, value in accumulator.state().items()}
    for _ in range(3):
        accumulator.update(case.part(0, None))
    for name in ("maps", "labels", "gradients"):
        assert torch.equal(getattr(case, name), getattr(before, name)), name
    state = accumulator.state()
    assert {name: (value.shape, value.dtype) for name, value in state.items()} == sizes
    assert all(len(value.untyped_storage()) < 2**20 for value in state.values())
    # everything that an image changes is in the state, and nothing else is held
    alive = [weakref.ref(tensor) for tensor in (case.maps, case.labels, case.gradients)]
    storages = {case.maps.data_ptr(), case.gradients.data_ptr(), case.labels.data_ptr()}
    assert not storages & {value.data_ptr() for value in state.values()}
    del case
    assert [reference() for reference in alive] == [None] * 3


@every
def test_a_restored_state_goes_on_to_the_last_bit(cls):
    case = a_case(cls, seed=8)
    whole = counted(cls, case, size=2)
    half = counted(cls, case, 0, 4, size=2)
    stored = {name: value.clone() for name, value in half.state().items()}
    half.update(case.part(4, 5))
    again = cls(case.site)
    again.restore(stored)
    for start in (4, 6, 8):
        again.update(case.part(start, min(start + 2, 9)))
    for name, value in whole.state().items():
        assert torch.equal(again.state()[name], value), name
    assert_same(again, whole, 0)


@every
def test_giving_the_numbers_changes_nothing(cls):
    case = a_case(cls, seed=9)
    plain, asked = cls(case.site), cls(case.site)
    for start in (0, 3, 6):
        plain.update(case.part(start, start + 3))
        asked.update(case.part(start, start + 3))
        asked.whole(), asked.channels()
    assert_same(asked, plain, 0)


@every
def test_a_small_spread_about_a_large_mean_is_seen(cls):
    case = a_case(cls, seed=10, n=6, size=(28, 28))
    noise = torch.randn(case.maps.shape, generator=torch.Generator().manual_seed(11)) / 64
    maps = 1000 + noise.abs() * noise.sign().clamp(min=-0.5)
    if cls is ACCUMULATORS["gamma"]:
        # the layer's own output, so that its input is known
        x = (maps.double() - 1000) * 64
        scale, offset = torch.full((CHANNELS,), 1 / 64), torch.full((CHANNELS,), 1000.0)
        case.norm.weight.data, case.norm.bias.data = scale, offset
        case.norm.running_mean.data.zero_()
        case.norm.running_var.data.fill_(1 - case.norm.eps)
        case = replace(case, x=x)
    maps[:, 5] = 1000.1
    if cls is ACCUMULATORS["gamma"]:
        case.x[:, 5] = (maps[:, 5].double() - 1000) * 64
    case = replace(case, maps=maps)
    for size in (1, 4):
        accumulator = counted(cls, case, size=size)
        # float32 tells 1000 from its neighbours to 1/256 of the spread
        assert_defined(accumulator, case, 1e-3 if cls is ACCUMULATORS["gamma"] else 1e-5)
    if cls is ACCUMULATORS["std"]:
        assert accumulator.channels()["std"][5] < 1e-7


@every
@pytest.mark.parametrize("value", [0.0, -0.0, -3.0, 0.1, 7.0])
def test_constant_maps(cls, value):
    case = replace(a_case(cls), maps=torch.full((4, CHANNELS, 5, 7), value))
    accumulator = counted(cls, case, size=2)
    whole, channels = accumulator.whole(), accumulator.channels()
    exact = float(np.float32(value))
    constants = {
        "mean": exact, "std": 0, "energy": exact**2, "min": exact, "max": exact,
        "dead": exact <= 0, "active": exact > 0, "rare": 0,
        "sparsity": exact == 0, "below_zero": exact < 0,
        "skew": np.nan, "kurtosis": np.nan,
        "effective_rank": 0, "participation_ratio": 0, "redundancy": np.nan,
        "class_selectivity": 0 if exact > 0 else np.nan,
        "lifetime_sparsity": 0 if exact > 0 else np.nan,
    }  # fmt: skip
    for name in set(whole) & set(constants):
        floor = 1e-7 * abs(exact) if name == "std" else 1e-12
        assert same(whole[name], constants[name], 3e-7, floor), (name, whole[name])
        if name in channels:
            assert same(channels[name], constants[name], 3e-7, floor), name
    for name in set(whole) & set(QUANTILES):
        assert same(whole[name], exact, BIN, 0), name


@every
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_infinities_and_no_numbers_do_not_stop_a_run(cls, bad):
    case = a_case(cls, seed=12)
    case.maps[2, 0, 3, 4] = bad
    case.gradients[2, 0, 3, 4] = bad
    accumulator = counted(cls, case, size=3)
    for values in accumulator.channels().values():
        assert values.shape == (CHANNELS,)
    sound = counted(cls, a_case(cls, seed=12), size=3).channels()
    for name, values in accumulator.channels().items():
        # one bad channel does not spoil the others, but for those that it is compared with
        if name != "redundancy":
            assert same(values[1:], sound[name][1:], 1e-12), name
    try:
        accumulator.whole()
    except torch.linalg.LinAlgError:  # pragma: no cover
        pytest.fail("the eigenvalues stop the run")


@every
def test_many_images_at_once_and_a_single_one(cls):
    case = a_case(cls, seed=13, n=200, size=(3, 2))
    assert_defined(counted(cls, case, size=200), case)
    single = replace(case, maps=case.maps[:1].abs() + 1)
    whole = counted(cls, single, 0, 1).whole()
    if cls is ACCUMULATORS["lifetime_sparsity"]:
        assert np.isnan(whole["lifetime_sparsity"])


def test_channels_that_fire_rarely():
    case = a_case(n=201, size=(2, 2))
    maps = -torch.ones(201, CHANNELS, 2, 2)
    for channel, images in enumerate([0, 1, 2, 3, 100, 201]):
        maps[:images, channel, 1, 0] = 1
    case = replace(case, maps=maps)
    found = counted(ACCUMULATORS["rare"], case, size=50).channels()
    assert found["rare"].tolist() == [0, 1, 1, 0, 0, 0]
    assert found["active"].tolist() == [k / 201 for k in (0, 1, 2, 3, 100, 201)]
    assert found["dead"].tolist() == [1, 0, 0, 0, 0, 0]


def test_selectivity_by_hand():
    case = a_case(n=4, size=(1, 2))
    maps = torch.zeros(4, CHANNELS, 1, 2)
    maps[0, 0] = 4  # one class only
    maps[:, 1] = 2  # all alike
    maps[2, 2] = torch.tensor([1.0, 5.0])  # 3 against 0 and (0 + 1) / 2
    maps[1, 2] = 1
    maps[3, 3] = -5  # never above zero
    case = replace(case, maps=maps, labels=torch.tensor([0, 1, 2, 1]))
    found = counted(ACCUMULATORS["class_selectivity"], case).channels()["class_selectivity"]
    expected = [1, 0, (3 - 0.25) / (3 + 0.25), np.nan, np.nan, np.nan]
    assert np.allclose(found, expected, equal_nan=True)


def test_selectivity_needs_two_classes_that_were_seen():
    case = replace(a_case(), labels=torch.zeros(9, dtype=torch.int64))
    accumulator = counted(ACCUMULATORS["class_selectivity"], case)
    assert accumulator.channels()["class_selectivity"].isnan().all()
    assert np.isnan(accumulator.whole()["class_selectivity"])
    with pytest.raises(ValueError, match="without labels"):
        accumulator.update(Sample(case.maps, range(9)))
    for folders in ((), ("cat",)):
        reason = ACCUMULATORS["class_selectivity"].missing(replace(case.site, classes=folders))
        assert reason is not None
        assert "two or more" in reason


def test_gradients_must_be_given():
    case = a_case()
    with pytest.raises(ValueError, match="without gradients"):
        ACCUMULATORS["gradient_norm"](case.site).update(Sample(case.maps, range(9)))


def test_normalisation_without_parameters_and_without_a_layer():
    cls, case = ACCUMULATORS["gamma"], a_case(ACCUMULATORS["gamma"])
    plain = nn.BatchNorm2d(CHANNELS, affine=False).eval()
    plain.running_mean.fill_(2)
    case = replace(case, norm=plain, maps=plain(case.x))
    found = counted(cls, case, size=4).channels()
    assert same(found["gamma"], 1)
    assert same(found["beta"], 0)
    exact = case.x.double().numpy()
    drift = np.abs(exact.mean(axis=(0, 2, 3)) - 2) / np.sqrt(1 + 1e-5)
    assert same(found["mean_drift"], drift, 1e-6)
    assert same(found["variance_ratio"], exact.var(axis=(0, 2, 3)) / (1 + 1e-5), 1e-6)
    assert "batch normalisation" in cls.missing(replace(case.site, norm=None))
    assert cls.missing(case.site) is None


def test_bins_hold_every_value():
    case = a_case(seed=14, dtype=torch.float32)
    case.maps[0, 5, 0, :3] = torch.tensor([1e-30, -1e30, -0.0])
    low, high, counts = counted(ACCUMULATORS["median"], case).bins()
    values = np.sort(case.maps.double().numpy().ravel())
    assert counts.sum() == len(values)
    assert (counts > 0).all()
    assert (low[1:] >= high[:-1]).all()
    zero = (low == 0) & (high == 0)
    assert zero.sum() == 1
    assert counts[zero] == (values == 0).sum()
    assert (np.abs(high - low)[~zero] <= np.minimum(np.abs(low), np.abs(high))[~zero] * BIN).all()
    stops = np.cumsum(counts)
    for a, b, start, stop in zip(low, high, stops - counts, stops, strict=True):
        assert a <= values[start] <= values[stop - 1] <= b


def test_quantiles_are_in_order_and_within_the_range():
    case = a_case(seed=15)
    whole = counted(ACCUMULATORS["median"], case).whole()
    values = [whole[name] for name in ("q01", "q05", "q25", "median", "q75", "q95", "q99")]
    assert values == sorted(values)
    assert case.maps.min() <= values[0] * (1 - BIN)
    assert values[-1] * (1 - BIN) <= case.maps.max()


@pytest.mark.parametrize("area", [200, 196 * 4, 12544])
def test_places_are_random_without_repetition_and_always_the_same(area):
    rows, columns = area // 4, 4
    index = torch.arange(area, dtype=torch.float32).reshape(1, 1, rows, columns)
    maps = index + torch.tensor([0.0, 20000.0, 40000.0])[None, :, None, None]
    drawn = []
    for positions in ([0, 1, 2, 3], [3, 2], [1]):
        sample = Sample(maps.expand(len(positions), -1, -1, -1), positions)
        found = sample.sampled
        assert found.shape == (len(positions), 3, PLACES)
        # the same places for all channels
        assert torch.equal(found[:, 1] - 20000, found[:, 0])
        assert torch.equal(found[:, 2] - 40000, found[:, 0])
        drawn.append(dict(zip(positions, found[:, 0].long().tolist(), strict=True)))
    together, pair, alone = drawn
    assert pair == {3: together[3], 2: together[2]}
    assert alone == {1: together[1]}
    for places in together.values():
        assert len(set(places)) == PLACES
        assert 0 <= min(places) <= max(places) < area
    assert len({frozenset(places) for places in together.values()}) == 4
    # no part of the map is left out or preferred
    many = np.concatenate([places_of(position, area, PLACES) for position in range(400)])
    share = np.histogram(many, bins=4, range=(0, area))[0] / len(many)
    assert np.allclose(share, 0.25, atol=0.01)


def test_places_do_not_touch_the_random_numbers_of_others():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    places_of.cache_clear()
    first = places_of(7, 1000, 50).copy()
    places_of.cache_clear()
    assert (places_of(7, 1000, 50) == first).all()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("places", [None, 54, 1000])
def test_without_sampling_every_place_counts(places):
    case = a_case(places=places)
    assert torch.equal(case.part(0, None).sampled, case.maps.flatten(2))


@every
def test_the_error_of_sampling_is_small(cls):
    """A map with a border, smooth inside, as a padded convolution makes it."""
    generator = torch.Generator().manual_seed(16)
    coarse = torch.randn(16, CHANNELS, 14, 14, generator=generator)
    coarse[:, 1] += coarse[:, 0]
    maps = nn.functional.interpolate(coarse, size=(112, 112), mode="bilinear").relu_()
    maps[:, :, :2] += 0.5
    case = replace(a_case(n=16), maps=maps, gradients=maps)
    sampled = counted(cls, replace(case, places=PLACES), size=8).whole()
    exact = counted(cls, replace(case, places=None), size=8).whole()
    limit = {"skew": 0.15, "kurtosis": 0.6, "effective_rank": 0.15, "participation_ratio": 0.15,
             "redundancy": 0.03, "spatial_entropy": 0.12}  # fmt: skip
    for name, value in exact.items():
        close = limit.get(name, 0.03 if name in QUANTILES else 0)
        assert sampled[name] == pytest.approx(value, abs=close, nan_ok=True), name


def test_fields_of_a_sample_agree_with_numpy():
    case = a_case(seed=17)
    sample = case.part(0, None)
    exact = case.exact
    assert sample.area == 54
    assert np.allclose(sample.means, exact.mean(axis=(2, 3)), rtol=1e-6)
    squares = exact.var(axis=(2, 3)) * 54
    assert np.allclose(sample.squares, squares, rtol=1e-6, atol=1e-12)
    assert np.array_equal(sample.peaks, exact.max(axis=(2, 3)))
    for value in (sample.means, sample.squares, sample.peaks):
        assert value.dtype == torch.float64
