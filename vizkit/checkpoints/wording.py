"""Text from files in messages: one printable line, not too long."""

from __future__ import annotations

from collections.abc import Sequence


def few(names: Sequence[object], most: int = 4) -> str:
    """Name the first few.

    Parameters
    ----------
    names : sequence of object
        Written as text.
    most : int
        How many to name.

    Returns
    -------
    str
        With the number of those that are not named.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(line(str(name)) for name in names[:most]) + more


def line(text: str, most: int = 200) -> str:
    """Make one printable line.

    Parameters
    ----------
    text : str
        Anything.
    most : int
        Characters to keep.

    Returns
    -------
    str
        Without line breaks and control characters.
    """
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * most])
    return " ".join(printable.split())[:most]
