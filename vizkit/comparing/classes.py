"""Classes that several networks have in common, and which of them to explain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vizkit.attribution.targets import index_of, rows_of
from vizkit.errors import InputError, listed
from vizkit.models import Classifier


@dataclass(frozen=True)
class SharedClasses:
    """Classes that all networks know; see `shared_classes`.

    Attributes
    ----------
    names : tuple of str
        Their names; ``"class 3"`` where outputs have none.
    indices : tuple of Tensor of shape (S,)
        For each network, which output each of the S classes is.
    """

    names: tuple[str, ...]
    indices: tuple[Tensor, ...]

    def probabilities(self, logits: Sequence[Tensor]) -> Tensor:
        """Give each network's probabilities of the shared classes, as shares of these alone.

        Parameters
        ----------
        logits : sequence of Tensor of shape (N, K)
            One per network.

        Returns
        -------
        Tensor of shape (M, N, S), float64
            On the CPU; they sum to 1 over the classes.
        """
        own = [
            each.detach().cpu().double()[:, index].softmax(dim=1)
            for each, index in zip(logits, self.indices, strict=True)
        ]
        return torch.stack(own)

    def most_probable(self, logits: Sequence[Tensor], count: int = 1) -> list[Tensor]:
        """Choose each image's most probable classes, on average over the networks.

        Parameters
        ----------
        logits : sequence of Tensor of shape (N, K)
            One per network.
        count : int
            How many classes.

        Returns
        -------
        list of Tensor of shape (N, count), int64
            Which outputs of each network they are.

        Raises
        ------
        InputError
            If the networks share fewer classes.
        """
        if not 1 <= count <= len(self.names):
            raise InputError(
                f"unknown target 'top{count}': the models share {len(self.names)} classes"
            )
        best = self.probabilities(logits).mean(dim=0).topk(count, dim=1).indices
        return [index[best] for index in self.indices]


def shared_classes(classifiers: Sequence[Classifier], outputs: Sequence[int]) -> SharedClasses:
    """Find the classes that several networks have in common, by name.

    Parameters
    ----------
    classifiers : sequence of Classifier
        The networks.
    outputs : sequence of int
        How many outputs each has.

    Returns
    -------
    SharedClasses
        All classes of networks that have the same; without names, outputs are taken for the same
        if there are as many of them. Empty if there is none in common.
    """
    first = classifiers[0].classes
    if len(set(outputs)) == 1 and all(each.classes == first for each in classifiers):
        every = torch.arange(outputs[0])
        names = tuple(classifiers[0].class_name(n) for n in range(outputs[0]))
        return SharedClasses(names, tuple(every for _ in classifiers))
    known = [each.classes[:count] for each, count in zip(classifiers, outputs, strict=True)]
    common = [name for name in dict.fromkeys(first) if all(name in each for each in known)]
    return SharedClasses(
        tuple(common),
        tuple(
            torch.tensor([each.index(name) for name in common], dtype=torch.long) for each in known
        ),
    )


def targets_of(
    wanted: Any, classifiers: Sequence[Classifier], logits: Sequence[Tensor]
) -> tuple[list[Tensor | Any], bool]:
    """Find the classes to explain: the same ones for all networks, where they share classes.

    Parameters
    ----------
    wanted : None, int, str, list, or Tensor of shape (N, T)
        As for `vizkit.attribute`, but None and ``"top5"`` mean the most probable on average.
    classifiers : sequence of Classifier
        The networks.
    logits : sequence of Tensor of shape (N, K)
        Of each for the same images.

    Returns
    -------
    targets : list
        For each network, as for `vizkit.attribute`.
    same : bool
        Whether they are the same classes, as far as their names tell; if networks share none,
        each explains its own prediction.
    """
    ranked = re.fullmatch(r"top(\d+)", wanted) if isinstance(wanted, str) else None
    if wanted is not None and not ranked:
        outputs = min(each.shape[1] for each in logits)
        return [wanted] * len(classifiers), _same(wanted, classifiers, outputs)
    shared = shared_classes(classifiers, [each.shape[1] for each in logits])
    if not shared.names:
        return [wanted] * len(classifiers), False
    found = shared.most_probable(logits, int(ranked[1]) if ranked else 1)
    return [each.to(own.device) for each, own in zip(found, logits, strict=True)], True


def check_targets(wanted: Any, classifiers: Sequence[Classifier], images: int) -> Any:
    """Refuse classes that a network does not know, before any runs.

    Parameters
    ----------
    wanted : None, int, str, list, or Tensor of shape (N,) or (N, T)
        As for `vizkit.attribute`.
    classifiers : sequence of Classifier
        The networks.
    images : int
        N.

    Returns
    -------
    None, int, str, list, or Tensor of shape (N, T)
        The same.

    Raises
    ------
    InputError
        If there is no such class.
    """
    if isinstance(wanted, Tensor):
        return rows_of(wanted, images)
    if not (isinstance(wanted, str) and re.fullmatch(r"top\d+", wanted)):
        for name in _listed(wanted):
            for classifier in classifiers:
                index_of(name, classifier)
    return wanted


def _same(wanted: Any, classifiers: Sequence[Classifier], outputs: int) -> bool:
    """Whether outputs given by number have one name; those given by name do."""
    given = {int(each) for each in _listed(wanted) if not isinstance(each, str)}
    # of others, explaining says that they are not there
    numbers = given & set(range(outputs))
    return all(len({each.class_name(n) for each in classifiers}) == 1 for n in numbers)


def _listed(wanted: Any) -> list[Any]:
    if isinstance(wanted, Tensor):
        return list(set(wanted.flatten().tolist()))
    if wanted is None:
        return []
    several = listed(wanted)
    return [wanted] if several is None else several
