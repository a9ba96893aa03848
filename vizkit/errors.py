"""The one family of errors that vizkit raises for input it cannot use."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from math import inf


class VizkitError(Exception):
    """Base class: ``except VizkitError`` catches every error that vizkit raises itself."""


class InputError(VizkitError, ValueError):
    """A value that vizkit cannot use: the message names the value and the choices."""


class WeightsError(VizkitError, RuntimeError):
    """Weights that cannot be found, fetched or fitted into the network."""


def unknown(kind: str, value: object, choices: Iterable[str], most: int = 40) -> InputError:
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
    InputError
        For the caller to raise.
    """
    names = list(choices)
    near = get_close_matches(str(value), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    listed = ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")
    return InputError(f"unknown {kind} {value!r}{hint} choose from {listed}")


class ConvergenceWarning(UserWarning):
    """An attribution that should sum to a difference in score, and does not nearly."""


class UnreadableWarning(UserWarning):
    """Files that could not be read, and are left out."""


class NotFiniteWarning(UserWarning):
    """Activations that are infinite or no numbers."""


def positive(name: str, value: float) -> None:
    """Require a number above zero.

    Parameters
    ----------
    name : str
        What it is called.
    value : float
        What was given.

    Raises
    ------
    InputError
        If it is not above zero, or no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        raise InputError(f"{name} must be a number above 0, not {value!r}")


def whole(name: str, value: int, least: int = 1) -> None:
    """Require a whole number that is large enough.

    Parameters
    ----------
    name : str
        What it is called.
    value : int
        What was given.
    least : int
        The smallest allowed.

    Raises
    ------
    InputError
        If it is smaller, or no whole number.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
