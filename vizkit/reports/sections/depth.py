"""How activations change with depth, and what batch normalisation changes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from vizkit.plots import plot_distributions, plot_statistics
from vizkit.plots.contrasts import plot_twins
from vizkit.reports.draft import Draft
from vizkit.reports.page import Section, counted, listed
from vizkit.reports.study import Study
from vizkit.wording.contrasts import contrasts


def depth(study: Study, draft: Draft) -> Section:
    """Draw statistics of stages and layers, twins, and whole distributions."""
    stages = study.statistics
    count = counted(stages.images, "photo")
    section = Section("statistics", "Statistics against depth", _lead(study, count))
    section.figures.append(
        draft.figure(
            "statistics-stages",
            f"Statistics of every stage over {count}, all channels and places; {study.seen}.",
            partial(plot_statistics, stages),
        )
    )
    section.data += [
        draft.table("statistics_stages", stages.frame),
        draft.table("statistics_channels", stages.channels),
    ]
    models = [each.name for each in study.classifiers]
    if any(each.name == "batch normalisation" for each in contrasts(models)):
        section.figures.append(
            draft.figure(
                "twins",
                "What batch normalisation changes: each network against its twin without it, stage "
                f"by stage, over {count}; {study.seen}.",
                partial(plot_twins, stages),
            )
        )
    if study.layers is not None:
        _layers(study, draft, section, count)
    if len(stages.failed):
        section.data.append(draft.table("failed", stages.failed))
    return section


def _lead(study: Study, count: str) -> list[str]:
    text = [
        "How activations change with depth, with and without batch normalisation. A channel is "
        f"dead if it never exceeds zero on these {count}; few photos make many such."
    ]
    failed = study.statistics.failed
    if len(failed):
        names = [Path(file).name for file in failed["file"]]
        text.append(f"Left out, because they cannot be read: {listed(names, 12)}.")
    return text


def _layers(study: Study, draft: Draft, section: Section, count: str) -> None:
    layers = study.layers
    if layers is None:
        return
    section.figures += [
        draft.figure(
            "statistics-layers",
            "The same of every VGG layer after its activation, joined on the paper's names, over "
            f"{count}; {study.seen}.",
            partial(plot_statistics, layers, ["mean", "std", "sparsity", "dead", "energy"]),
            "Layer by layer",
        ),
        draft.figure(
            "distributions",
            "How the activations of every VGG layer are distributed, after convolution, "
            f"normalisation and activation, over {count}; {study.seen}.",
            partial(plot_distributions, layers),
            "Layer by layer",
        ),
    ]
    section.data.append(draft.table("statistics_layers", layers.frame))
