"""One reader for several networks: what each sees is what `capture` would have given it."""

import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vizkit
from vizkit.errors import InputError, VizkitError
from vizkit.images import Transform, as_images, prepare
from vizkit.streaming import labels_of, stream, workers_for

SMALL = Transform(size=(32, 40), resize=(36, 44))
LARGE = Transform(size=(48, 48), resize=(48, 48), mean=(0.5,) * 3, std=(0.5,) * 3)


def a_model(transform=SMALL, name="net", dtype=torch.float32):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return vizkit.wrap(net.to(dtype), name=name, transform=transform)


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for i in range(11):
        label = tmp_path / "photos" / ("cat", "dog", "fox")[i % 3]
        label.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (40 + i, 60 - i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(label / f"{i}.{'png' if i % 2 else 'jpg'}")
    return tmp_path / "photos"


def inputs_of(batches, model=0):
    return torch.cat([batch.inputs[model] for batch in batches if batch.positions])


def halved(photo):
    """A user's own transform."""
    pixels = np.asarray(photo.resize((20, 24)), dtype=np.float32)
    return torch.from_numpy(pixels).movedim(-1, 0) / 510


@pytest.mark.parametrize("transform", [SMALL, LARGE, halved], ids=["small", "large", "own"])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_inputs_are_those_of_prepare_to_the_last_bit(folder, transform, workers):
    images = as_images(folder)
    expected, _ = prepare(images, transform)
    model = a_model(transform)
    batches = list(stream([model], images, size=4, workers=workers))
    assert [batch.number for batch in batches] == [0, 1, 2]
    assert [batch.positions for batch in batches] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10)]
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert torch.equal(inputs_of(batches), expected)
    assert all(batch.failed == {} for batch in batches)


def test_inputs_are_those_of_capture(demo):
    photos = vizkit.samples()
    batches = list(stream([demo], as_images(photos), size=2))
    assert torch.equal(inputs_of(batches), vizkit.capture(demo, photos).inputs)


def assert_seen_as(own, expected):
    """The same as `prepare` gives, but for the photos themselves."""
    assert own.names == expected.names
    assert own.pixels.dtype == expected.pixels.dtype == np.uint8
    assert np.array_equal(own.pixels, expected.pixels)
    assert own.boxes == expected.boxes
    assert own.transform == expected.transform
    assert own.originals == (None,) * len(expected)
    assert len(own) == len(expected)


@pytest.mark.parametrize("transform", [SMALL, LARGE, halved], ids=["small", "large", "own"])
def test_what_was_seen_is_that_of_prepare(folder, transform):
    images = as_images(folder)
    models = [a_model(LARGE), a_model(transform)]
    for batch in stream(models, images, size=4):
        part = images[batch.positions[0] : batch.positions[-1] + 1]
        assert_seen_as(batch.seen(1, models[1], images), prepare(part, transform)[1])


def test_what_was_seen_leaves_out_what_could_not_be_read(folder):
    images = as_images(folder)
    images.photos[1].path.write_bytes(b"no image")
    model = a_model()
    batch = next(iter(stream([model], images, size=4)))
    good = vizkit.images.Images(tuple(images.photos[n] for n in (0, 2, 3)))
    assert_seen_as(batch.seen(0, model, images), prepare(good, SMALL)[1])


