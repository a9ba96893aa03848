"""What the networks cost: parameters, arithmetic and time."""

from __future__ import annotations

from functools import partial

import pandas as pd

from vizkit.plots import plot_profile
from vizkit.reports.draft import Draft
from vizkit.reports.page import Section, Table
from vizkit.reports.study import Study


def cost(study: Study, draft: Draft) -> Section:
    """Draw where parameters and multiply-accumulates lie, and tabulate the time."""
    frame = study.comparison.profile
    section = Section(
        "profile",
        "Profile and speed",
        [
            "GMACs: 1e9 multiply-accumulates of convolutions and linear layers (timm's "
            "convention). Activations: 1e6 outputs of these. Receptive field: theoretical, in "
            "input pixels."
        ],
    )
    section.figures.append(
        draft.figure(
            "profile",
            "Where parameters, multiply-accumulates and activations lie, for one image at each "
            "model's own input size.",
            partial(plot_profile, frame),
        )
    )
    section.data.append(draft.table("profile", frame))
    if len(study.speed):
        section.tables.append(Table(_words(study.speed), _speed(study)))
        section.data.append(draft.table("speed", study.speed))
    section.tables.append(Table("Stage by stage.", frame, "All stages in numbers"))
    return section


def _speed(study: Study) -> pd.DataFrame:
    totals = study.comparison.profile.query("stage == 'total'").set_index("model")
    table = study.speed[["model", "size", "ms", "fastest", "slowest"]].copy()
    table["gmacs"] = table["model"].map(totals["gmacs"])
    table["ms per gmac"] = table["ms"] / table["gmacs"]
    return table


def _words(speed: pd.DataFrame) -> str:
    one = speed.iloc[0]
    threads = f", {one['threads']} threads" if str(one["device"]).startswith("cpu") else ""
    return (
        f"Milliseconds per image of a forward pass of {one['batch']} images, median of "
        f"{one['runs']} interleaved runs on {one['device']}{threads}: measured when the report was "
        "first made."
    )
