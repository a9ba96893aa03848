"""What may lie where a photo should be: it is read as it looks, or refused in words, at once."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image
from wrecks import ANNEX, LFS, PAGES, deep_rgb, encoded, frames, kinds, photo, png

import vizkit
from vizkit.errors import InputError
from vizkit.images import as_images, photos_in, read, readable
from vizkit.provenance import photo_hash

FILES = kinds()


@pytest.fixture(autouse=True)
def _at_once():
    """Whatever waits for ever fails instead."""

    def late(*_):
        raise TimeoutError("it still waits")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)


def write(path, data):
    path.write_bytes(data)
    return path


def pixels(path):
    return np.asarray(read(path)).astype(int)


def outcome(path):
    """The pixels, or what the error says."""
    try:
        return pixels(path), ""
    except InputError as error:
        return None, str(error)


def refusal(path):
    """What the error says, which is one printable line that begins with the file."""
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    return text.removeprefix(f"{path}: ")


# what Pillow warns of is no error where nobody makes it one
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_a_photo_cut_off_anywhere_is_refused_or_whole(name, tmp_path):
    data, path = FILES[name], tmp_path / name
    whole = pixels(write(path, data))
    assert whole.shape == (16, 24, 3)
    cuts = {*range(40), *range(0, len(data), max(1, len(data) // 25))}
    cuts |= {len(data) - back for back in (1, 2, 3, 4, 8, 12, 13, 20, 21, 24)}
    refused = 0
    for cut in sorted(each for each in cuts if each < len(data)):
        write(path, data[:cut])
        image, said = outcome(path)
        refused += image is None
        assert np.array_equal(image, whole) if image is not None else str(path) in said, cut
    assert refused > 40
    assert refusal(write(path, b"")) == "an empty file"


class TestPixels:
    """Every kind looks as a viewer shows it."""

    def test_sixteen_bits_a_channel(self, tmp_path):
        values = np.arange(24 * 16 * 3).reshape(16, 24, 3) * 56
        found = pixels(write(tmp_path / "a.png", deep_rgb(values.astype(np.uint16))))
        assert np.abs(found - values / 257).max() <= 1

    def test_sixteen_bits_of_grey_to_the_level(self, tmp_path):
        values = np.linspace(0, 65535, 24 * 16).round().astype(np.uint16).reshape(16, 24)
        for kind in ("PNG", "TIFF"):
            found = pixels(write(tmp_path / "a.x", encoded(Image.fromarray(values), kind)))
            assert np.array_equal(found[..., 0], np.rint(values / 257))

    def test_thirty_two_bits(self, tmp_path):
        values = np.arange(16 * 24).reshape(16, 24)
        whole = Image.fromarray((values * 170).astype(np.int32))
        found = pixels(write(tmp_path / "a.tif", encoded(whole, "TIFF")))
        assert np.array_equal(found[..., 1], np.rint(values * 170 / 257))
        shares = Image.fromarray((values / 383).astype(np.float32))
        found = pixels(write(tmp_path / "b.tif", encoded(shares, "TIFF")))
        assert np.abs(found[..., 2] - values / 383 * 255).max() <= 0.51

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_values_that_are_no_numbers_are_refused(self, value, tmp_path):
        values = np.full((16, 24), 0.5, np.float32)
        values[3, 4] = value
        path = write(tmp_path / "a.tif", encoded(Image.fromarray(values), "TIFF"))
        assert refusal(path) == "damaged or unreadable (values are NaN or infinite)"

    def test_a_transparent_colour_is_laid_over_white(self, tmp_path):
        red = Image.new("RGB", (4, 2), (255, 0, 0))
        red.putpixel((0, 0), (1, 2, 3))
        data = encoded(red, "PNG", transparency=(1, 2, 3))
        found = pixels(write(tmp_path / "a.png", data))
        assert found[0, 0].tolist() == [255, 255, 255]
        assert (found[0, 1:] == (255, 0, 0)).all()

    def test_a_palette_of_different_transparency(self, tmp_path):
        image = Image.new("P", (3, 1))
        image.putpalette([200, 100, 0] * 3)
        image.putdata([0, 1, 2])
        data = encoded(image, "PNG", transparency=bytes((0, 128, 255)))
        found = pixels(write(tmp_path / "a.png", data))[0]
        share = np.array([[0], [128], [255]]) / 255
        assert np.abs(found - (255 * (1 - share) + share * (200, 100, 0))).max() <= 1

    def test_inks(self, tmp_path):
        path = write(tmp_path / "a.jpg", encoded(photo().convert("CMYK"), "JPEG", quality=100))
        assert np.abs(pixels(path) - np.asarray(photo()).astype(int)).mean() < 40
        white = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
        assert pixels(write(path, encoded(white, "JPEG", quality=100))).min() >= 254

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
    def test_the_first_picture_of_an_animation(self, kind, tmp_path):
        first, *rest = (Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue"))
        data = encoded(first, kind, save_all=True, append_images=rest)
        found = pixels(write(tmp_path / "a.x", data))
        assert np.abs(found - (255, 0, 0)).max() <= 3

    def test_of_several_pictures_of_one_camera_the_first(self, tmp_path):
        first, *rest = frames()
        data = encoded(first, "MPO", save_all=True, append_images=rest)
        plain = encoded(first, "JPEG")
        found = pixels(write(tmp_path / "a.jpg", data))
        assert np.array_equal(found, pixels(write(tmp_path / "b.jpg", plain)))

    @pytest.mark.filterwarnings("ignore")
    def test_damaged_notes_of_the_camera_do_not_matter(self, tmp_path):
        plain = pixels(write(tmp_path / "a.png", encoded(photo(), "PNG")))
        for notes in (b"Exif\0\0", b"Exif\0\0junk", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"\0" * 30):
            data = encoded(photo(), "PNG", exif=notes)
            assert np.array_equal(pixels(write(tmp_path / "a.png", data)), plain)

    @pytest.mark.parametrize("name", FILES)
    def test_whatever_the_name_ends_with(self, name, tmp_path):
        found = pixels(write(tmp_path / name, FILES[name]))
        for ending in (".jpg", ".png", ".tif", ""):
            assert np.array_equal(pixels(write(tmp_path / f"a{ending}", FILES[name])), found)


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (3000, 2)])
def test_extreme_shapes_are_seen_or_refused(size, demo, tmp_path):
    path = write(tmp_path / "a.png", encoded(Image.new("RGB", size, "teal"), "PNG"))
    assert len(vizkit.predict(demo, path, 1)) == 1
    wide = vizkit.wrap(demo.module, classes=demo.classes, transform=vizkit.Transform())
    if 3000 in size and 1 in size:
        with pytest.raises(InputError, match="too long and narrow"):
            vizkit.predict(wide, path)
    else:
        assert len(vizkit.predict(wide, path, 1)) == 1


CLAIMS = {
    "png": png(100_000, 100_000, 8, 2, b"\0" * 100),
    "gif": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0;",
    "ppm": b"P6 99999 99999 255\n" + bytes(300),
    "bmp": FILES["rgb.bmp"][:18] + b"\xff\xff\0\0\xff\xff\0\0" + FILES["rgb.bmp"][26:],
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_claim_of_giant_size_is_not_believed(kind, tmp_path):
    assert "decompression bomb" in refusal(write(tmp_path / f"a.{kind}", CLAIMS[kind]))


def special(folder):
    """What is no file, by what it is called; each also behind a link."""
    os.mkfifo(folder / "pipe.jpg")
    place = socket.socket(socket.AF_UNIX)
    place.bind(str(folder / "socket.jpg"))
    place.close()
    found = {"a named pipe": folder / "pipe.jpg", "a socket": folder / "socket.jpg"}
    found |= {"a device": folder / "zero.jpg", "a folder": folder / "folder.jpg"}
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "folder.jpg").mkdir()
    return found


def test_what_is_no_file_is_never_opened(tmp_path, demo, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = special(tmp_path)
    for kind, path in found.items():
        link = tmp_path / f"link to {path.name}"
        link.symlink_to(path)
        for each in (path, link):
            assert refusal(each) == f"{kind}, not a file"
            assert photo_hash(vizkit.images.Photo("a", path=each)) == ""
            if kind != "a folder":
                with pytest.raises(InputError, match=f"{kind}, not a file"):
                    vizkit.predict(demo, each)
    write(tmp_path / "good.png", FILES["rgb.png"])
    write(tmp_path / "folder.jpg" / "inside.png", FILES["rgb.png"])
    names = ["folder.jpg/inside.png", "good.png", "link to folder.jpg/inside.png"]
    assert [each.name for each in as_images(tmp_path)] == names


STAND_INS = {
    LFS: "a git-lfs pointer, not the photo: run git lfs pull",
    ANNEX: "a git-annex pointer, not the photo: run git annex get",
    PAGES[0]: "a web page, not the photo",
    PAGES[1]: "a web page, not the photo",
    b"no image": "not an image that can be read",
}


@pytest.mark.parametrize("content", STAND_INS)
def test_what_stands_for_a_photo_says_so(content, tmp_path):
    assert STAND_INS[content] in refusal(write(tmp_path / "a.jpg", content))


def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "a.jpg").symlink_to(".git/annex/objects/Xx/Yy/SHA256E-s1--0.jpg/SHA256E-s1--0.jpg")
    assert refusal(tmp_path / "a.jpg") == (
        "a git-annex link without its content: run git annex get"
    )
    (tmp_path / "b.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert refusal(tmp_path / "b.jpg") == "a link that leads nowhere"
    (tmp_path / "c.jpg").symlink_to("c.jpg")
    assert refusal(tmp_path / "c.jpg") == "unreadable (Too many levels of symbolic links)"
    assert list(readable(as_images(tmp_path))[1]) == [str(each) for each in photos_in(tmp_path)]
    assert list(readable(as_images(tmp_path / "b.jpg"))[1]) == [str(tmp_path / "b.jpg")]


NAMES = {
    "newline\nand\ttab.png": r"newline\nand\ttab.png",
    "\u202egnp.exe.png": r"\u202egnp.exe.png",
    "\x1b[31mred.png": r"\x1b[31mred.png",
    "<script>alert(1)<\u2044script>'\".png": "<script>alert(1)<\u2044script>'\".png",
    "日本語 ümläut 🦜.png": "日本語 ümläut 🦜.png",
    "%s {0} $x$ *.png": "%s {0} $x$ *.png",
    os.fsdecode(b"caf\xe9.png"): r"caf\udce9.png",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_and_told_on_one_line(name, tmp_path, demo):
    path = write(tmp_path / name, FILES["rgb.png"])
    (found,) = as_images(tmp_path)
    assert found.name == NAMES[name]
    assert found.rgb.size == (24, 16)
    table = vizkit.predict(demo, tmp_path, 1)
    assert table["image"].tolist() == [NAMES[name]]
    write(path, b"no image")
    assert list(readable(as_images(tmp_path))[1]) == [f"{tmp_path}/{NAMES[name]}"]
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == f"{tmp_path}/{NAMES[name]}: not an image that can be read"


def test_paths_that_can_be_no_file():
    for path in ("a" * 5000, "a/" * 3000, "a\0b.jpg"):
        with pytest.raises(InputError, match="no such image"):
            as_images(path)


def test_what_changes_after_it_was_listed(tmp_path, demo):
    for name in ("a", "b", "c", "d"):
        write(tmp_path / f"{name}.png", FILES["rgb.png"])
    images = as_images(tmp_path)
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.png").unlink()
    os.mkfifo(tmp_path / "b.png")
    write(tmp_path / "c.png", FILES["rgb.png"][:300])
    with pytest.warns(vizkit.UnreadableWarning, match=r"a\.png: no such file, and 2 more"):
        table = vizkit.predict(demo, images, 1)
    assert table["image"].tolist() == ["d.png"]
    assert readable(images)[1] == {
        str(tmp_path / "a.png"): f"{tmp_path}/a.png: no such file",
        str(tmp_path / "b.png"): f"{tmp_path}/b.png: a named pipe, not a file",
        str(tmp_path / "c.png"): f"{tmp_path}/c.png: damaged or unreadable "
        "(image file is truncated)",
    }


@contextmanager
def somebody():
    """Be somebody who may do nothing."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_nobody_may_read(tmp_path):
    for above in (tmp_path, *tmp_path.parents[:3]):
        above.chmod(0o755)
    good = write(tmp_path / "a.png", FILES["rgb.png"])
    bad = write(tmp_path / "b.png", FILES["rgb.png"])
    closed = tmp_path / "closed"
    closed.mkdir()
    # what is imported late may lie where nobody may look
    assert len(readable(as_images([good, bad]))[0]) == 2
    bad.chmod(0)
    closed.chmod(0)
    with somebody():
        found, failed = readable(as_images([good, bad]))
        assert [photo.name for photo in found] == ["a.png"]
        assert failed == {str(bad): f"{bad}: damaged or unreadable (Permission denied)"}
        with pytest.raises(InputError, match="closed: the folder cannot be opened"):
            as_images(closed)
        with pytest.raises(InputError, match=r"no such image: .*a\.png \(Permission denied\)"):
            as_images(closed / "a.png")


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 20 20
%%EndComments
showpage
%%EOF
"""


@pytest.mark.filterwarnings("ignore")
def test_no_other_program_is_asked_to_read_a_photo(tmp_path, monkeypatch):
    mark, program = tmp_path / "ran", tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    path = write(tmp_path / "a.jpg", POSTSCRIPT)
    assert refusal(path) == "not an image that can be read"
    assert not mark.exists()
    with Image.open(path) as image, suppress(OSError):
        image.load()
    assert mark.exists(), "else this test could not fail"


def test_a_photo_that_pillow_reads_late_is_named(tmp_path, demo):
    path = write(tmp_path / "cut.png", FILES["rgb.png"][:500])
    with Image.open(path) as late, pytest.raises(InputError, match=r"cut\.png: damaged"):
        vizkit.predict(demo, late)


MEMORY = """
import resource, sys
from pathlib import Path
from vizkit.images import read
from vizkit.errors import InputError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

bomb, deep = map(Path, sys.argv[1:])
before = peak()
try:
    read(bomb)
except InputError as error:
    assert "decompression bomb" in str(error), error
else:
    raise SystemExit("the bomb was read")
print(peak() - before)
before = peak()
assert read(deep).getpixel((5, 5)) == (128, 128, 128)
print(peak() - before)
"""


def test_a_real_bomb_is_not_unpacked_and_deep_photos_take_little_more_than_their_room(tmp_path):
    side = 16_000
    rows = (b"\0" + b"\x55" * (side // 8)) * side
    bomb = write(tmp_path / "a.png", png(side, side, 1, 0, rows))
    assert bomb.stat().st_size < 100_000
    own = 6_000
    deep = write(tmp_path / "b.png", png(own, own, 16, 0, (b"\0" + b"\x80\x01" * own) * own))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(bomb), str(deep)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for_bomb, for_deep = map(int, done.stdout.split())
    assert for_bomb < 50 << 20, "as good as nothing was unpacked"
    assert for_deep < 9 * own**2