@pytest.mark.parametrize("transform", [SMALL, halved], ids=["small", "own"])
def test_what_was_seen_of_tensors_is_that_of_prepare(transform):
    pixels = torch.randn(5, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    images, model = as_images(pixels), a_model(transform)
    batches = list(stream([model], images, size=3))
    for batch, part in zip(batches, (images[:3], images[3:]), strict=True):
        assert_seen_as(batch.seen(0, model, images), prepare(part, transform)[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_was_seen_in_half_precision_is_off_by_a_level_at_most(folder, dtype):
    images, model = as_images(folder), a_model(SMALL, dtype=dtype)
    batch = next(iter(stream([model], images, size=11)))
    expected = prepare(images, SMALL)[1].pixels.astype(int)
    assert np.abs(batch.seen(0, model, images).pixels.astype(int) - expected).max() <= 1


def test_networks_of_one_transform_share_one_tensor(folder):
    same = Transform(size=(32, 40), resize=(36, 44))
    models = [a_model(SMALL), a_model(LARGE), a_model(same), a_model(SMALL, dtype=torch.float64)]
    images = as_images(folder)
    for batch in stream(models, images, size=6):
        small, large, again, double = batch.inputs
        assert again is small
        assert large.shape[-2:] == (48, 48)
        assert double.dtype == torch.float64
        assert torch.equal(double, small.double())
        part = images[batch.positions[0] : batch.positions[-1] + 1]
        assert torch.equal(small, prepare(part, SMALL)[0])
        assert torch.equal(large, prepare(part, LARGE)[0])


def test_every_file_is_read_once_for_all_networks(folder, monkeypatch):
    import vizkit.images.photos

    seen = []
    read = vizkit.images.photos.read
    monkeypatch.setattr(vizkit.images.photos, "read", lambda path: seen.append(path) or read(path))
    images = as_images(folder)
    models = [a_model(SMALL), a_model(LARGE), a_model(halved)]
    batches = list(stream(models, images, size=4, workers=0))
    assert seen == [photo.path for photo in images]
    assert sum(len(batch.positions) for batch in batches) == 11


def test_files_are_read_when_their_turn_comes(folder, monkeypatch):
    import vizkit.images.photos

    seen = []
    read = vizkit.images.photos.read
    monkeypatch.setattr(vizkit.images.photos, "read", lambda path: seen.append(path) or read(path))
    batches = stream([a_model()], as_images(folder), size=4, workers=0)
    assert seen == []
    next(batches)
    assert len(seen) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_files_leave_gaps(folder, workers):
    images = as_images(folder)
    bad = [0, 5, 8, 9, 10]
    for n in bad:
        path = images.photos[n].path
        path.write_bytes(path.read_bytes()[:60] if n % 2 else b"no image")
    batches = list(stream([a_model()], images, size=4, workers=workers))
    assert [batch.positions for batch in batches] == [(1, 2, 3), (4, 6, 7), ()]
    assert [len(batch) for batch in batches] == [4, 4, 3]
    failed = {file: reason for batch in batches for file, reason in batch.failed.items()}
    assert list(failed) == [str(images.photos[n].path) for n in bad]
    assert all(reason.startswith(file) for file, reason in failed.items())
    good = vizkit.images.Images(tuple(p for n, p in enumerate(images) if n not in bad))
    assert torch.equal(inputs_of(batches), prepare(good, SMALL)[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_only_some_batches(folder, workers):
    images = as_images(folder)
    whole = {batch.number: batch for batch in stream([a_model()], images, size=3)}
    for only in ([2, 0], [3], [], range(1, 4, 2)):
        batches = list(stream([a_model()], images, size=3, workers=workers, only=only))
        assert [batch.number for batch in batches] == list(only)
        for batch in batches:
            assert batch.positions == whole[batch.number].positions
            assert torch.equal(batch.inputs[0], whole[batch.number].inputs[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_random_numbers_are_left_alone(folder, workers):
    model = a_model()
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    list(stream([model], as_images(folder), size=4, workers=workers))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]


def test_tensors_pass_as_they_are():
    pixels = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    batches = list(stream([a_model(), a_model(LARGE)], as_images(pixels), size=2))
    assert torch.equal(inputs_of(batches, 0), pixels)
    assert torch.equal(inputs_of(batches, 1), pixels)


def test_photos_and_tensors_together():
    photo = vizkit.samples()["rocket"]
    images = as_images([torch.zeros(3, 32, 40), photo, torch.ones(3, 32, 40)])
    batches = list(stream([a_model()], images))
    assert torch.equal(inputs_of(batches), prepare(images, SMALL)[0])


def test_a_gradient_is_not_followed_back_into_the_inputs():
    pixels = torch.randn(1, 3, 16, 16, requires_grad=True)
    assert not next(stream([a_model()], as_images(pixels))).inputs[0].requires_grad


def test_a_transform_that_gives_bytes_is_taken_as_it_is():
    photo = vizkit.samples()["rocket"]
    model = a_model(lambda image: torch.from_numpy(np.array(image.resize((8, 8)))).movedim(-1, 0))
    given = next(stream([model], as_images(photo))).inputs[0]
    assert given.dtype == torch.float32
    assert torch.equal(given, prepare(as_images(photo), model.transform)[0].float())


def test_what_cannot_be_used(folder):
    images = as_images(folder)
    with pytest.raises(InputError, match="batch_size must be a whole number"):
        next(stream([a_model()], images, size=0))
    for workers in (-1, 1.5, True):
        with pytest.raises(InputError, match="workers must be a whole number"):
            next(stream([a_model()], images, workers=workers))
    with pytest.raises(InputError, match="one shape"):
        next(stream([a_model()], as_images([torch.zeros(3, 8, 8), torch.zeros(3, 9, 9)])))
    for own in (lambda image: image, lambda _: torch.zeros(8, 8)):
        with pytest.raises(InputError, match="must give a"):
            next(stream([a_model(own)], images))
    own = a_model(lambda image: torch.zeros(3, image.height, image.width))
    with pytest.raises(InputError, match="one shape"):
        next(stream([own], images))


def failing(_photo):
    """A user's own transform that gives no tensor."""
    return


def deadly(_photo):
    """A transform that the system kills for its memory."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_are_the_same_from_another_process(folder, workers):
    with pytest.raises(InputError) as caught:
        list(stream([a_model(failing)], as_images(folder), workers=workers))
    assert str(caught.value) == "the transform must give a (3, H, W) tensor, not NoneType"


def test_a_reader_that_was_killed(folder):
    with pytest.raises(VizkitError, match=r"was killed \(out of memory.*--workers 0"):
        list(stream([a_model(deadly)], as_images(folder), workers=1))


def test_a_reader_that_is_killed_while_the_caller_works(folder):
    before = set(multiprocessing.active_children())
    batches = stream([a_model()], as_images(folder), size=1, workers=1)
    next(batches)
    (reader,) = set(multiprocessing.active_children()) - before
    os.kill(reader.pid, signal.SIGKILL)
    # the signal comes meanwhile, and must not break into whatever the caller does
    time.sleep(0.5)
    with pytest.raises(VizkitError, match="was killed"):
        list(batches)


def test_photos_too_long_to_be_scaled_are_left_out(folder):
    Image.new("1", (1, 70_000)).save(folder / "cat" / "long.png")
    images = as_images(folder)
    (batch,) = stream([a_model()], images)
    ((file, reason),) = batch.failed.items()
    assert reason.startswith(f"{file}: a photo of 1 x 70000 px is too long")
    assert len(batch.positions) == 11
    with pytest.raises(InputError, match="too long"):
        list(stream([a_model()], as_images(Image.new("RGB", (1, 70_000)))))


def test_classes_are_the_folders(folder):
    images = as_images(folder)
    labels = labels_of(images)
    assert labels == tuple(photo.path.parent.name for photo in images)
    assert sorted(set(labels)) == ["cat", "dog", "fox"]
    (folder / "cat" / "deep").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "cat" / "deep" / "a.png")
    assert labels_of(as_images(folder))[0] == "cat"
    assert labels_of(as_images(folder / "dog")) is None
    assert labels_of(as_images(vizkit.samples())) is None
    assert labels_of(as_images(torch.zeros(2, 3, 8, 8))) is None
    Image.new("RGB", (9, 9)).save(folder / "loose.png")
    assert labels_of(as_images(folder)) is None


def test_workers_are_chosen(folder, monkeypatch):
    few = as_images(folder)
    many = as_images([str(few.photos[0].path)] * 100)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(16))
    assert workers_for(few) == 0
    assert workers_for(many) == workers_for(many, [SMALL]) == 4
    assert workers_for(many, [SMALL, halved]) == 0
    assert workers_for(as_images(torch.zeros(100, 3, 8, 8))) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert workers_for(many) == 1
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(1))
    assert workers_for(many) == 1
