"""Which differences are told: the largest, and not the same thing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from vizkit.results import Similarity
from vizkit.wording.contrasts import finite

# differences below are not told
LEAST = 0.01
_PER_TOPIC = 2


@dataclass(frozen=True)
class Finding:
    """A difference between two models.

    Attributes
    ----------
    text : str
        A sentence.
    size : float
        How large it is, in [0, 1]: of positive quantities 1 - smallest / largest; of shares the
        difference; of quantities that may be negative the difference over the largest absolute
        value of the quantity anywhere; of similarity 1 - CKA; of explanations 1 - rank
        correlation; where that exceeds 1, it is 1.
    topic : str
        What it is about: statistics, profile, predictions, similarity or attributions.
    section : str
        Where it is shown: a topic, or ``"disagreements"`` for single photos.
    """

    text: str
    size: float
    topic: str
    section: str


@dataclass(frozen=True)
class Candidate:
    """Something that may be told.

    Attributes
    ----------
    group : str
        Shared with whatever says the same.
    finding : Finding
        What is told.
    """

    group: str
    finding: Finding


def varied(found: Iterable[Candidate], most: int) -> list[Candidate]:
    """Choose the largest of at least `LEAST`, not too many of a kind.

    Parameters
    ----------
    found : iterable of Candidate
        Of equals, the first comes first.
    most : int
        How many.

    Returns
    -------
    list of Candidate
        Largest first; one of each group and two of each topic.
    """
    chosen: list[Candidate] = []
    topics: Counter[str] = Counter()
    groups: set[str] = set()
    for each in sorted(found, key=lambda each: -each.finding.size):
        finding = each.finding
        full = topics[finding.topic] == _PER_TOPIC or each.group in groups
        if len(chosen) < most and finding.size >= LEAST and not full:
            chosen.append(each)
            topics[finding.topic] += 1
            groups.add(each.group)
    return chosen


def told_once(quantities: Iterable[str]) -> set[str]:
    """Leave out energy beside std: it is std squared and mean squared, and looks larger."""
    known = set(quantities)
    return known - {"energy"} if "std" in known else known


def size_of(kind: str, low: float, high: float, scale: float) -> float:
    """Relate a difference to 1.

    Parameters
    ----------
    kind : "ratio", "share" or "difference"
        How the quantity is compared.
    low, high : float
        The smaller and the larger value.
    scale : float
        The largest absolute value of the quantity anywhere.

    Returns
    -------
    float
        In [0, 1]; see `Finding`.
    """
    if kind == "share":
        return float(high - low)
    against = high if kind == "ratio" else scale
    return float(min(1.0, (high - low) / against)) if against > 0 else 0.0


def alike(similarity: Similarity) -> pd.DataFrame:
    """Give the similarity of different models at the same tap, each pair once."""
    rows = similarity.to_frame()
    same = (rows["tap"] == rows["other_tap"]) & (rows["stride"] == rows["other_stride"])
    return finite(rows[same & (rows["model"] != rows["other_model"])])
