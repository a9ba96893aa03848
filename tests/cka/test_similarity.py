"""Similarity against HSIC written out as sums over images, in NumPy float64."""

import itertools
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vizkit
from vizkit.cka import run as module
from vizkit.cka.gram import gram_of
from vizkit.cka.hsic import cka, hsic, interval
from vizkit.cka.kernels import rbf
from vizkit.cli import main
from vizkit.errors import InputError
from vizkit.images import Transform, as_images

SMALL = Transform(size=(20, 24), resize=(20, 24))


def hsic_1(k, l):  # noqa: E741
    """Song et al., equation 4, sums over different images written out."""
    n = len(k)
    pairs = sum(k[i, j] * l[i, j] for i, j in itertools.permutations(range(n), 2))
    triples = sum(k[i, j] * l[i, q] for i, j, q in triples_of(n))
    fours = sum(k[i, j] * l[q, r] for i, j, q, r in itertools.permutations(range(n), 4))
    return (
        pairs / (n * (n - 1))
        + fours / (n * (n - 1) * (n - 2) * (n - 3))
        - 2 * triples / (n * (n - 1) * (n - 2))
    )


def triples_of(n):
    return itertools.permutations(range(n), 3)


def song(k, l):  # noqa: E741
    """Song et al., equation 5: the same with matrix products."""
    n = len(k)
    k, l = (m - np.diag(np.diag(m)) for m in (k, l))  # noqa: E741
    one = np.ones(n)
    return (
        np.trace(k @ l)
        + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        - 2 * (one @ k @ l @ one) / (n - 2)
    ) / (n * (n - 3))


def alignment(grams):
    """CKA of each pair, from the estimator above, of one batch."""
    own = [song(k, k) for k in grams]
    return np.array([
        [song(k, l) / np.sqrt(a * b) for l, b in zip(grams, own, strict=True)]  # noqa: E741
        for k, a in zip(grams, own, strict=True)
    ])  # fmt: skip


def grams_of(model, images, at="stages"):
    """Inner products of flattened maps, about the origin: they need not be centred."""
    flat = [m.double().flatten(1).numpy() for m in vizkit.capture(model, images, at).values()]
    return [f @ f.T for f in flat]


def a_net(seed=0, mixing=None, name="net", scale=1.0):
    """Two convolutions and a 1x1 convolution that mixes channels."""
    generator = torch.Generator().manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(inplace=True), nn.Conv2d(6, 10, 3, stride=2),
        nn.ReLU(), nn.Conv2d(10, 10, 1, bias=False),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 4),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.normal_(0, 0.4, generator=generator)
        if mixing is not None:
            layers[4].weight.copy_(scale * mixing[:, :, None, None])
    return vizkit.wrap(layers, name=name, transform=SMALL)


AT = ["0", "2", "4"]


