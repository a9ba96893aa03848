"""The bundled models."""

from __future__ import annotations

from vizkit import zoo
from vizkit.errors import unknown
from vizkit.models.sources.timm_models import timm_transform
from vizkit.models.sources.wanted import Parts, Wanted


def demo_model(wanted: Wanted) -> Parts:
    """Build a bundled model.

    Parameters
    ----------
    wanted : Wanted
        Which, and with which weights.

    Returns
    -------
    Parts
        Of the network.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    if wanted.name not in zoo.NAMES:
        raise unknown("demo model", wanted.name, zoo.NAMES)
    wanted.refuse_test_size()
    names = wanted.names_of(tuple(zoo.recipes()["classes"]))
    if wanted.pretrained:
        module = zoo.load(wanted.name)
        return Parts(module, timm_transform(module), names, "bundled weights")
    module = zoo.build(wanted.name, len(names))
    return Parts(module, timm_transform(module), names, wanted.fill(module))
