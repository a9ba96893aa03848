"""Every kind of image comes out upright, 8-bit RGB, and as torchvision and timm would feed it."""

import io
import os

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageOps
from timm.data import create_transform, resolve_model_data_config
from torchvision import transforms

import vizkit
from vizkit.errors import InputError
from vizkit.images import Images, Transform, as_images, photos_in, prepare, read, readable, to_rgb
from vizkit.models import timm_transform

PLAIN = Transform((32, 32), (36, 36))


def pattern(width=24, height=16):
    """No two corners alike: red, green, blue and white quarters."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 255)
    return pixels


def noise(width, height, seed=0):
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    )


# how a camera stored the picture, by EXIF orientation: what must be done to the upright one
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p.transpose(1, 0, 2)[::-1],
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: p.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_exif_orientation_is_applied(orientation, kind, tmp_path):
    upright = pattern()
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a.{kind}", exif=exif, **({"quality": 100} if kind == "jpg" else {}))
    found = np.asarray(read(tmp_path / f"a.{kind}")).astype(int)
    assert found.shape == upright.shape
    assert np.abs(found - upright)[2:6, 2:10].max() < 30
    assert np.abs(found - upright)[10:14, 14:22].max() < 30


@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_turning_gives_pillow_s_own_pixels(orientation):
    exif, data = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    noise(23, 17).save(data, "JPEG", exif=exif)
    with Image.open(data) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    with Image.open(data) as image:
        assert np.array_equal(np.asarray(to_rgb(image)), expected)


def test_a_turned_photo_with_another_tag_of_the_wrong_type(tmp_path):
    exif, data = Image.Exif(), io.BytesIO()
    exif[0x0112], exif[0x010E] = 6, "hi"
    noise(24, 16).save(data, "JPEG", exif=exif)
    mistyped = data.getvalue().replace(b"\x01\x0e\x00\x02", b"\x01\x00\x00\x02")
    (tmp_path / "a.jpg").write_bytes(mistyped)
    assert read(tmp_path / "a.jpg").size == (16, 24)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("tag"), r"a\.png: damaged or unreadable \('tag'\)"),
        (AssertionError(), r"a\.png: damaged or unreadable \(AssertionError\)"),
        (MemoryError(), r"a\.png: unreadable in the memory"),
    ],
)
def test_whatever_pillow_raises_the_file_is_named(error, message, tmp_path, monkeypatch):
    noise(9, 9).save(tmp_path / "a.png")

    def failing(_image):
        raise error

    monkeypatch.setattr("vizkit.images.decoding.to_rgb", failing)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.png")


def test_modes_come_out_as_rgb(tmp_path):
    grey = np.linspace(0, 255, 24 * 16).astype(np.uint8).reshape(16, 24)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(np.asarray(read(tmp_path / "grey.png")), np.stack([grey] * 3, -1))

    sixteen = grey.astype(np.uint16) * 257
    Image.fromarray(sixteen).save(tmp_path / "sixteen.png")
    Image.fromarray(sixteen).save(tmp_path / "sixteen.tif")
    for name in ("sixteen.png", "sixteen.tif"):
        assert np.array_equal(np.asarray(read(tmp_path / name))[..., 0], grey), name

    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float.tif")
    assert np.abs(np.asarray(read(tmp_path / "float.tif"))[..., 0].astype(int) - grey).max() <= 1

    rgb = Image.fromarray(pattern())
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    centre = np.asarray(read(tmp_path / "cmyk.jpg"))[4, 6].astype(int)
    assert np.abs(centre - [255, 0, 0]).max() < 12

    Image.fromarray(grey > 127).save(tmp_path / "one.png")
    assert set(np.asarray(read(tmp_path / "one.png")).ravel()) == {0, 255}

    rgb.quantize(8).save(tmp_path / "palette.png")
    assert np.array_equal(np.asarray(read(tmp_path / "palette.png")), pattern())


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (200, 100, 0, 255)
    pixels[2:] = (0, 0, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    found = np.asarray(read(tmp_path / "rgba.png"))
    assert (found[:2] == (200, 100, 0)).all()
    assert (found[2:] == 255).all()
    Image.fromarray(pixels).convert("LA").save(tmp_path / "la.png")
    assert (np.asarray(read(tmp_path / "la.png"))[2:] == 255).all()
    palette = Image.fromarray(pixels[..., :3]).quantize(4)
    palette.info["transparency"] = palette.getpixel((0, 3))
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((0, 3)))
    assert (np.asarray(read(tmp_path / "p.png"))[2:] == 255).all()


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(read(tmp_path / "a.gif"))[0, 0].tolist() == [255, 0, 0]


def test_what_is_no_image_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(InputError, match=r"text\.jpg: not an image"):
        read(tmp_path / "text.jpg")
    noise(200, 200).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cut\.jpg: damaged"):
        read(tmp_path / "cut.jpg")
    noise(200, 200).save(tmp_path / "whole.png")
    data = bytearray((tmp_path / "whole.png").read_bytes())
    data[200:260] = bytes(60)
    (tmp_path / "broken.png").write_bytes(data)
    with pytest.raises(InputError, match=r"broken\.png"):
        read(tmp_path / "broken.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.png"):
        read(tmp_path / "empty.png")
    with pytest.raises(InputError, match="missing"):
        read(tmp_path / "missing.png")
    for limit in (15_000, 30_000):
        # above twice the limit Pillow refuses, above the limit it warns: both are refused here
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(InputError, match=r"whole\.png: .*decompression bomb"):
            read(tmp_path / "whole.png")


def test_folders_are_read_in_order_and_recursively(tmp_path):
    for name in ("b.PNG", "a/z.jpg", "a/c.JPEG", "notes.txt", ".hidden"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix.lower() in {".png", ".jpg", ".jpeg"}:
            noise(9, 9).save(path, format="PNG" if "PNG" in name else "JPEG")
        else:
            path.write_text("x")
    names = [photo.name for photo in as_images(tmp_path)]
    assert names == ["a/c.JPEG", "a/z.jpg", "b.PNG"]
    assert [p.name for p in as_images([tmp_path / "b.PNG", str(tmp_path / "a")])] == [
        "b.PNG", "c.JPEG", "z.jpg",
    ]  # fmt: skip


def test_links_are_followed_and_hidden_things_are_not_photos(tmp_path):
    root, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    hidden = [".ipynb_checkpoints/x.png", "__MACOSX/x.png", "a/.b/x.png", "a/._x.png"]
    for path in [root / "a/1.png", elsewhere / "deep/2.png", *(root / name for name in hidden)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(9, 9).save(path)
    (root / "b").symlink_to(elsewhere)
    (root / "c").symlink_to(elsewhere)
    (elsewhere / "round").symlink_to(elsewhere)
    (root / "a/back").symlink_to(root)
    (root / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (root / "gone").symlink_to(tmp_path / "nowhere")
    (root / "itself.jpg").symlink_to(root / "itself.jpg")
    os.mkfifo(root / "pipe.jpg")
    images = as_images(root)
    names = ["a/1.png", "b/deep/2.png", "c/deep/2.png", "gone.jpg", "itself.jpg"]
    assert [photo.name for photo in images] == names
    good, failed = readable(images)
    assert len(good) == 3
    assert list(failed) == [str(root / name) for name in names[3:]]
    # a hidden folder is read if it is the one that was asked for
    assert [photo.name for photo in as_images(root / ".ipynb_checkpoints")] == ["x.png"]


def test_photos_are_sorted_as_paths_are(tmp_path):
    for name in ("a-b/1.png", "a/2.png", "a.png", "a/b/3.png", "B/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert photos_in(tmp_path) == sorted(p for p in tmp_path.rglob("*.png"))


def test_a_folder_that_cannot_be_opened_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    noise(9, 9).save(tmp_path / "a.png")
    opened = os.scandir

    def refusing(path):
        if "locked" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(InputError, match=r"locked: the folder cannot be opened \(Permission"):
        as_images(tmp_path)


def test_names_that_are_not_utf_8_can_be_printed(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    path.write_bytes(b"no image")
    (photo,) = as_images(tmp_path)
    assert (photo.name, photo.path) == ("caf\\udce9.jpg", path)
    _, failed = readable(as_images(tmp_path))
    for text in (*failed, *failed.values()):
        assert r"caf\udce9.jpg" in text
        assert text.encode()
    noise(9, 9).save(path, "PNG")
    assert read(path).size == (9, 9)


def test_every_kind_and_its_name(tmp_path):
    photo = noise(40, 30)
    photo.save(tmp_path / "p.png")
    array = np.asarray(photo)
    kinds = [
        tmp_path / "p.png",
        str(tmp_path / "p.png"),
        photo,
        array,
        Image.open(tmp_path / "p.png"),
    ]
    inputs, seen = prepare(as_images(kinds), PLAIN)
    assert inputs.shape == (5, 3, 32, 32)
    assert all(torch.equal(inputs[0], each) for each in inputs)
    path = str(tmp_path / "p.png")
    assert seen.names == (path, f"{path} (2)", "image 3", "image 4", "p.png")
    kinds[-1].close()
    named = as_images({"cat": photo, "dog": array})
    assert [p.name for p in named] == ["cat", "dog"]
    again = as_images(named)
    assert again is named
    grey, _ = prepare(as_images(array[..., 0]), PLAIN)
    assert torch.allclose(grey[0, 0] * 0.229 + 0.485, grey[0, 1] * 0.224 + 0.456, atol=1e-6)
    deep, _ = prepare(as_images(array.astype(np.uint16) * 257), PLAIN)
    assert torch.equal(deep, inputs[:1])


def test_tensors_are_taken_as_they_are():
    tensor = torch.randn(2, 3, 20, 25)
    inputs, seen = prepare(as_images(tensor), PLAIN)
    assert torch.equal(inputs, tensor)
    assert seen.pixels.shape == (2, 20, 25, 3)
    assert seen.originals == (None, None)
    assert "25 x 20" in seen.transform
    assert len(as_images(tensor[0])) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "the list is empty"),
        (None, "cannot read an image from NoneType"),
        (7, "cannot read an image from int"),
        ("missing.jpg", "no such image: missing.jpg"),
        (np.zeros((4, 4, 3)), "must be uint8"),
        (np.zeros((4, 4, 2), np.uint8), "must be uint8"),
        (torch.zeros(4, 4), "a tensor image must be float"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "a tensor image must be float"),
        (torch.full((3, 4, 4), float("nan")), "NaN or infinity"),
    ],
)
def test_what_cannot_be_an_image(value, message):
    with pytest.raises(InputError, match=message):
        as_images(value)


def test_an_empty_folder_and_mixed_sizes(tmp_path):
    with pytest.raises(InputError, match="no images in"):
        as_images(tmp_path)
    with pytest.raises(InputError, match="share one shape"):
        prepare(as_images([torch.zeros(3, 8, 8), torch.zeros(3, 9, 9)]), PLAIN)


SIZES = [(500, 375), (375, 500), (176, 176), (33, 97), (1, 50), (50, 1), (20, 20), (129, 128),
         (1023, 767), (31, 32)]  # fmt: skip


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES)
def test_it_feeds_what_torchvision_would(size, interpolation):
    photo = noise(*size)
    ours = Transform((32, 32), (36, 36), interpolation=interpolation)
    theirs = transforms.Compose(
        [
            transforms.Resize(36, transforms.InterpolationMode(interpolation)),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(ours.mean, ours.std),
        ]
    )
    if min(size) * 36 < 1:
        pytest.skip("nothing left")
    assert torch.allclose(ours(photo), theirs(photo), atol=1e-6)


@pytest.mark.parametrize("name", ["vgg11", "ese_vovnet19b_dw"])
@pytest.mark.parametrize("size", [(500, 375), (333, 500), (224, 224), (300, 301)])
def test_it_feeds_what_timm_would(name, size):
    with torch.device("meta"):
        model = timm.create_model(name)
    photo = noise(*size)
    theirs = create_transform(**resolve_model_data_config(model), is_training=False)
    assert torch.allclose(timm_transform(model)(photo), theirs(photo), atol=1e-6)


def test_vovnet_at_its_test_size():
    with torch.device("meta"):
        model = timm.create_model("ese_vovnet19b_dw")
    config = resolve_model_data_config(model, use_test_size=True)
    ours = Transform((288, 288), (303, 303), interpolation="bicubic")
    photo = noise(500, 375)
    assert torch.allclose(
        ours(photo), create_transform(**config, is_training=False)(photo), atol=1e-6
    )


@pytest.mark.parametrize("size", [(400, 200), (200, 400), (177, 211), (90, 60)])
def test_the_box_is_where_the_network_looked(size):
    transform = Transform((64, 64), (72, 72))
    width, height = size
    x0, y0, x1, y1 = transform.box(size)
    marked = np.zeros((height, width, 3), np.uint8)
    # a mark in the middle of the upper left quarter of what is seen
    cx, cy = x0 + (x1 - x0) / 4, y0 + (y1 - y0) / 4
    r = max(2, round((x1 - x0) / 16))
    marked[round(cy) - r : round(cy) + r, round(cx) - r : round(cx) + r] = 255
    view = transform.view(Image.fromarray(marked))[..., 0].astype(float)
    ys, xs = np.nonzero(view > 127)
    assert xs.mean() == pytest.approx(15.5, abs=1.2)
    assert ys.mean() == pytest.approx(15.5, abs=1.2)


def test_pixels_survive_normalisation():
    every = torch.arange(256, dtype=torch.uint8).view(16, 16, 1).expand(16, 16, 3)
    assert np.array_equal(PLAIN.denormalize(PLAIN.normalize(every)), every.numpy())


def test_a_user_s_own_transform():
    own = transforms.Compose([transforms.Resize((20, 30)), transforms.ToTensor()])
    inputs, seen = prepare(as_images(noise(50, 40)), own)
    assert inputs.shape == (1, 3, 20, 30)
    assert seen.pixels.shape == (1, 20, 30, 3)
    assert seen.boxes == ((0.0, 0.0, 50.0, 40.0),)
    with pytest.raises(InputError, match=r"must give a \(3, H, W\) tensor"):
        prepare(as_images(noise(50, 40)), transforms.Compose([transforms.Grayscale(),
                                                              transforms.ToTensor()]))  # fmt: skip


def test_a_photo_too_long_to_be_scaled():
    with pytest.raises(InputError, match="1 x 10000 px is too long and narrow"):
        Transform().view(Image.new("RGB", (1, 10_000)))
    assert Transform().view(Image.new("RGB", (10, 10_000))).shape == (224, 224, 3)
    assert Transform(squash=True).view(Image.new("RGB", (1, 10_000))).shape == (224, 224, 3)


def test_unknown_interpolation():
    with pytest.raises(InputError, match="did you mean 'bicubic'"):
        Transform(interpolation="bicubik")


def test_a_transform_is_the_same_however_its_numbers_are_given():
    plain = Transform((32, 40), (36, 44), (0.5, 0.0, 1.0), (0.25,) * 3)
    other = Transform([32, np.int64(40)], np.array([36, 44]), [0.5, 0, 1], np.full(3, 0.25))
    assert other == plain
    assert hash(other) == hash(plain)
    assert repr(other) == repr(plain)


def test_one_mean_for_all_channels():
    photo = Image.new("RGB", (40, 40), (10, 20, 30))
    one, three = (Transform(mean=(0.5,) * n, std=(0.2,) * n)(photo) for n in (1, 3))
    assert torch.equal(one, three)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size": 224}, "size must be two numbers, not 224"),
        ({"size": (224, 224, 3)}, "size must be two numbers"),
        ({"size": (224, 0)}, "size must be a whole number of at least 1, not 0"),
        ({"resize": (256, 256.0)}, r"resize must be a whole number of at least 1, not 256\.0"),
        ({"resize": (10**6, 10**6)}, "resize must be at most 65535"),
        ({"mean": (0.5, 0.5)}, "mean must be three numbers, or one"),
        ({"mean": (0.5, 0.5, float("nan"))}, "mean must be a finite number, not nan"),
        ({"std": (0.5, 0, 0.5)}, "std must be a number above 0, not 0"),
        ({"std": (0.5,)}, "mean and std must go together: 3 and 1 numbers"),
        ({"squash": "no"}, "squash must be True or False, not 'no'"),
    ],
)
def test_a_transform_that_no_photo_could_pass(values, said):
    with pytest.raises(InputError, match=said):
        Transform(**values)


def test_samples_are_photos():
    found = vizkit.samples()
    assert {"astronaut", "chelsea", "coffee", "motorcycle", "rocket"} == set(found)
    assert all(photo.mode == "RGB" and min(photo.size) >= 300 for photo in found.values())


def test_reading_leaves_the_given_image_alone():
    photo = noise(20, 20).convert("RGBA")
    before = photo.tobytes()
    to_rgb(photo)
    assert photo.mode == "RGBA"
    assert photo.tobytes() == before


def test_tiff_with_several_pages(tmp_path):
    pages = [Image.new("L", (8, 8), value) for value in (10, 200)]
    pages[0].save(tmp_path / "t.tif", save_all=True, append_images=pages[1:])
    with Image.open(tmp_path / "t.tif") as tiff:
        assert tiff.n_frames == 2
    assert np.asarray(read(tmp_path / "t.tif"))[0, 0, 0] == 10


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_once(tmp_path, kind, orientation):
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:8, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{kind}"
    Image.fromarray(pixels).save(path, exif=exif)
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    once = read(path)
    assert np.array_equal(np.asarray(once), expected)
    assert np.array_equal(np.asarray(to_rgb(once)), expected)
    whole = vizkit.Transform(expected.shape[:2], expected.shape[:2], interpolation="nearest")
    assert np.array_equal(whole.view(once), expected)


def test_names_that_look_like_numbered_ones_stay_apart():
    photo = noise(9, 9)
    named = as_images([{"x": photo}, {"x (2)": photo}, {"x": photo}, {"x": photo}])
    assert [each.name for each in named] == ["x", "x (2)", "x (3)", "x (4)"]
    assert as_images(named) is named
    again = as_images(Images((*named.photos[:1], *named.photos[:1])))
    assert [each.name for each in again] == ["x", "x (2)"]
