"""What vizkit raises and warns of, and the small checks of arguments that raise it."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from difflib import get_close_matches
from math import inf
from numbers import Number, Real
from pathlib import Path, PurePath
from reprlib import Repr
from typing import Any, TypeVar

T = TypeVar("T")
# the largest whole number that a tensor can hold
_MOST = 2**63 - 1


class VizkitError(Exception):
    """Base class: ``except VizkitError`` catches every error that vizkit raises itself."""


class InputError(VizkitError, ValueError):
    """A value that vizkit cannot use: the message names the value and the choices."""


class UnknownNameError(InputError, KeyError):
    """A name that is not one of those there are: the message lists them."""

    # KeyError would show the message in quotes
    __str__ = Exception.__str__


class WeightsError(VizkitError, RuntimeError):
    """Weights that cannot be found, fetched or fitted into the network."""


class NetworkError(VizkitError, RuntimeError):
    """A network that fails on what it is given; the message says at what and why."""


class TooLargeError(VizkitError, MemoryError):
    """Something that does not fit in the memory that is left; the message says what would."""


class WriteError(VizkitError, OSError):
    """A file or folder that cannot be written: the disk is full, or nobody may write there."""


class BusyError(VizkitError, TimeoutError):
    """Work in the background that takes longer than somebody wanted to wait."""


class ConvergenceWarning(UserWarning):
    """An attribution that should sum to a difference in score, and does not nearly."""


class UnreadableWarning(UserWarning):
    """Files that could not be read, and are left out."""


class NotFiniteWarning(UserWarning):
    """Activations that are infinite or no numbers."""


class _Short(Repr):
    """Values as they are written in code, cut short; of what has no such form, the type."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = 200

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002  (Repr gives it)
        # Python itself refuses to write very large ones
        return str(x) if x.bit_length() <= 128 else f"a number of {x.bit_length()} bits"

    def repr_instance(self, x: object, level: int) -> str:
        if isinstance(x, Number):
            return str(x)
        if isinstance(x, PurePath):
            return self.repr_str(str(x), level)
        plain = x is None or isinstance(x, bytes)
        return super().repr_instance(x, level) if plain else type(x).__name__


_SHORT = _Short()


def shown(value: object) -> str:
    """Write a value into a message: short, and on one line.

    Parameters
    ----------
    value : object
        What was given.

    Returns
    -------
    str
        As in code; of arrays, tables, functions and the like, the name of the type.
    """
    return _SHORT.repr(value)


def unknown(kind: str, value: object, choices: Iterable[str], most: int = 40) -> UnknownNameError:
    """Build the error for a name that is not one of the choices.

    Parameters
    ----------
    kind : str
        What the name should have been: ``"method"``, ``"stage"``.
    value : object
        The name that was given.
    choices : iterable of str
        The names that exist.
    most : int
        How many choices to print.

    Returns
    -------
    UnknownNameError
        For the caller to raise.
    """
    known = list(choices)
    near = get_close_matches(value, known, n=1) if isinstance(value, str) else ()
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    listed = ", ".join(known[:most]) + (f", … ({len(known)} in all)" if len(known) > most else "")
    return UnknownNameError(f"unknown {kind} {shown(value)}{hint} choose from {listed}")


def choice(kind: str, value: object, choices: Iterable[str]) -> str:
    """Require one of some names.

    Parameters
    ----------
    kind : str
        What it is the name of: ``"theme"``.
    value : object
        What was given.
    choices : iterable of str
        The names that exist.

    Returns
    -------
    str
        The name.

    Raises
    ------
    UnknownNameError
        If there is no such name.
    """
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise unknown(kind, value, known)
    return value


def chosen(kind: str, values: object, choices: Iterable[str]) -> list[str]:
    """Require one of some names, or a list of them.

    Parameters
    ----------
    kind : str
        What they are names of: ``"method"``.
    values : object
        What was given.
    choices : iterable of str
        The names that exist.

    Returns
    -------
    list of str
        Each once, in the order given.

    Raises
    ------
    UnknownNameError
        If there is no such name.
    InputError
        If the list is empty, or none.
    """
    known, several = list(choices), listed(values)
    wanted = [values] if several is None else several
    if not wanted:
        raise InputError(f"no {kind}s: choose from {', '.join(known)}")
    return list(dict.fromkeys(choice(kind, each, known) for each in wanted))


def positive(name: str, value: object) -> float:
    """Require a number above zero.

    Parameters
    ----------
    name : str
        What it is called.
    value : object
        What was given.

    Returns
    -------
    float
        The number.

    Raises
    ------
    InputError
        If it is not above zero, or no number.
    """
    number = _number(value)
    if number is None or not 0 < number < inf:
        raise InputError(f"{name} must be a number above 0, not {shown(value)}")
    return number


def finite(name: str, value: object) -> float:
    """Require a number that is neither infinite nor NaN.

    Parameters
    ----------
    name : str
        What it is called.
    value : object
        What was given.

    Returns
    -------
    float
        The number.

    Raises
    ------
    InputError
        If it is infinite, NaN, or no number.
    """
    number = _number(value)
    if number is None or not -inf < number < inf:
        raise InputError(f"{name} must be a finite number, not {shown(value)}")
    return number


