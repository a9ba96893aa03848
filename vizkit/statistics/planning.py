"""Which statistics are counted where, decided before the first image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vizkit.errors import InputError, chosen
from vizkit.images import Images
from vizkit.labels import folder_indices
from vizkit.models import Classifier
from vizkit.results import Tap
from vizkit.statistics.registry import ACCUMULATORS, DEFAULT, STATISTICS, Accumulator, Site
from vizkit.statistics.sample import CPU
from vizkit.streaming import labels_of


@dataclass(frozen=True)
class Plan:
    """Which statistics are computed where.

    Attributes
    ----------
    wanted : list of str
        Their names.
    left_out : dict of str to str
        Those that exist nowhere, and why.
    labels : Tensor of shape (N,), int64, or None
        Number of each image's class folder.
    folders : tuple of str
        Names of the class folders.
    tables : list of dict of Tap to list of Accumulator
        One per network: what counts at each tap.
    targets : list of Tensor of shape (N,), int64, or None
        One per network: each image's own class; None for the predicted one.
    loss : str
        Whose loss is differentiated, in words.
    """

    wanted: list[str]
    left_out: dict[str, str]
    labels: Tensor | None
    folders: tuple[str, ...]
    tables: list[dict[Tap, list[Accumulator]]]
    targets: list[Tensor | None]
    loss: str


def planned(
    classifiers: list[Classifier],
    images: Images,
    statistics: str | Sequence[str] | None,
    taps: Sequence[Sequence[Tap]],
) -> Plan:
    """Decide what is counted, before any image is looked at.

    Parameters
    ----------
    classifiers : list of Classifier
        The networks.
    images : Images
        Whose folders are their classes.
    statistics
        As for `vizkit.describe`.
    taps : sequence of sequence of Tap
        Where each network is read.

    Returns
    -------
    Plan
        With empty sums.

    Raises
    ------
    InputError
        If a statistic is unknown, or a statistic asked for by name exists nowhere here.
    """
    names, by_name = _wanted(statistics)
    labels = labels_of(images)
    folders = tuple(sorted(set(labels or ())))
    numbers = {folder: n for n, folder in enumerate(folders)}
    reasons: dict[str, str] = {}
    tables = []
    for classifier, own in zip(classifiers, taps, strict=True):
        sites = _sites(classifier, own, folders)
        tables.append({site.tap: list(_accumulators(site, names, reasons)) for site in sites})
    made = {type(each) for table in tables for row in table.values() for each in row}
    missing = {name: reasons[name] for name in names if ACCUMULATORS[name] not in made}
    if missing and by_name:
        name, reason = next(iter(missing.items()))
        raise InputError(f"no statistic {name!r} here: {reason}")
    numbered = torch.tensor([numbers[each] for each in labels]) if labels else None
    targets, loss = _targets(classifiers, folders, numbered)
    wanted = [name for name in names if name not in missing]
    return Plan(wanted, missing, numbered, folders, tables, targets, loss)


def _wanted(statistics: str | Sequence[str] | None) -> tuple[list[str], bool]:
    """Name statistics, and say whether each was asked for by its name."""
    if statistics is None:
        return list(DEFAULT), False
    names = chosen("statistic", statistics, [*STATISTICS, "all"])
    return (list(STATISTICS), False) if "all" in names else (names, True)


def _sites(classifier: Classifier, taps: Sequence[Tap], folders: tuple[str, ...]) -> list[Site]:
    module, device = classifier.module, classifier.device
    # float64 sums must be possible
    home = CPU if device.type == "mps" else device
    differentiable = not any(parameter.is_inference() for parameter in module.parameters())
    return [Site(tap, folders, _norm_of(module, tap), home, differentiable) for tap in taps]


def _norm_of(module: nn.Module, tap: Tap) -> _BatchNorm | None:
    if tap.role != "norm":
        return None
    own = module.get_submodule(tap.module)
    # timm's BatchNormAct2d is read at its inner Identity
    around = module.get_submodule(tap.module.rpartition(".")[0])
    found = next((each for each in (own, around) if isinstance(each, _BatchNorm)), None)
    return found if found is not None and found.running_mean is not None else None


def _accumulators(site: Site, names: list[str], reasons: dict[str, str]) -> Iterator[Accumulator]:
    for cls in dict.fromkeys(ACCUMULATORS[name] for name in names):
        reason = cls.missing(site)
        if reason is None:
            yield cls(site)
        else:
            reasons |= {name: reason for name in names if ACCUMULATORS[name] is cls}


def _targets(
    classifiers: list[Classifier], folders: tuple[str, ...], labels: Tensor | None
) -> tuple[list[Tensor | None], str]:
    """Find whose loss is differentiated, of one kind for all networks, and say it."""
    found = [_targets_of(each, folders, labels) for each in classifiers]
    if any(each is None for each in found):
        return [None] * len(found), "the predicted class's loss"
    return found, "the own class's loss"


def _targets_of(
    classifier: Classifier, folders: tuple[str, ...], labels: Tensor | None
) -> Tensor | None:
    """Output of each image's class folder; None where folders are no classes of the network."""
    if labels is None:
        return None
    try:
        found = folder_indices(classifier, list(folders))
    except InputError:
        return None
    return torch.tensor([found[folder] for folder in folders])[labels]
