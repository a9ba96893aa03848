"""Layers that training leaves as they are."""

from __future__ import annotations

from torch import nn

from vizkit.errors import InputError, unknown
from vizkit.models import Classifier
from vizkit.stages import Call, trace
from vizkit.training.network import has_own_weights, input_size, last_layer

BACKBONE = "backbone"


class Frozen:
    """The frozen layers of a network.

    Parameters
    ----------
    classifier : Classifier
        The network; its frozen parameters take no gradient from now on.
    names : tuple of str
        Stages, or ``"backbone"``: all but the last layer with weights.

    Raises
    ------
    InputError
        If a stage is unknown, or nothing would be left to train.
    """

    def __init__(self, classifier: Classifier, names: tuple[str, ...]) -> None:
        stages = _stages(classifier) if names else {}
        for name in names:
            if name not in stages:
                raise unknown("stage to freeze", name, stages)
        self._modules = [module for name in names for module in stages[name]]
        for module in self._modules:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        if not any(p.requires_grad for p in classifier.module.parameters()):
            raise InputError(f"freeze={','.join(names)} leaves nothing to train")

    def hold(self) -> None:
        """Put the frozen layers into evaluation mode: their BatchNorm statistics stay."""
        for module in self._modules:
            module.training = False


def _stages(classifier: Classifier) -> dict[str, list[nn.Module]]:
    """Modules by the stage they run in, and all but the last as the backbone."""
    calls = trace(classifier.module, input_size(classifier))
    layers = [call for call in calls if call.leaf or has_own_weights(call.module)]
    last = last_layer(classifier)
    backbone = [call.module for call in layers if call.path != last]
    ends = {tap.module: tap.name for tap in classifier.stages}
    stages: dict[str, list[nn.Module]] = {}
    waiting: list[Call] = []
    for call in calls:
        if call in layers:
            waiting.append(call)
        if call.path in ends:
            stages[ends[call.path]] = [each.module for each in waiting]
            waiting = []
    return {BACKBONE: backbone, **stages}
