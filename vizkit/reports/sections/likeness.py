"""How alike the networks' maps are."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import pandas as pd

from vizkit.plots import plot_similarity
from vizkit.reports.draft import Draft
from vizkit.reports.page import Section, counted
from vizkit.reports.study import Study


def likeness(study: Study, draft: Draft) -> Section:
    """Draw the similarity of all stages of all networks."""
    section = Section(
        "similarity",
        "Similarity",
        [
            "Whether two stages find the same photos alike, whatever the rotation and scale of "
            "their features: 1 where they do, 0 where they have nothing in common (linear CKA)."
        ],
    )
    found = study.similarity
    if found is None:
        section.text.append(f"Not computed: {study.missing['similarity']}.")
        return section
    count = counted(found.images, "photo")
    if not study.enough:
        section.text.append(
            f"From {count} little can be said: values scatter by tenths. A folder of a few hundred "
            "gives numbers to rely on."
        )
    section.figures.append(
        draft.figure(
            "similarity",
            f"Similarity of every stage of every model with every other, {found.measure} over "
            f"{count}, unbiased; colours from 0 to 1; {study.seen}.",
            partial(plot_similarity, found),
        )
    )
    section.data.append(draft.table("similarity", found.to_frame()))
    pairs = [found.best_match(a, b) for a, b in permutations(found.models, 2)]
    if pairs:
        section.data.append(draft.table("best_matches", pd.concat(pairs)))
    return section
