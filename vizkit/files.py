"""Files: written as a whole or not at all, looked at before they are opened, named safely."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from vizkit.errors import InputError, VizkitError, WriteError
from vizkit.interrupts import managed, undivided

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

# file systems take names of 255 bytes; a letter is up to four
_LETTERS, _BYTES = 50, 160
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# how files begin that stand for others, and what to do
_STAND_INS = (
    (rb"version https://(git-lfs|hawser)\.github\.com/spec/", "a git-lfs pointer", "git lfs pull"),
    (rb"/annex/objects/", "a git-annex pointer", "git annex get"),
)
_WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)\b", re.IGNORECASE)
# what breaks lines, moves the cursor, or turns the direction in which a text is read
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# what some file system does not take in a name, and what Windows keeps for itself
_UNSAFE = re.compile(r"""[\\/:*?"<>|]|""" + _UNPRINTABLE.pattern)
_TAKEN = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@managed
def replacing(path: Path) -> Iterator[Path]:
    """Write a file beside its place, and put it there in one step when it is complete.

    If writing fails, nothing is left behind, and what was there stays.

    Parameters
    ----------
    path : Path
        Its place. A link there is replaced, and what it leads to stays: that may be a device,
        or a store that others read.

    Yields
    ------
    Path
        Where to write.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    with writing(path), _alone(path.parent) as alone:
        own = "" if alone else f".{os.urandom(8).hex()}"
        partial = path.with_name(f".{path.name[:_LETTERS]}{own}.partial")
        try:
            yield partial
            partial.replace(path)
        finally:
            _remove(partial)


@managed
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says while something is written into an error that names it.

    Parameters
    ----------
    path : Path
        What is written: a file, or a folder of them.

    Raises
    ------
    WriteError
        If the disk is full, nobody may write there, …
    """
    before = sys.exc_info()[1]
    try:
        yield
    except VizkitError:
        raise
    except Exception as error:
        reason = _system_error(error, before)
        if reason is None:
            raise
        raise WriteError(printable(f"cannot write {path}: {reason}")) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises
    ------
    InputError
        If that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(printable(f"cannot make the folder {folder}: {error.strerror}")) from error


def unfit(path: Path) -> str:
    """Say why a path leads to no file that can be read; empty if it leads to one.

    To be asked before a file is opened: opening a named pipe waits until somebody writes into it.

    Parameters
    ----------
    path : Path
        Anything.

    Returns
    -------
    str
        Such as ``"a named pipe, not a file"``.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return _missing(path)
    except (OSError, ValueError) as error:
        return f"unreadable ({getattr(error, 'strerror', None) or error})"
    return f"{_KINDS[kind]}, not a file" if kind in _KINDS else ""


def stand_in(path: Path, wanted: str) -> str:
    """Say what a file holds in place of what is wanted; empty if that cannot be told.

    Parameters
    ----------
    path : Path
        A file that could not be read.
    wanted : str
        What it should hold: ``"photo"``.

    Returns
    -------
    str
        Such as ``"a git-lfs pointer, not the photo: run git lfs pull"``.
    """
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError:
        return ""
    for pattern, name, remedy in _STAND_INS:
        if re.match(pattern, start):
            return f"{name}, not the {wanted}: run {remedy}"
    if _WEB_PAGE.match(start):
        return f"a web page, not the {wanted}: what was downloaded was an error, or a page about it"
    return "" if start else "an empty file"


def read_rows(path: Path, wrong: str, **options: Any) -> pd.DataFrame:
    """Read a table of comma-separated values.

    Parameters
    ----------
    path : Path
        Its first line names the columns.
    wrong : str
        What an error begins with; it names the file.
    **options
        Of `pandas.read_csv`.

    Returns
    -------
    DataFrame
        A row for each line but the first.

    Raises
    ------
    InputError
        If the file is none, no table, or has more values in a row than columns.
    """
    reason = unfit(path)
    if reason:
        raise InputError(printable(f"{wrong}: {reason}"))
    try:
        table: pd.DataFrame = pd.read_csv(path, **options)
    except (OSError, ValueError) as error:
        reason = stand_in(path, "table") or str(error).strip()
        raise InputError(printable(f"{wrong}: {reason}")) from error
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes the first values for names of the rows, and shifts all others
        raise InputError(printable(f"{wrong}: its rows have more values than its first line names"))
    return table


def printable(name: object) -> str:
    """Write a path so that it can be printed and stored, on one line and as it is read.

    Bytes that are not UTF-8, and characters that control the output, are written out.
    """
    text = _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], str(name))
    return text.encode("utf-8", "backslashreplace").decode()


def slug(name: str) -> str:
    """Make a file name, without an ending, of any text: one that stays in its folder.

    Parameters
    ----------
    name : str
        Of a photo, a class or a model.

    Returns
    -------
    str
        The same where every file system takes it as it is.
    """
    text = _UNSAFE.sub("_", printable(name)).strip(" .")
    if _TAKEN.fullmatch(text):
        text = f"_{text}"
    whole = text.encode()
    if len(whole) > _BYTES:
        # so that names that begin alike stay apart
        text = f"{whole[:_BYTES].decode(errors='ignore')}-{sha256(whole).hexdigest()[:8]}"
    return text or "unnamed"


def distinct(
    names: Sequence[str], again: str = "{} ({})", key: Callable[[str], str] = str
) -> list[str]:
    """Keep names apart that occur again.

    Parameters
    ----------
    names : sequence of str
        Some of them alike.
    again : str
        How a name is numbered from the second on: "a", "a (2)".
    key : callable
        What must differ: ``str.casefold`` for file systems that tell no "A" from an "a".

    Returns
    -------
    list of str
        All different. A number that another name has already is left out.
    """
    counts: Counter[str] = Counter()
    taken: set[str] = set()
    found = []
    for name in names:
        own = name
        while key(own) in taken:
            counts[name] += 1
            own = again.format(name, counts[name] + 1)
        taken.add(key(own))
        found.append(own)
    return found


@undivided
def _alone(folder: Path) -> Iterator[bool]:
    """Whether no other run writes into a folder at the same time, as far as can be told.

    A lock ends with the run that holds it, even if that is killed.
    """
    if fcntl is None:
        yield False
        return
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:
        # writing will say it
        yield False
        return
    try:
        yield _locked(number)
    finally:
        os.close(number)


def _locked(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _system_error(error: BaseException | None, before: BaseException | None) -> str | None:
    """Find what the system said about a failure; libraries may have wrapped it.

    What went wrong before the writing began, and is being handled meanwhile, is no reason.
    """
    while error is not None and error is not before:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        error = error.__cause__ if error.__suppress_context__ else error.__context__
    return None


def _remove(partial: Path) -> None:
    try:
        partial.unlink(missing_ok=True)
    except OSError:
        # its place cannot be written into: there is nothing to remove
        return


def _missing(path: Path) -> str:
    try:
        target = path.readlink()
    except OSError:
        return "no such file"
    if "annex/objects" in target.as_posix():
        return "a git-annex link without its content: run git annex get"
    return "a link that leads nowhere"
