"""torchvision's models."""

from __future__ import annotations

from vizkit.errors import unknown
from vizkit.images import Transform
from vizkit.models.reach import require_cached
from vizkit.models.sources.wanted import Parts, Wanted


def torchvision_model(wanted: Wanted) -> Parts:
    """Build a classifier of torchvision's.

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
    WeightsError
        If weights are not within reach, or do not fit.
    """
    from torchvision import models as tv

    known = tv.list_models(module=tv)
    if wanted.name not in known:
        raise unknown("torchvision model", wanted.name, known, 12)
    wanted.refuse_test_size()
    published = tv.get_model_weights(wanted.name).DEFAULT
    names = wanted.names_of(tuple(published.meta["categories"]))
    if wanted.pretrained:
        require_cached(wanted.name, published.url)
        module = tv.get_model(wanted.name, weights=published)
        source = f"torchvision, {published}"
    else:
        module = tv.get_model(wanted.name, weights=None, **wanted.count)
        source = wanted.fill(module)
        if wanted.checkpoint and "transform_input" in vars(module):
            # as torchvision does with its own weights; the state dict does not say
            module.transform_input = True
            source += ", input scaled as torchvision's own weights expect"
    preset = published.transforms()
    transform = Transform(
        size=(preset.crop_size[0],) * 2,
        resize=(preset.resize_size[0],) * 2,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
    return Parts(module, transform, names, source)
