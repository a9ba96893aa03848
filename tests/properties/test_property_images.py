"""Whatever the photo's size: the network sees what torchvision shows, and the box says where."""

import math

import numpy as np
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image
from property_settings import examples
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from vizkit.boxes import boxes_in_input
from vizkit.images import Transform, as_images, prepare

SIDES = st.integers(1, 130)
SIZES = st.tuples(SIDES, SIDES)
SEEDS = st.integers(0, 2**16)
INTERPOLATIONS = st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"])
SMALL = st.integers(4, 60)


def photo_of(size, seed):
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def as_torchvision(photo, resize, crop, interpolation):
    """Resize the shorter side and crop the centre, by torchvision."""
    resized = tv.resize(photo, [resize], InterpolationMode(interpolation))
    return np.asarray(tv.center_crop(resized, list(crop)))


@examples(120)
@given(SIZES, SMALL, st.tuples(SMALL, SMALL), INTERPOLATIONS, SEEDS)
def test_a_network_sees_what_torchvision_would_show_it(size, resize, crop, interpolation, seed):
    assume(max(crop) <= resize)
    photo = photo_of(size, seed)
    transform = Transform(crop, (resize, resize), interpolation=interpolation)
    expected = as_torchvision(photo, resize, crop, interpolation)
    assert np.array_equal(transform.view(photo), expected)


@examples(120)
@example((20, 20), 20, (20, 23), 0)
@given(SIZES, SMALL, st.tuples(SMALL, SMALL), SEEDS)
def test_also_where_the_crop_reaches_beyond_the_photo(size, resize, crop, seed):
    photo = photo_of(size, seed)
    expected = as_torchvision(photo, resize, crop, "bilinear")
    assert np.array_equal(Transform(crop, (resize, resize)).view(photo), expected)


@examples(120)
@given(SIZES, st.tuples(SMALL, SMALL), st.tuples(SMALL, SMALL))
def test_a_box_has_the_zoom_of_the_photo_and_its_centre(size, resize, crop):
    x0, y0, x1, y1 = Transform(crop, resize).box(size)
    width, height = size
    across, down = (x1 - x0) / crop[1], (y1 - y0) / crop[0]
    # the photo is scaled to whole pixels, and covers both sides of what it is resized to
    scaled = width / across, height / down
    assert all(math.isclose(each, round(each), abs_tol=1e-6) for each in scaled)
    assert min(round(scaled[0]) - resize[1], round(scaled[1]) - resize[0]) == 0
    ratio = max(resize[0] / height, resize[1] / width)
    assert abs(scaled[0] - max(1, ratio * width)) < 1 + 1e-6
    assert abs(scaled[1] - max(1, ratio * height)) < 1 + 1e-6
    # half a pixel of the crop may not be shared out
    assert abs((x0 + x1) / 2 - width / 2) <= across / 2 + 1e-6
    assert abs((y0 + y1) / 2 - height / 2) <= down / 2 + 1e-6
    for low, high, length, cut, whole in (
        (x0, x1, width, crop[1], round(scaled[0])),
        (y0, y1, height, crop[0], round(scaled[1])),
    ):
        inside = low >= -1e-9 and high <= length + 1e-9
        around = low <= 1e-9 and high >= length - 1e-9
        assert inside if cut <= whole else around


@examples(60)
@given(
    st.tuples(st.integers(30, 130), st.integers(30, 130)), st.integers(12, 60),
    st.tuples(SMALL, SMALL), st.booleans(),
)  # fmt: skip
def test_the_box_is_where_the_pixels_come_from(size, resize, crop, squash):
    assume(max(crop) <= resize)
    transform = Transform(crop, (resize, resize), squash=squash)
    for axis in (0, 1):
        ramp = np.linspace(0, 255, size[axis])
        plane = np.broadcast_to(ramp if axis == 0 else ramp[:, None], (size[1], size[0]))
        photo = Image.fromarray(np.repeat(plane[..., None].round().astype(np.uint8), 3, 2))
        seen = transform.view(photo)[..., 0].astype(float).mean(axis=axis)
        box = transform.box(size)
        start, stop = box[axis], box[axis + 2]
        zoom = (stop - start) / len(seen)
        places = start + (np.arange(len(seen)) + 0.5) * zoom - 0.5
        # away from the borders, which the filter of the resizing repeats
        inner = (places > 2 * max(zoom, 1)) & (places < size[axis] - 1 - 2 * max(zoom, 1))
        shown = places * 255 / (size[axis] - 1)
        assert (np.abs(seen - shown)[inner] <= 2.0).all()


@examples(60)
@given(SIZES, st.tuples(SMALL, SMALL), st.tuples(SMALL, SMALL), SEEDS)
def test_boxes_of_objects_are_moved_as_the_photo_is(size, resize, crop, seed):
    transform = Transform(crop, resize)
    _, seen = prepare(as_images(photo_of(size, seed)), transform)
    assert seen.boxes == (transform.box(size),)
    chance = np.random.default_rng(seed)
    xs, ys = np.sort(chance.uniform(0, size[0], 2)), np.sort(chance.uniform(0, size[1], 2))
    x0, y0, x1, y1 = transform.box(size)
    moved = [
        np.clip((edges - first) / (last - first) * length, 0, length)
        for edges, first, last, length in ((xs, x0, x1, crop[1]), (ys, y0, y1, crop[0]))
    ]
    (found,) = boxes_in_input([[(xs[0], ys[0], xs[1], ys[1])]], seen)
    if all(edges[0] < edges[1] for edges in moved):
        (xa, xb), (ya, yb) = moved
        np.testing.assert_allclose(found, [(xa, ya, xb, yb)], rtol=1e-9, atol=1e-9)
    else:
        assert found == []
    # what is shown of the whole photo is all of it that lies in the input
    (whole,) = boxes_in_input([[(0, 0, *size)]], seen)
    for low, high, length in (
        (whole[0][0], whole[0][2], crop[1]),
        (whole[0][1], whole[0][3], crop[0]),
    ):
        assert 0 <= low < high <= length


COLOURS = st.tuples(*[st.floats(-1, 1)] * 3)
SCALES = st.tuples(*[st.floats(0.02, 3)] * 3)


@examples(60)
@given(COLOURS, SCALES, SEEDS)
def test_every_pixel_survives_normalisation(mean, std, seed):
    transform = Transform((8, 32), (8, 32), mean, std)
    pixels = torch.from_numpy(np.random.default_rng(seed).permutation(256).astype(np.uint8))
    pixels = pixels.view(8, 32, 1).expand(8, 32, 3).contiguous()
    inputs = transform.normalize(pixels)
    exact = (pixels.double() / 255 - torch.tensor(mean, dtype=torch.float64)) / torch.tensor(
        std, dtype=torch.float64
    )
    torch.testing.assert_close(inputs.double(), exact.movedim(-1, 0), rtol=1e-5, atol=1e-5)
    assert np.array_equal(transform.denormalize(inputs), pixels.numpy())
