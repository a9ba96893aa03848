"""Whatever the names: classes are found, axes keep every order, files stay apart and in place."""

import random
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image
from property_settings import examples
from random_networks import Sketch
from random_steps import Conv

import vizkit
from vizkit.attribution.targets import resolve
from vizkit.errors import InputError
from vizkit.files import distinct, printable, slug
from vizkit.images import as_images
from vizkit.models import Classifier
from vizkit.models.accepting import as_classifiers
from vizkit.results import Tap
from vizkit.results.axis import align, in_order

TINY = Sketch((8, 8), (Conv(2, stride=2),))
NETWORK = TINY.network()
# also what is no text: bytes of file names that are not UTF-8
HARD = [
    "", ".", "..", "../up", "/etc/passwd", "a/b.jpg", "a\\b", "con", "NUL.txt", "a\x00b", " .",
    "\udcff.jpg", "line\nbreak", "x" * 300, "é" * 200, "a (2)", "a", "A", "a-2", "image 1",
]  # fmt: skip
ANY_TEXT = st.text(st.characters(), max_size=12) | st.sampled_from(HARD)


# ------------------------------------------------------------------------------------- axes


@st.composite
def networks_in_one_order(draw):
    """Networks that each have some of the layers of one hidden order."""
    count = draw(st.integers(1, 12))
    strides = sorted(draw(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=count, max_size=count)))
    chance = random.Random(draw(st.integers(0, 999)))
    names = [f"conv{n}" for n in chance.sample(range(100), count)]
    layers = list(zip(strides, names, strict=True))
    every = st.lists(st.booleans(), min_size=count, max_size=count)
    kept = draw(st.lists(every, min_size=1, max_size=4))
    return [[each for each, keep in zip(layers, own, strict=True) if keep] for own in kept]


def keeps_order(found, own):
    positions = [found.index(each) for each in own]
    return positions == sorted(positions)


@examples(150)
@given(networks_in_one_order(), st.randoms(use_true_random=False))
def test_every_network_keeps_its_own_order_on_a_common_axis(networks, chance):
    found = in_order(networks)
    assert sorted(found) == sorted({layer for own in networks for layer in own})
    assert all(keeps_order(found, own) for own in networks)
    shuffled = list(networks)
    chance.shuffle(shuffled)
    assert in_order(shuffled) == found, "whichever network comes first"


@examples(60)
@given(networks_in_one_order(), st.randoms(use_true_random=False))
def test_networks_that_contradict_each_other_still_have_all_their_layers(networks, chance):
    turned = [*networks, chance.sample(networks[0], len(networks[0]))]
    found = in_order(turned)
    assert sorted(found) == sorted({layer for own in networks for layer in own})


@examples(80)
@given(networks_in_one_order())
def test_an_axis_has_a_place_for_every_tap(networks):
    taps = {
        f"model {n}": [Tap(name, name, "conv", stride, 4) for stride, name in own]
        for n, own in enumerate(networks)
    }
    axis = align(taps)
    for model, own in taps.items():
        assert list(axis.taps[model].values()) == own
        assert keeps_order(list(axis.places), list(axis.taps[model]))
    used = {place for each in axis.taps.values() for place in each}
    assert used == set(axis.places)
    assert len(axis.places) == len(used)
    frame = axis.to_frame()
    assert frame.notna().sum(axis=1).tolist() == [len(own) for own in taps.values()]


# ---------------------------------------------------------------------------------- targets


def classifier_with(classes):
    return Classifier("a net", NETWORK, None, tuple(classes), (), "here")


@examples(50)
@given(
    st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=6, unique_by=str.lower),
    st.integers(1, 4), st.lists(st.integers(0, 20), min_size=1, max_size=5), st.integers(0, 999),
)  # fmt: skip
def test_targets_are_the_classes_that_are_meant(classes, images, picks, seed):
    assume(not any(re.fullmatch(r"top\d+", name) for name in classes))
    classifier = classifier_with(classes)
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(images, len(classes))))
    wanted = [pick % len(classes) for pick in picks]
    row = [wanted] * images
    names = [classes[n] for n in wanted]
    mixed = [names[i] if n % 2 else n for i, n in enumerate(wanted)]
    for given_targets in (wanted, names, mixed, tuple(wanted), np.array(wanted), torch.tensor(row)):
        assert resolve(given_targets, logits, classifier).tolist() == row
    assert resolve(names[0], logits, classifier).tolist() == [[wanted[0]]] * images
    assert resolve(None, logits, classifier)[:, 0].tolist() == logits.argmax(dim=1).tolist()
    k = 1 + seed % len(classes)
    ranked = np.argsort(-logits.numpy(), axis=1)[:, :k]
    assert resolve(f"top{k}", logits, classifier).tolist() == ranked.tolist()


