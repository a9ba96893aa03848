"""Everything that a page may count in a network, counted in one pass without arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vizkit.errors import unknown
from vizkit.hooks import blank, dry_run, evaluating
from vizkit.interrupts import surely
from vizkit.models.sources import SOURCES, Parts, Wanted
from vizkit.modes import active
from vizkit.stages import Call, trace


@dataclass(frozen=True)
class Counts:
    """What a network does for one image.

    Attributes
    ----------
    params : int
        Parameters.
    macs : int
        Multiply-accumulates of convolutions and matrix products.
    activations : int
        Elements that convolutions and linear layers give.
    biases : int
        Additions of the biases of these.
    rectified : int
        Elements that ReLUs take.
    pooled : int
        Elements that max-pools take.
    normalised : int
        Elements that batch normalisations take.
    """

    params: int
    macs: int
    activations: int
    biases: int
    rectified: int
    pooled: int
    normalised: int


def count(module: nn.Module, size: tuple[int, int]) -> Counts:
    """Count what a network does for one image, on the meta device where it can run there.

    Parameters
    ----------
    module : nn.Module
        The network.
    size : tuple of (int, int)
        Height and width of the input, in pixels.

    Returns
    -------
    Counts
        Of one forward pass in evaluation mode.
    """
    calls = trace(module, size, exact=True)
    counter = FlopCounterMode(display=False)
    with evaluating(module), surely(counter):
        dry_run(module, blank(module, size, calls[-1].device))
    weighted = [call for call in calls if isinstance(call.module, nn.Conv2d | nn.Linear)]
    return Counts(
        params=sum(parameter.numel() for parameter in module.parameters()),
        macs=counter.get_total_flops() // 2,
        activations=_elements(call.after for call in weighted),
        biases=_elements(call.after for call in weighted if call.module.bias is not None),
        rectified=_taken_by(nn.ReLU, calls),
        pooled=_taken_by(nn.MaxPool2d, calls),
        normalised=_taken_by(nn.BatchNorm2d, calls),
    )


def weightless(name: str) -> Parts:
    """Build a model without memory for its weights, for what needs shapes only.

    Parameters
    ----------
    name : str
        As `vizkit.load` takes it.

    Returns
    -------
    Parts
        With the network on the meta device; untrained on the CPU, if it cannot be built there.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    source, _, short = name.rpartition("/")
    if source not in SOURCES:
        raise unknown("source", source, [key for key in SOURCES if key])
    wanted = Wanted(short, pretrained=False)
    # whoever counts draws no random numbers
    with surely(torch.random.fork_rng(devices=[])):
        try:
            with active(torch.device("meta")):
                return SOURCES[source](wanted)
        except (RuntimeError, NotImplementedError):
            # it computes something while it is built
            return SOURCES[source](wanted)


def _taken_by(kind: type[nn.Module], calls: Iterable[Call]) -> int:
    return _elements(call.before for call in calls if isinstance(call.module, kind))


def _elements(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(torch.Size(shape).numel() for shape in shapes)
