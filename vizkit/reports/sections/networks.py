"""Which networks are compared, and how they are joined."""

from __future__ import annotations

from typing import Any

import pandas as pd

from vizkit.models import list_models
from vizkit.reports.draft import Draft
from vizkit.reports.page import Section, Table
from vizkit.reports.study import Study


def networks(study: Study, draft: Draft) -> Section:
    """List the networks, their inputs, and where each is read at each stride."""
    frame = pd.DataFrame(_facts(study))
    axis = study.comparison.to_frame().drop(columns="input")
    text = [
        "Stages are named by their stride: how many input pixels lie between neighbouring places "
        "of a map. Models are joined on stride, never on their number in a list; what a model "
        "does not have stays empty."
    ]
    inputs = set(study.comparison.transforms.values())
    if len(inputs) > 1:
        text.append(
            "The models see different inputs: each photo passes through each model's own "
            "transform, so differences may come from what they see."
        )
    return Section(
        "models",
        "Models",
        text,
        tables=[
            Table("The models, their weights and what they see of a photo.", frame),
            Table("The map of each stage: channels x height x width.", axis),
        ],
        data=[draft.table("models", frame), draft.table("stages", axis)],
    )


def _facts(study: Study) -> list[dict[str, object]]:
    known = list_models().set_index("name")
    rows = []
    for each in study.classifiers:
        name = each.recipe["name"] if each.recipe else each.name
        facts: Any = known.loc[name] if name in known.index else {}
        rows.append(
            {
                "model": each.name,
                "weights": each.source,
                "parameters": sum(p.numel() for p in each.module.parameters()),
                "classes": len(each.classes),
                "input": study.comparison.transforms[each.name],
                "top-1 %": facts.get("top1"),
                "top-5 %": facts.get("top5"),
                "published for": facts.get("reference"),
            }
        )
    return rows