@examples(60)
@given(
    st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=6, unique=True),
    st.integers() | ANY_TEXT | st.floats() | st.binary(max_size=3) | st.booleans(),
)
def test_what_is_no_class_is_refused_by_its_name(classes, target):
    known = range(len(classes)) if isinstance(target, int) else [name.lower() for name in classes]
    named = isinstance(target, str) and (target.lower() in known or re.fullmatch(r"top\d+", target))
    number = isinstance(target, int) and not isinstance(target, bool) and target in known
    assume(not named and not number)
    with pytest.raises(InputError, match="unknown"):
        resolve(target, torch.zeros(1, len(classes)), classifier_with(classes))


# ------------------------------------------------------------------------------------ names

RESERVED = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(10))}


@examples(200)
@given(ANY_TEXT)
def test_whatever_is_printed_is_one_line_of_utf_8(text):
    shown = printable(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert len(shown.splitlines()) <= 1
    assert not any(ord(letter) < 32 or ord(letter) == 127 for letter in shown)
    assert printable(shown) == shown
    if text.isprintable() and text.isascii():
        assert shown == text


@examples(200)
@given(ANY_TEXT)
def test_a_slug_is_a_name_of_a_file_in_its_folder_on_any_system(text):
    name = slug(text)
    assert name
    assert name not in {".", ".."}
    assert not set(name) & set('/\\:*?"<>|\x00')
    assert len(f".{name}-dark.png.partial".encode()) <= 255
    assert name.split(".")[0].lower() not in RESERVED
    assert not name.endswith((" ", "."))
    assert (Path("/some/folder") / f"{name}.png").parent == Path("/some/folder")
    if len(name.encode()) <= 160:
        assert slug(name) == name, "once is enough"


@examples(60)
@given(st.text("abcXYZ019_-é ", min_size=1, max_size=40), st.integers(100, 400))
def test_a_slug_is_the_name_itself_where_it_can_be_and_long_ones_stay_apart(text, length):
    plain = f"a{text}b"
    assert slug(plain) == plain
    long = plain * length
    assert len({slug(long + end) for end in ("", "a", "b")}) == 3


@examples(100)
@given(st.lists(ANY_TEXT, max_size=8))
def test_names_that_occur_again_are_kept_apart(names):
    found = distinct([slug(name) for name in names], "{}-{}", str.casefold)
    assert len({name.casefold() for name in found}) == len(names)
    for n, name in enumerate(names):
        own = slug(name)
        if own.casefold() not in {slug(each).casefold() for each in names[:n]}:
            taken = {each.casefold() for each in found[:n]}
            assert found[n] == own or own.casefold() in taken


@examples(100)
@given(st.lists(ANY_TEXT, min_size=1, max_size=8))
def test_images_have_names_of_their_own(names):
    photos = [Image.new("RGB", (1, 1), (n, 0, 0)) for n in range(len(names))]
    for photo, name in zip(photos, names, strict=True):
        photo.filename = name
    images = as_images(photos)
    found = [photo.name for photo in images]
    assert len(set(found)) == len(names)
    assert [photo.image for photo in images] == photos
    assert all(printable(name) == name for name in found)
    assert as_images(images) is images


NAMES = st.lists(st.sampled_from(["a", "a (2)", "a (2) (2)", "b"]), min_size=1, max_size=6)


@examples(60)
@example(["a", "a", "a (2)"])
@given(NAMES)
def test_models_have_names_of_their_own(names):
    made = [Classifier(name, NETWORK, None, (), (), "here") for name in names]
    found = [each.name for each in as_classifiers(made)]
    assert len(set(found)) == len(names)


ALIKE = st.sampled_from(["a", "A.jpg", "x/a.png", "a-2", "", "image"])


@examples(12)
@example(["a.jpg", "x/a.png", "A"])
@given(st.lists(ANY_TEXT | ALIKE, min_size=1, max_size=5, unique=True))
def test_exported_files_lie_in_their_folder_one_for_each_image(names):
    photos = {name: Image.new("RGB", (8, 8), (20 * n, 0, 0)) for n, name in enumerate(names)}
    with TemporaryDirectory() as root:
        folder = Path(root) / "maps"
        found = vizkit.export_attributions(TINY.classifier(), photos, folder, pictures=False)
        assert {path.parent for path in found.files} == {folder}
        assert len(found.files) == len(set(found.files)) == len(names)
        assert sorted(folder.iterdir()) == sorted(found.files)
        assert list(Path(root).iterdir()) == [folder]
        for path in found.files:
            with np.load(path) as arrays:
                assert arrays["Random/grad_cam/last"].shape == (1, 3, 3)