@pytest.fixture(scope="module")
def net():
    return a_net()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos that differ in colour and pattern, in two class folders."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for i in range(22):
        own = root / ("a", "b")[i // 11]
        own.mkdir(exist_ok=True)
        noise = generator.normal(0, 30, (20, 24, 3)) + generator.uniform(30, 220, 3)
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(own / f"{i:02}.png")
    return root


@pytest.fixture(scope="module")
def photos(folder):
    return as_images(folder)


def random_grams(taps=3, n=7, seed=0):
    generator = np.random.default_rng(seed)
    features = [generator.normal(3, 1, (n, 2 + 4 * t)) for t in range(taps)]
    return np.stack([f @ f.T for f in features])


def test_hsic_is_the_sum_over_different_images():
    grams = random_grams()
    found = hsic(grams)
    for (a, k), (b, l) in itertools.product(enumerate(grams), repeat=2):  # noqa: E741
        assert found[a, b] == pytest.approx(hsic_1(k, l), rel=1e-9)
        assert found[a, b] == pytest.approx(song(k, l), rel=1e-9)


def test_hsic_does_not_depend_on_batch_size_on_average():
    """Unbiased: over all subsets of a few images, it averages to that of all of them."""
    grams = random_grams(n=8)
    parts = [hsic(grams[:, s][:, :, s]) for s in map(list, itertools.combinations(range(8), 5))]
    assert np.allclose(np.mean(parts, axis=0), hsic(grams), rtol=1e-10)


def test_many_images_give_the_biased_alignment():
    generator = np.random.default_rng(1)
    x = generator.normal(size=(900, 5))
    y = np.hstack([x[:, :2] * 2, generator.normal(size=(900, 3))])
    centred = [f - f.mean(axis=0) for f in (x, y)]
    cross, *own = (
        np.linalg.norm(a.T @ b) ** 2
        for a, b in ((centred[0], centred[1]), (centred[0],) * 2, (centred[1],) * 2)
    )
    found = cka(hsic(np.stack([f @ f.T for f in (x, y)])))[0, 1]
    assert found == pytest.approx(cross / np.sqrt(own[0] * own[1]), abs=5e-3)


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_products_are_those_of_float64(offset):
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(9, 7, 31, 29, generator=generator) + offset
    exact = maps.double().flatten(1).numpy()
    exact -= exact.mean(axis=0)
    expected = exact @ exact.T
    found = gram_of(maps.flatten(1))
    assert found.dtype == np.float64
    assert np.abs(found - expected).max() < 3e-6 * np.abs(expected).max()
    own = [cka(hsic(np.stack([g, random_grams(1, 9)[0]])))[0, 1] for g in (found, expected)]
    assert own[0] == pytest.approx(own[1], abs=1e-5)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_tiny_and_huge_maps_do_not_get_lost(size):
    maps = torch.rand(6, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    both = np.stack([gram_of(m.flatten(1)) for m in (maps, maps * size)])
    assert cka(hsic(both))[0, 1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_constant_maps_are_exactly_nothing(value, kind):
    ripples = torch.linspace(0.3, 1.7, 49, dtype=kind).reshape(1, 1, 7, 7)
    maps = (value * ripples).expand(5, 2, 7, 7).contiguous()
    assert not gram_of(maps.flatten(1)).any()


def test_one_batch_equals_the_estimator(net, photos):
    found = vizkit.similarity(net, photos, AT)
    expected = alignment(grams_of(net, photos, AT))
    assert np.allclose(found.matrix, expected, atol=2e-6)
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()
    assert (found.images, found.batches, found.kernel, found.left_out) == (22, 1, "linear", 0)
    assert list(found.labels.columns) == ["model", "tap", "stride", "layer", "role"]


def batches_of(images, size, seed=0):
    order = np.random.default_rng(seed).permutation(len(images))
    return [order[start : start + size] for start in range(0, len(images), size)]


def test_batches_are_averaged_by_their_images(net, photos):
    """22 in batches of at most 9: 8, 8 and 6."""
    found = vizkit.similarity(net, photos, AT, batch_size=9)
    assert found.batches == 3
    grams = grams_of(net, photos, AT)
    sums = np.zeros((3, 3))
    for batch in batches_of(photos, 8):
        own = [g[np.ix_(batch, batch)] for g in grams]
        sums += len(batch) * np.array([[song(k, l) for l in own] for k in own])  # noqa: E741
    sizes = np.sqrt(np.diag(sums))
    assert np.allclose(found.matrix, sums / np.outer(sizes, sizes), atol=2e-6)


def test_rbf_equals_its_formula(net, photos):
    found = vizkit.similarity(net, photos, AT, kernel="rbf", bandwidth=0.6)
    kernels = []
    for maps in vizkit.capture(net, photos, AT).values():
        flat = maps.double().flatten(1).numpy()
        distances = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
        median = np.median([distances[i, j] for i, j in itertools.combinations(range(22), 2)])
        kernels.append(np.exp(-(distances**2) / (2 * (0.6 * median) ** 2)))
    assert np.allclose(found.matrix, alignment(kernels), atol=5e-6)
    assert (found.kernel, found.bandwidth) == ("rbf", 0.6)
    assert "bandwidth 0.6" in repr(found)
    assert not rbf(np.zeros((5, 5)), 1.0).any()


def test_rotated_and_scaled_features_are_the_same(photos):
    generator = torch.Generator().manual_seed(5)
    mixing, _ = torch.linalg.qr(torch.randn(10, 10, generator=generator))
    plain = a_net(mixing=torch.eye(10), name="plain")
    mixed = a_net(mixing=mixing, name="mixed", scale=7.0)
    skewed = a_net(mixing=torch.diag(torch.linspace(0.1, 9, 10)), name="skewed")
    for kernel in ("linear", "rbf"):
        found = vizkit.similarity([plain, mixed, skewed], photos, "4", kernel=kernel).matrix
        assert found[0, 1] == pytest.approx(1, abs=1e-5)
        assert found[0, 2] < 0.999


def test_a_network_is_like_itself_whatever_the_order_and_the_loader(net, photos, folder):
    for images in (photos, as_images(sorted(folder.rglob("*.png"), reverse=True))):
        for workers in (0, 1):
            found = vizkit.similarity([net, net], images, AT, batch_size=8, workers=workers)
            twins = found.between("net", "net (2)").to_numpy()
            assert np.allclose(np.diag(found.matrix), 1, atol=1e-12)
            assert np.allclose(np.diag(twins), 1, atol=1e-6)
            assert np.array_equal(found.matrix, found.matrix.T)
            assert np.allclose(twins, found.between("net", "net").to_numpy(), atol=1e-12)


def test_it_does_not_depend_on_order_within_a_batch_workers_or_other_networks(net, photos):
    found = vizkit.similarity(net, photos, AT)
    other = vizkit.similarity(net, photos, AT, random_state=7, workers=1)
    assert np.allclose(found.matrix, other.matrix, atol=1e-6)
    three = vizkit.similarity([a_net(1, name="x"), net, a_net(2, name="y")], photos, AT)
    assert np.allclose(three.between("net", "net"), found.matrix, atol=1e-12)
    assert three.matrix.shape == three.low.shape == three.high.shape == (9, 9)
    assert list(three.labels["model"]) == ["x"] * 3 + ["net"] * 3 + ["y"] * 3


def test_a_sorted_folder_is_shuffled(folder, monkeypatch):
    """Batches that follow the folder would hold one class each."""
    seen = []
    whole = module.stream

    def watched(classifiers, images, **options):
        seen.extend(photo.name for photo in images)
        return whole(classifiers, images, **options)

    monkeypatch.setattr(module, "stream", watched)
    vizkit.similarity(a_net(), folder, "0", batch_size=11)
    assert sorted(seen) == [photo.name for photo in as_images(folder)]
    for batch in (seen[:11], seen[11:]):
        assert {name[0] for name in batch} == {"a", "b"}


def test_the_interval_resamples_batches():
    generator = np.random.default_rng(3)
    parts = np.stack([hsic(random_grams(n=6, seed=s)) for s in range(11)])
    low, high = interval(parts, 50, np.random.default_rng(11))
    counts = np.random.default_rng(11).multinomial(11, [1 / 11] * 11, size=50)
    values = []
    for row in counts:
        drawn = [part for part, times in zip(parts, row, strict=True) for _ in range(times)]
        assert len(drawn) == 11
        sums = np.mean(drawn, axis=0)
        values.append(sums / np.sqrt(np.outer(np.diag(sums), np.diag(sums))))
    assert np.allclose(low, np.percentile(values, 2.5, axis=0), atol=1e-12)
    assert np.allclose(high, np.percentile(values, 97.5, axis=0), atol=1e-12)
    assert np.allclose([np.diag(low), np.diag(high)], 1)
    assert all(np.isnan(each).all() for each in interval(parts[:9], 50, generator))
    assert all(np.isnan(each).all() for each in interval(parts, 0, generator))


def test_the_interval_is_repeatable_and_holds_the_value(net, photos, monkeypatch):
    monkeypatch.setattr("vizkit.cka.hsic.LEAST_BATCHES", 2)
    models = [net, a_net(4, name="other")]
    found, again = (
        vizkit.similarity(models, photos, AT, batch_size=6, bootstrap=60) for _ in range(2)
    )
    assert np.array_equal(found.low, again.low)
    assert np.array_equal(found.high, again.high)
    assert np.array_equal(found.matrix, again.matrix)
    assert ((found.low <= found.matrix + 1e-12) & (found.matrix <= found.high + 1e-12)).mean() > 0.9


def test_only_sums_are_kept(net, photos):
    classifiers, taps = [net], [vizkit.find_stages(net, AT)]
    sums = module._Sums(classifiers, taps, "linear", 1.0)
    sums.add_all(photos, 4, 0)
    # 6 batches: 4, 4, 4, 4, 4 and 2 that are too few
    assert [part.nbytes for part in sums.parts] == [8 * 3 * 3] * 5
    assert (sums.counted, sums.left_out) == (20, 2)
    # room for one batch of four at each tap
    areas = [(tap.channels, maps.shape[-2:].numel()) for tap, maps in
             vizkit.capture(net, photos[:1], AT).items()]  # fmt: skip
    assert [room.numel() for room in sums.shelf.room.values()] == [4 * c * a for c, a in areas]
    found = vizkit.similarity(net, photos, AT, batch_size=4)
    assert (found.images, found.left_out, found.batches) == (20, 2, 5)
    assert "2 left out" in repr(found)


@pytest.mark.parametrize(
    ("total", "most", "size"), [(22, 64, 22), (65, 64, 33), (128, 64, 64), (5, 4, 4), (3, 64, 4)]
)
def test_batches_are_even(total, most, size):
    assert module._even(total, most) == size


def test_constant_taps_are_nan_and_named(photos):
    dead = a_net(name="dead")
    with torch.no_grad():
        dead.module[2].weight.zero_()
        dead.module[2].bias.fill_(0.3)
    found = vizkit.similarity(dead, photos, AT, batch_size=8)
    assert np.isnan(found.matrix[1:]).all()
    assert np.isnan(found.matrix[:, 1:]).all()
    assert found.matrix[0, 0] == pytest.approx(1)
    assert found.constant == ("dead 2", "dead 4")
    assert "the same for all images: dead 2, dead 4" in repr(found)
    assert list(found.best_match("dead", "dead")["tap"]) == ["0"]
    same = np.asarray(photos.photos[0].rgb)
    assert np.isnan(vizkit.similarity(dead, [same] * 5, AT).matrix).all()


def test_unreadable_photos_are_listed_and_not_counted(net, photos, folder, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    found = vizkit.similarity(net, [folder, tmp_path], AT)
    assert list(found.failed["file"]) == [str(tmp_path / "bad.png")]
    assert found.images == 22
    assert np.allclose(found.matrix, vizkit.similarity(net, photos, AT).matrix, atol=1e-6)
    assert "1 unreadable" in repr(found)


def test_what_cannot_be_compared(net, photos):
    with pytest.raises(InputError, match=r"at least 4 readable images in a batch, here are 3"):
        vizkit.similarity(net, photos[:3])
    with pytest.raises(InputError, match="unknown kernel 'rbff'; did you mean 'rbf'"):
        vizkit.similarity(net, photos, kernel="rbff")
    with pytest.raises(InputError, match="bandwidth must be a number above 0"):
        vizkit.similarity(net, photos, kernel="rbf", bandwidth=0)
    with pytest.raises(InputError, match="batch_size must be a whole number of at least 4"):
        vizkit.similarity(net, photos, batch_size=3)
    with pytest.raises(InputError, match="bootstrap must be at most 100000"):
        vizkit.similarity(net, photos, bootstrap=10**9)
    with pytest.raises(InputError, match="bootstrap must be a whole number of at least 0"):
        vizkit.similarity(net, photos, bootstrap=-1)
    with pytest.raises(InputError, match="unknown model 'nut'; did you mean 'net'"):
        vizkit.similarity(net, photos, AT).between("nut", "net")
    broken = a_net(name="broken")
    nn.init.constant_(broken.module[2].bias, float("nan"))
    with pytest.raises(InputError, match="broken gives NaN or infinity at 2"):
        vizkit.similarity(broken, photos, AT)


def test_the_network_is_left_as_it_was(net, photos, unchanged):
    net.module.train()
    with unchanged(net.module):
        vizkit.similarity([net, net], photos, "layers")
    net.module.eval()


def test_tables(net, photos, monkeypatch):
    monkeypatch.setattr("vizkit.cka.hsic.LEAST_BATCHES", 2)
    found = vizkit.similarity({"<b>a</b>": net, "b": a_net(3)}, photos, AT, batch_size=8)
    table = found.between("<b>a</b>", "b")
    assert table.shape == (3, 3)
    assert np.array_equal(table.to_numpy(), found.matrix[:3, 3:])
    best = found.best_match("<b>a</b>", "b")
    assert list(best["best"]) == list(table.idxmax(axis=1))
    assert list(best["value"]) == list(table.max(axis=1))
    assert (best["low"] <= best["high"]).all()
    long = found.to_frame()
    assert len(long) == 6 * 7 / 2
    row = long.set_index(["model", "tap", "other_model", "other_tap"]).loc[
        "<b>a</b>", "0", "b", "4"
    ]
    assert (row["value"], row["low"]) == (found.matrix[0, 5], found.low[0, 5])
    assert "&lt;b&gt;a" in found._repr_html_()
    assert "<b>" not in found._repr_html_()


def test_roles_of_one_layer_are_told_apart(demo, photos):
    found = vizkit.similarity(demo, photos, ["conv1_1:conv", "conv1_1:norm"])
    assert list(found.labels["tap"]) == ["conv1_1:conv", "conv1_1:norm"]
    assert list(found.labels["layer"]) == ["conv1_1"] * 2
    assert len(vizkit.similarity(demo, photos, ["stride8", "stride8"]).labels) == 1


def test_from_the_shell(folder, tmp_path, monkeypatch, capsys):
    """In this process: most of a real one's time goes into importing."""
    words = ["similarity", folder, "-m", "demo/vgg11,demo/vgg11_bn", "--device", "cpu", "--json",
             "-o", tmp_path / "all.csv", "--picture", tmp_path / "all.png"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["vizkit", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    rows = json.loads(capsys.readouterr().out)
    models = [vizkit.load(name, device="cpu") for name in ("demo/vgg11", "demo/vgg11_bn")]
    expected = vizkit.similarity(models, folder).to_frame()
    assert [row["value"] for row in rows] == pytest.approx(list(expected["value"]), abs=1e-9)
    assert len((tmp_path / "all.csv").read_text().splitlines()) == len(expected) + 1
    with Image.open(tmp_path / "all.png") as picture:
        assert picture.size[0] > 400
