"""How everything was computed, with sources."""

from __future__ import annotations

from vizkit.attribution import METHODS
from vizkit.reports.draft import Draft
from vizkit.reports.page import Section
from vizkit.reports.study import Study

_NETWORKS = {
    "vgg": "VGG: Simonyan and Zisserman, arXiv:1409.1556.",
    "vovnet": "VoVNet: Lee et al., arXiv:1904.09730; with squeeze-and-excitation (version 2): Lee "
    "and Park, arXiv:1911.06667.",
    "resnet": "ResNet: He et al., arXiv:1512.03385.",
}


def notes(study: Study, _draft: Draft) -> Section:
    """State definitions and sources."""
    section = Section(
        "notes",
        "Method notes",
        [
            "Feature maps are what a module produced, before anything overwrites it; networks run "
            "in evaluation mode and are left as they were. Values are raw; figures say how their "
            "colours are scaled."
        ],
    )
    section.lists = [
        ("Networks", _networks(study)),
        ("Attributions", _attributions(study)),
        ("Statistics", [f"{name}: {unit}." for name, unit in study.statistics.units.items()]),
        ("Comparison", _comparison(study)),
    ]
    return section


def _networks(study: Study) -> list[str]:
    names = " ".join(each.name.lower() for each in study.classifiers)
    found = [words for key, words in _NETWORKS.items() if key in names]
    if "_bn" in names:
        found.append("Batch normalisation: Ioffe and Szegedy, arXiv:1502.03167.")
    return found


def _attributions(study: Study) -> list[str]:
    first = next(iter(study.comparison.attributions.values()))
    own = [METHODS[name] for name in first.values]
    found = [f"{each.label}: {each.summary} {each.paper}." for each in own]
    found.append(
        "Deletion and insertion: Petsiuk et al., RISE, arXiv:1806.07421; places are replaced by "
        "the blurred photo."
    )
    return found


def _comparison(study: Study) -> list[str]:
    found = [
        "Summary: differences are ranked by their relative size (1 less the smaller over the "
        "larger value; for shares their difference; for similarity 1 less its value). A change "
        "is called one only if it has the same direction in every pair of models.",
        "Agreement of maps: Spearman's rank correlation on a grid of 64 x 64 places over the part "
        "of the photo that all models saw.",
    ]
    if study.similarity is not None:
        found.append(
            "Similarity: linear centred kernel alignment, Kornblith et al., arXiv:1905.00414, with "
            "the unbiased estimate over minibatches of Nguyen et al., arXiv:2010.15327."
        )
    if study.disagreement is not None:
        found.append(
            "Disagreement: generalised Jensen-Shannon divergence (Lin 1991) of the probabilities "
            "of the classes that the models share, over the logarithm of the number of models."
        )
    if study.labelled:
        found += [
            "Calibration: expected calibration error, Guo et al., arXiv:1706.04599, 15 bins of "
            "equal width.",
            "Accuracy: 95 % Wilson score intervals (Wilson 1927); flips: exact McNemar test.",
        ]
    return found
