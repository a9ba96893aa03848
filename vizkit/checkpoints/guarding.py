"""Refuse files that would fill the memory or wait for ever, before anything reads them."""

from __future__ import annotations

import pickletools
import struct
import zipfile
from collections.abc import Iterable, Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, cast

from vizkit.files import unfit

# how PyTorch, too, tells its newer files from the older
_ZIP = b"PK\x03\x04"
# PyTorch packs nothing; where somebody else has, weights become hardly smaller
_MOST_TIMES, _SPARE = 4, 1 << 26
# an older file begins with so many pickles
_PICKLES = 5
# what PyTorch's reader calls, and what makes much of little
_GROWING = {
    "bytearray",
    "_rebuild_device_tensor_from_numpy",
    "_rebuild_device_tensor_from_cpu_tensor",
}
_REMEDY = "save only model.cpu().state_dict() instead"
# the same of encodings: each of these may be put upon another
_ENCODE = "_codecs encode"
_GROWING_CODECS = {
    *("hex", "hexcodec", "base64", "base64codec", "uu", "uucodec"),
    *("quopri", "quopricodec", "quotedprintable"),
}


def harm(path: Path) -> str:
    """Say why a file should not be given to ``torch.load``; empty if nothing is known.

    Code is not looked for: PyTorch refuses it.

    Parameters
    ----------
    path : Path
        Of any file, or of none.

    Returns
    -------
    str
        Such as ``"a named pipe, not a file"``.
    """
    reason = unfit(path)
    if reason:
        return reason
    with path.open("rb") as file:
        if file.read(len(_ZIP)) == _ZIP:
            return _harm_in_zip(path)
        return _harm_in_pickles(_first(file))


def _harm_in_zip(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        # parts may also lie in the same bytes
        whole, size = sum(each.file_size for each in entries), path.stat().st_size
        if whole > _MOST_TIMES * size + _SPARE:
            return f"a file of {size / 1e6:.3g} MB that unpacks to {whole / 1e6:.3g} MB"
        pickles = [each for each in entries if each.filename.lower().endswith(".pkl")]
        return _harm_in_pickles(archive.read(each) for each in pickles)


def _first(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Go on from pickle to pickle; after the last, numbers follow that are none."""
    # not the file itself: it would make room for as many bytes as a pickle claims to have
    with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        for _ in range(_PICKLES):
            if content.tell() == len(content):
                return
            yield cast("IO[bytes]", content)


def _harm_in_pickles(pickles: Iterable[bytes | IO[bytes]]) -> str:
    try:
        return next(filter(None, map(_harm_in_pickle, pickles)), "")
    except (ValueError, EOFError, struct.error):
        # no pickle, or a damaged one: PyTorch says more of it
        return ""


def _harm_in_pickle(pickle: bytes | IO[bytes]) -> str:
    encodes, codecs = False, set()
    for code, value, _ in pickletools.genops(pickle):
        if code.name == "GLOBAL":
            encodes = encodes or value == _ENCODE
            if str(value).rpartition(" ")[2] in _GROWING:
                name = str(value).replace(" ", ".")
                return f"a file that calls {name}, which can fill the memory: {_REMEDY}"
        elif isinstance(value, str):
            codecs.add(_plain(value))
    if encodes and codecs & _GROWING_CODECS:
        return f"a file that encodes text so that it grows, which can fill the memory: {_REMEDY}"
    return ""


def _plain(name: str) -> str:
    """Write the name of an encoding in one way."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
