"""Every stage of every network beside each other, photo by photo."""

from __future__ import annotations

from functools import partial

import pandas as pd

from vizkit.attribution import METHODS
from vizkit.plots import plot_comparison
from vizkit.reports.draft import Draft
from vizkit.reports.page import Section, listed
from vizkit.reports.study import Study

_SCALES = {
    "panel": "each cell has its own colour scale",
    "stage": "the cells of a column share one colour scale",
    "model": "the cells of a model share one colour scale",
    "all": "all cells share one colour scale",
}


def matrix(study: Study, draft: Draft, scale: str | None, channels: int) -> Section:
    """Draw feature maps and attributions of each photo as a matrix of models and stages."""
    comparison = study.comparison
    first = next(iter(comparison.attributions.values()))
    labels = [METHODS[name].label for name in first.values]
    section = Section("stages", "Stage by stage", [_lead(study, labels)])
    classes = _classes(study)
    for n, photo in enumerate(comparison.images):
        one = comparison.select(n)
        group = f"{classes[photo]}: {photo}" if photo in classes else photo
        section.figures += [
            draft.figure(
                f"why-{n + 1}",
                f"{listed(labels)} for one class of {photo}, over what each model saw of it "
                f"({study.seen}); {_SCALES[scale or 'panel']}.",
                partial(plot_comparison, one, show="attributions", scale=scale or "panel"),
                group,
            ),
            draft.figure(
                f"maps-{n + 1}",
                f"Feature maps of {photo}: up to {channels} channels of each stage, those with the "
                f"most energy; {_SCALES[scale or 'stage']}; {study.seen}.",
                partial(
                    plot_comparison, one, show="maps", channels=channels, scale=scale or "stage"
                ),
                group,
            ),
        ]
    tables = {
        "attributions": [each.to_frame() for each in comparison.attributions.values()],
        "feature_maps": [each.to_frame() for each in comparison.maps.values()],
    }
    section.data = [draft.table(name, pd.concat(frames)) for name, frames in tables.items()]
    return section


def _lead(study: Study, labels: list[str]) -> str:
    same = (
        "All models explain the same class of a photo: the one most probable on average."
        if study.comparison.same_classes
        else "The models share no classes: each explains the class it predicts."
    )
    return (
        f"What each stage computes, and which places speak for a class ({listed(labels)}). {same}"
    )


def _classes(study: Study) -> dict[str, str]:
    """Look up the class of each photo, where it is known."""
    if study.disagreement is None or not study.labelled:
        return {}
    table = study.disagreement.predictions.drop_duplicates("image")
    return dict(zip(table["image"], table["label"], strict=True))
