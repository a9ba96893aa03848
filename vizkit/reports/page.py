"""The page: sections of text, figures and tables, and how they become HTML."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from itertools import groupby
from typing import Any

import jinja2
import pandas as pd


@dataclass(frozen=True)
class Shown:
    """A figure of the page.

    Attributes
    ----------
    name : str
        File name without ending.
    number : int
        From 1.
    caption : str
        What it shows, with scale and sample size.
    group : str
        Figures of one group fold away together; empty for figures always in view.
    """

    name: str
    number: int
    caption: str
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes
    ----------
    caption : str
        What it holds.
    frame : DataFrame
        Printed with few digits.
    group : str
        What it folds away under; empty for tables always in view.
    """

    caption: str
    frame: pd.DataFrame
    group: str = ""


@dataclass
class Section:
    """A part of the page.

    Attributes
    ----------
    key : str
        Its anchor.
    title : str
        Its heading.
    text : list of str
        Paragraphs.
    lists : list of (str, list of str)
        Headings with sentences below them.
    figures : list of Shown
        In order.
    tables : list of Table
        Below the figures.
    data : list of str
        CSV files with the numbers.
    """

    key: str
    title: str
    text: list[str] = field(default_factory=list)
    lists: list[tuple[str, list[str]]] = field(default_factory=list)
    figures: list[Shown] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    data: list[str] = field(default_factory=list)

    @property
    def groups(self) -> list[tuple[str, list[Shown]]]:
        """The figures by group, in order."""
        return [(group, list(shown)) for group, shown in groupby(self.figures, lambda f: f.group)]


@dataclass(frozen=True)
class Point:
    """A sentence of the summary, and the section that proves it."""

    text: str
    section: str


@dataclass
class Page:
    """What the template is given.

    Attributes
    ----------
    title, lead : str
        Above everything.
    facts : list of (str, str)
        Numbers at a glance, and what they count.
    points : list of Point
        The summary.
    note : str
        What limits the summary; empty for nothing.
    changes : list of (str, list of str)
        What each kind of difference between the models changes.
    sections : list of Section
        In order.
    quick : bool
        Whether figures are light bitmaps alone.
    """

    title: str
    lead: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    note: str = ""
    changes: list[tuple[str, list[str]]] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    quick: bool = False

    def html(self) -> str:
        """Write the page; text is escaped."""
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        source = (files("vizkit.reports") / "page.html.j2").read_text(encoding="utf-8")
        titles = {section.key: section.title for section in self.sections}
        return environment.from_string(source).render(
            page=self, titles=titles, cell=cell, version=version("vizkit"), policy=_policy(source)
        )


def _policy(source: str) -> str:
    """Say what the browser may do: show the report's own pictures, and run the page's own script.

    Text is escaped; should any not be, this keeps it from being run, and from being sent away.
    """
    own: dict[str, list[str]] = {"style": [], "script": []}
    for kind, text in re.findall(r"<(style|script)>(.*?)</\1>", source, re.DOTALL):
        digest = b64encode(sha256(text.encode()).digest()).decode()
        own[kind].append(f"'sha256-{digest}'")
    rules = {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        # not every browser counts other files among what is its own
        "img-src": "'self' file: data:",
        "style-src": " ".join(own["style"]),
        "script-src": " ".join(own["script"]),
    }
    return "; ".join(f"{name} {sources}" for name, sources in rules.items())


def cell(value: Any) -> str:
    """Format a table's cell for reading; the CSV has all digits."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if isinstance(value, float):
        short = cell(int(value)) if value.is_integer() else f"{value:.4g}"
        return short.replace("-", "\N{MINUS SIGN}")
    return str(value)


def counted(count: int, one: str, several: str = "") -> str:
    """Write a number of things: "1 photo", "5 photos"."""
    return f"{cell(count)} {one if count == 1 else several or one + 's'}"


def percent(share: float) -> str:
    """Write a share in [0, 1]: "62 %"."""
    return f"{share:.0%}".replace("%", "\N{NARROW NO-BREAK SPACE}%")


def listed(names: Sequence[str], most: int = 4) -> str:
    """Write names one after the other, "a, b and c", and how many more there are."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))
