"""What the networks answer, and how often that is right."""

from __future__ import annotations

from functools import partial

from vizkit.plots import plot_predictions
from vizkit.plots.calibration import plot_calibration
from vizkit.reports.draft import Draft
from vizkit.reports.page import Section, Table, counted
from vizkit.reports.study import Study


def answers(study: Study, draft: Draft) -> Section:
    """Show predictions; where the photos' classes are known, accuracy and calibration."""
    comparison = study.comparison
    frames = {
        model: comparison.predictions[comparison.predictions["model"] == model]
        for model in comparison.models
    }
    seen = next(iter(comparison.maps.values())).seen
    shown = len(comparison.images)
    section = Section("predictions", "Predictions", [_lead(study)])
    section.figures.append(
        draft.figure(
            "predictions",
            f"The most probable classes of each model for {counted(shown, 'photo')}, with their "
            f"softmax probability; {study.seen}.",
            partial(plot_predictions, frames, seen),
        )
    )
    section.data.append(draft.table("predictions", comparison.predictions))
    if study.disagreement is not None:
        section.data.append(draft.table("answers", study.disagreement.predictions))
    if study.labelled:
        _judged(study, draft, section)
    elif "labels" in study.missing:
        section.text.append(f"Whether they are right is not known here: {study.missing['labels']}.")
    return section


def _lead(study: Study) -> str:
    models, images = len(study.classifiers), len(study.images)
    shown = len(study.comparison.images)
    text = f"What {counted(models, 'model')} {'says' if models == 1 else 'say'} about "
    text += f"{counted(images, 'photo')}."
    if shown < images:
        text += f" Pictures show {shown} of them, evenly spaced; numbers are of all."
    if any(each.name.startswith("demo/") for each in study.classifiers) and not study.labelled:
        text += (
            " The bundled demo models know ten classes only. A photo of anything else, such as "
            "the bundled ones, forces them to choose among these ten: watch how sure they are, "
            "not whether they are right."
        )
    return text


def _judged(study: Study, draft: Draft, section: Section) -> None:
    found = study.disagreement
    if found is None:
        return
    scores = found.scores()
    section.tables.append(
        Table(
            f"Over all {found.images} photos, whose folders are their classes: share of right "
            "answers with its 95 % Wilson interval, mean confidence, expected calibration error "
            "(15 bins), Brier score and negative log-likelihood (nats).",
            scores,
        )
    )
    section.data.append(draft.table("scores", scores))
    section.figures.append(
        draft.figure(
            "calibration",
            f"Whether models are as sure as they are right: share of right answers among those "
            f"of like confidence, over {found.images} photos; {study.seen}.",
            partial(plot_calibration, found),
        )
    )
    section.data.append(draft.table("calibration", found.calibration()))
