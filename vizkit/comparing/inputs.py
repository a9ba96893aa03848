"""What each network sees of a photo: its own view, or the same pixels for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vizkit.errors import InputError
from vizkit.images import Transform
from vizkit.models import Classifier


def with_pixels(
    classifiers: Sequence[Classifier], same_pixels: bool | Transform
) -> list[Classifier]:
    """Give networks one view of a photo, each normalised as it is used to.

    Parameters
    ----------
    classifiers : sequence of Classifier
        The networks, which are not changed.
    same_pixels : bool or Transform
        False: each keeps its own transform. True: all get size, crop and interpolation of the
        first. A `Transform`: of this one.

    Returns
    -------
    list of Classifier
        In the same order.

    Raises
    ------
    InputError
        If a network's transform is a function of its own, or what is given is no transform.
    """
    if same_pixels is False:
        return list(classifiers)
    view = classifiers[0].transform if same_pixels is True else same_pixels
    if not isinstance(view, Transform):
        raise InputError(f"same_pixels takes True, False or a Transform, not {same_pixels!r}")
    return [replace(each, transform=_seeing(each, view)) for each in classifiers]


def _seeing(classifier: Classifier, view: Transform) -> Transform:
    own = classifier.transform
    if not isinstance(own, Transform):
        raise InputError(
            f"{classifier.name} has a transform of its own kind, whose pixels cannot be chosen: "
            "wrap it with a vizkit.Transform for same_pixels"
        )
    # mean and deviation stay: they belong to the weights
    return replace(view, mean=own.mean, std=own.std)
