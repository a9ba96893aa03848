"""Photos of every kind as real bytes, and what may lie in their place."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def photo(width=24, height=16, seed=0):
    """A photo without any regularity, so that every bit of a file counts."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def encoded(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def frames(count=3):
    return [photo(seed=seed) for seed in range(count)]


def png(width, height, depth, colour, rows, *extra):
    """Write a PNG as the standard says; Pillow cannot write all kinds that it reads."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(rows, 9)
    middle = b"".join(chunk(*each) for each in extra)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + middle
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )


def deep_rgb(values):
    """Three channels of 16 bits as PNG; values of shape (H, W, 3), uint16."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(width, height, 16, 2, rows)


def kinds():
    """One file of each kind, by name."""
    rgb = photo()
    grey = np.asarray(rgb)[..., 0]
    clear = rgb.convert("RGBA")
    clear.putalpha(Image.fromarray(grey))
    rest = {"save_all": True, "append_images": frames()[1:]}
    return {
        "jpeg.jpg": encoded(rgb, "JPEG", quality=95),
        "progressive.jpg": encoded(rgb, "JPEG", progressive=True),
        "several.jpg": encoded(rgb, "MPO", **rest),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "rgb.png": encoded(rgb, "PNG"),
        "rgba.png": encoded(clear, "PNG"),
        "palette.png": encoded(rgb.quantize(16), "PNG", transparency=bytes(range(0, 256, 16))),
        "grey16.png": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
        "rgb16.png": deep_rgb(np.asarray(rgb).astype(np.uint16) * 257),
        "noted.png": encoded(rgb, "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
        "animated.png": encoded(frames()[0], "PNG", **rest),
        "rgb.tif": encoded(rgb, "TIFF"),
        "packed.tif": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "deflated.tif": encoded(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "float.tif": encoded(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
        "whole32.tif": encoded(Image.fromarray(grey.astype(np.int32) * 257), "TIFF"),
        "lossy.webp": encoded(rgb, "WEBP"),
        "lossless.webp": encoded(clear, "WEBP", lossless=True),
        "animated.webp": encoded(frames()[0], "WEBP", **rest),
        "animated.gif": encoded(frames()[0], "GIF", **rest),
        "rgb.bmp": encoded(rgb, "BMP"),
        "rgb.ppm": encoded(rgb, "PPM"),
        "grey.pgm": encoded(rgb.convert("L"), "PPM"),
        "rgb.jp2": encoded(rgb, "JPEG2000"),
        "rgb.avif": encoded(rgb, "AVIF"),
    }


LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
ANNEX = b"/annex/objects/SHA256E-s12345--4d7a214614ab2935c943f9e0ff69d22e.jpg\n"
PAGES = (
    b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>",
    b"\xef\xbb\xbf\n  <HTML lang=en><body>Sign in</body></HTML>",
)
