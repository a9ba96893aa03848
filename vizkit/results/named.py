"""Values by name, which say what names there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, TypeVar

from vizkit.errors import unknown

T = TypeVar("T")


class Named(dict[str, T]):
    """A dict that lists its names when it is asked for one that it does not have.

    Parameters
    ----------
    kind : str
        What the names are of: ``"method"``.
    values : mapping of str to Any
        What it holds.
    """

    def __init__(self, kind: str, values: Mapping[str, T]) -> None:
        super().__init__(values)
        self._kind = kind

    def __missing__(self, name: object) -> NoReturn:
        """Raise an error that is a KeyError, too."""
        raise unknown(self._kind, name, self)
