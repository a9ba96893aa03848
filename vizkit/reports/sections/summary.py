"""The summary: what differs most, and what depth, normalisation and architecture change."""

from __future__ import annotations

import pandas as pd

from vizkit.reports.page import Page, Point, counted, listed, percent
from vizkit.reports.study import ENOUGH, Study
from vizkit.wording.contrasts import contrasts, measures
from vizkit.wording.findings import changes, findings

# agreement of explanations over all images is drawn where models part
_PROOF = {"attributions": "disagreements"}


def summary(study: Study) -> Page:
    """Compute the summary, in words."""
    models = [each.name for each in study.classifiers]
    answers = None if study.disagreement is None else study.disagreement.predictions
    numbers = measures(
        statistics=study.statistics,
        profile=study.comparison.profile,
        predictions=answers,
        speed=study.speed if len(study.speed) else None,
    )
    # few images say too little of how alike maps are
    alike = study.similarity if study.enough else None
    found = findings(numbers, similarity=alike, agreement=_agreement(study), predictions=answers)
    told = changes(numbers, contrasts(models), predictions=answers, similarity=alike)
    return Page(
        title=_title(models),
        lead=f"{listed(models, 9)}, on {counted(len(study.images), 'photo')}.",
        facts=_facts(study),
        points=[Point(each.text, _PROOF.get(each.section, each.section)) for each in found],
        note=_note(study),
        changes=[_headed(name, sentences) for name, sentences in told.items()],
    )


def _note(study: Study) -> str:
    """Warn of conclusions from few photos."""
    count = study.statistics.images
    if count >= ENOUGH:
        return ""
    return (
        f"From {counted(count, 'photo')} only: other photos may well give other numbers. What "
        f"hangs on how alike maps are is told from {ENOUGH} photos on."
    )


def _headed(name: str, sentences: list[str]) -> tuple[str, list[str]]:
    """Take the heading out of the first sentence."""
    start, colon, rest = sentences[0].partition(": ")
    if not colon or not start.lower().startswith(name.split(",")[0].lower()):
        return name, sentences
    return start, [rest[:1].upper() + rest[1:], *sentences[1:]]


def _agreement(study: Study) -> pd.DataFrame | None:
    """How far the maps of every two models agree, over all images, as findings take it."""
    found = study.disagreement
    if found is None or found.agreement.empty or found.images < ENOUGH:
        return None
    own = {f"{name}_{side}": found.agreement[name] for name in ("stage",) for side in "ab"}
    return found.agreement.assign(**own, method_a=found.method, method_b=found.method)


def _title(models: list[str]) -> str:
    return f"What {models[0]} sees" if len(models) == 1 else f"What {len(models)} models see"


def _facts(study: Study) -> list[tuple[str, str]]:
    strides = study.comparison.axis
    facts = [
        (str(len(study.classifiers)), "models" if len(study.classifiers) > 1 else "model"),
        (str(study.statistics.images), "photos" if study.statistics.images > 1 else "photo"),
        (str(len(strides)), "strides" if study.comparison.places.by_stride else "stages"),
    ]
    if study.disagreement is not None:
        same = (study.disagreement.ranking["classes"] == 1).mean()
        facts.append((percent(same), "of photos get one answer from all"))
    if study.labelled and study.disagreement is not None:
        scores = study.disagreement.scores().set_index("model")["accuracy"]
        facts.append((f"{percent(scores.min())} – {percent(scores.max())}", "accuracy"))
    return facts