def share(name: str, value: object, *, ends: bool = True) -> float:
    """Require a number from 0 to 1.

    Parameters
    ----------
    name : str
        What it is called.
    value : object
        What was given.
    ends : bool
        Whether 0 and 1 are allowed themselves.

    Returns
    -------
    float
        The number.

    Raises
    ------
    InputError
        If it lies outside, or is no number.
    """
    number = _number(value)
    if number is None or not (0 <= number <= 1 if ends else 0 < number < 1):
        raise InputError(f"{name} must be between 0 and 1, not {shown(value)}")
    return number


def index_of(value: object) -> int | None:
    """Read a whole number of any kind.

    Parameters
    ----------
    value : object
        What was given.

    Returns
    -------
    int or None
        None for what is none: also for True and False, and for 3.0.
    """
    if not isinstance(value, bool):
        with suppress(TypeError):
            return operator.index(value)  # type: ignore[arg-type]
    return None


def whole(name: str, value: object, least: int = 1, most: int = _MOST) -> int:
    """Require a whole number that is neither too small nor too large.

    Parameters
    ----------
    name : str
        What it is called.
    value : object
        What was given.
    least, most : int
        The smallest and the largest allowed.

    Returns
    -------
    int
        The number.

    Raises
    ------
    InputError
        If it is smaller or larger, or no whole number.
    """
    number = index_of(value)
    if number is None or number < least:
        raise InputError(f"{name} must be a whole number of at least {least}, not {shown(value)}")
    if number > most:
        raise InputError(f"{name} must be at most {most}, not {shown(value)}")
    return number


def numbered(kind: str, value: object, count: int) -> int:
    """Require the number of one of several things.

    Parameters
    ----------
    kind : str
        What there are several of: ``"image"``.
    value : object
        What was given: from 0; a negative number counts from the end.
    count : int
        How many there are.

    Returns
    -------
    int
        From 0.

    Raises
    ------
    InputError
        If there is no such thing.
    """
    number = index_of(value)
    if number is None or not -count <= number < count:
        raise InputError(f"no {kind} {shown(value)}: there are {count}, counted from 0")
    return number % count


def listed(value: object) -> list[Any] | None:
    """Take a list apart.

    Parameters
    ----------
    value : object
        What was given.

    Returns
    -------
    list or None
        Of its parts; None for what is no list, such as text, which would come letter by letter,
        and a set, which has no order.
    """
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping | Set):
        return None
    # an array of no dimensions is one number, one of two is a table
    return list(value) if getattr(value, "ndim", 1) == 1 else None


def pair(name: str, value: object, check: Callable[[str, object], T]) -> tuple[T, T]:
    """Require two numbers, such as a width and a height.

    Parameters
    ----------
    name : str
        What they are called.
    value : object
        What was given.
    check : callable
        What each must pass: `positive` or `whole`.

    Returns
    -------
    tuple
        Both.

    Raises
    ------
    InputError
        If there are not two, or one does not pass.
    """
    both = listed(value)
    if both is None or len(both) != 2:
        raise InputError(f"{name} must be two numbers, not {shown(value)}")
    return check(name, both[0]), check(name, both[1])


def instance(name: str, value: object, *kinds: type) -> None:
    """Require a value of a type.

    Parameters
    ----------
    name : str
        What it is called.
    value : object
        What was given.
    *kinds : type
        What it may be.

    Raises
    ------
    InputError
        If it is something else.
    """
    if not isinstance(value, kinds):
        words = " or ".join(kind.__name__ for kind in kinds)
        raise InputError(f"{name} must be {words}, not {shown(value)}")


def results_of(name: str, value: object, kind: type[T]) -> list[T]:
    """Require one result, or a list of some.

    Parameters
    ----------
    name : str
        What it is called.
    value : object
        What was given.
    kind : type
        What each must be.

    Returns
    -------
    list
        Of the results.

    Raises
    ------
    InputError
        If the list is empty, or one is something else.
    """
    several: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    if not several:
        raise InputError(f"no {name}: the list is empty")
    for each in several:
        instance(name, each, kind)
    return several


def flags(**values: object) -> None:
    """Require that each of some values is True or False.

    Parameters
    ----------
    **values : object
        By what they are called.

    Raises
    ------
    InputError
        If one is something else, such as the word "no".
    """
    for name, value in values.items():
        # NumPy's own, too
        if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
            raise InputError(f"{name} must be True or False, not {shown(value)}")


def path_of(name: str, value: object) -> Path:
    """Require a path.

    Parameters
    ----------
    name : str
        What it is called.
    value : object
        What was given.

    Returns
    -------
    Path
        With the user's folder in place of ``~``; whether it exists is not asked.

    Raises
    ------
    InputError
        If it is none, or no file could ever be called so.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else ""
    if not isinstance(text, str) or not text or "\0" in text:
        raise InputError(f"{name} must be a path, not {shown(value)}")
    try:
        path = Path(text).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
    # such as a name of 5000 letters, or the folder of an unknown user
    except (OSError, RuntimeError) as error:
        raise InputError(f"{name} cannot be {shown(value)}: {error}") from error
    return path


def _number(value: object) -> float | None:
    """Read a real number; None if it is none, or too large for one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    with suppress(OverflowError):
        return float(value)
    return None
