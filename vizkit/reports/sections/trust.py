"""How far the attributions can be trusted."""

from __future__ import annotations

from functools import partial

from vizkit.attribution import METHODS
from vizkit.attribution.explaining import TOLERANCE
from vizkit.plots.scores import plot_faithfulness
from vizkit.reports.draft import Draft
from vizkit.reports.page import Section, Table, listed, percent
from vizkit.reports.study import CURVE_STEPS, Study, faithfulness_of

_REFERENCES = {"(centre)": "bell over the centre", "(uniform)": "the same everywhere"}


def trust(study: Study, draft: Draft) -> Section:
    """Compare the areas under insertion and deletion curves, and the models' agreement."""
    scores = faithfulness_of(study.curves)
    labels = {method.name: method.label for method in METHODS.values()} | _REFERENCES
    count = len(study.comparison.images)
    section = Section(
        "attributions",
        "How far to trust the attributions",
        [
            "Places are taken from a photo, or put back into a blurred one, in the order in which "
            "a map ranks them. A map that knows what the answer rests on lets the class's "
            "probability fall at once, or rise at once. Maps that know nothing (the centre, or "
            f"every place alike) are the measure of all. With {count} photos, differences of a "
            "few hundredths mean nothing."
        ],
    )
    section.text += _off(study)
    section.figures.append(
        draft.figure(
            "faithfulness",
            f"Insertion less deletion, mean over {count} photos, places replaced by a blurred "
            f"photo in {CURVE_STEPS} steps; stage-level methods at the last strides that all "
            f"models have; colours about zero, as the numbers; {study.seen}.",
            partial(plot_faithfulness, scores, labels=labels),
        )
    )
    section.tables.append(
        Table("Mean areas under the curves, in [0, 1].", scores, "All numbers of this figure")
    )
    agreement = study.comparison.agreement
    section.data = [
        draft.table("faithfulness", scores),
        draft.table("curves", study.curves),
        draft.table("agreement_shown", agreement),
    ]
    return section


def _off(study: Study) -> list[str]:
    """Name the methods whose maps do not sum to what they explain, and for which models."""
    found: dict[str, list[str]] = {}
    for model, attributions in study.comparison.attributions.items():
        for method, errors in attributions.errors.items():
            gains = (attributions.values[method]["input"].sum(dim=(-2, -1)) - errors).abs()
            shares = errors.abs() / gains.clamp(min=1e-9)
            count = int((shares > TOLERANCE).sum())
            if count:
                most = percent(shares.max().item())
                words = f"{model} ({count} of {shares.numel()}, by up to {most})"
                found.setdefault(METHODS[method].label, []).append(words)
    return [
        f"Beware: maps of {method} do not sum to the difference in score that they explain, by "
        f"more than {percent(TOLERANCE)}: {listed(models, 12)}."
        for method, models in found.items()
    ]
