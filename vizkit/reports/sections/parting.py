"""Where the networks part."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import pandas as pd

from vizkit.plots.confusion import plot_confusion
from vizkit.plots.disagreement import plot_disagreement
from vizkit.plots.gallery import plot_gallery
from vizkit.reports.draft import Draft
from vizkit.reports.page import Section, Table, counted, percent
from vizkit.reports.study import Study
from vizkit.results import Disagreement

_ROWS = 12


def parting(study: Study, draft: Draft) -> Section:
    """Draw which photos are disputed, whose answers flip, and how far maps agree."""
    section = Section("disagreements", "Where models part")
    found = study.disagreement
    if found is None:
        section.text.append(f"Not computed: {study.missing['disagreement']}.")
        return section
    count = counted(found.images, "photo")
    section.text.append(
        f"{_agreed(found)} Disagreement is the Jensen-Shannon divergence of the models' "
        "probabilities: 0 where all say the same, 1 where each is sure of another class."
    )
    section.figures.append(
        draft.figure(
            "disagreement",
            f"Where the models part, over {count}; {study.seen}.",
            partial(plot_disagreement, found),
        )
    )
    section.figures.append(
        draft.figure(
            "disputed",
            f"The {counted(len(study.gallery[0].seen), 'photo')} that the models disagree on most, "
            f"of {found.images}, and what speaks for "
            f"{'its own class' if found.labelled else 'the class most probable on average'} in "
            f"each model ({found.method} at the last stride that all models have, each map with "
            f"its own colour scale; {study.seen}).",
            partial(plot_gallery, found, study.gallery),
        )
    )
    top = found.ranking.head(_ROWS).drop(columns=["position", "score"])
    section.tables.append(Table("The most disputed photos.", top, "The most disputed photos"))
    section.data += [
        draft.table("disputed", found.ranking),
        draft.table("agreement", found.agreement),
    ]
    if found.labelled:
        _flips(found, draft, section, count, study.seen)
    return section


def _agreed(found: Disagreement) -> str:
    same = int((found.ranking["classes"] == 1).sum())
    share = percent(same / found.images)
    return f"All models give the same answer for {same} of {found.images} photos ({share})."


def _flips(found: Disagreement, draft: Draft, section: Section, count: str, seen: str) -> None:
    counts = found.flip_counts()
    section.tables.append(
        Table(
            f"Flips, over {count}: photos that only the one or only the other model gets right, "
            "and the probability of so uneven a split by chance (exact McNemar test).",
            counts,
            "Flips between every two models",
        )
    )
    every = [found.flips(a, b) for a, b in combinations(found.models, 2)]
    section.figures.append(
        draft.figure(
            "confusion",
            f"Which classes are taken for which, as shares of the photos of a class, over {count}; "
            f"colours from 0 to 1; {seen}.",
            partial(plot_confusion, found),
            "Confusion between classes",
        )
    )
    section.data += [
        draft.table("flip_counts", counts),
        draft.table("flips", pd.concat(every)),
        draft.table("confusion", found.confusion()),
    ]
