"""What each network sees of a photo: its own view, or the same pixels for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vizkit.errors import InputError, shown
from vizkit.files import printable
from vizkit.images import Images, Photo, Transform, readable
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
    if not isinstance(same_pixels, bool | Transform):
        raise InputError(f"same_pixels takes True, False or a Transform, not {shown(same_pixels)}")
    own = [_known(each) for each in classifiers]
    view = own[0] if isinstance(same_pixels, bool) else same_pixels
    # mean and deviation stay: they belong to the weights
    return [
        replace(each, transform=replace(view, mean=its.mean, std=its.std))
        for each, its in zip(classifiers, own, strict=True)
    ]


def usable_of(
    batch: Images, start: int, classifiers: Sequence[Classifier]
) -> tuple[Images, tuple[int, ...], dict[str, str]]:
    """Read photos from their files, and leave out those that cannot be used.

    Parameters
    ----------
    batch : Images
        Some of the images.
    start : int
        Where the first of them stands among all.
    classifiers : sequence of Classifier
        Whose transforms they will pass through.

    Returns
    -------
    images : Images
        In memory.
    positions : tuple of int
        Where each stands among all.
    failed : dict of str to str
        Position and reason of the others.
    """
    photos: list[Photo] = []
    positions: list[int] = []
    failed: dict[str, str] = {}
    for position, photo in enumerate(batch, start):
        good, bad = readable(Images((photo,)))
        reason = "".join(bad.values()) or _refused(photo, good, classifiers)
        if reason:
            failed[str(position)] = reason
        else:
            photos += good.photos
            positions.append(position)
    return Images(tuple(photos)), tuple(positions), failed


def _refused(photo: Photo, good: Images, classifiers: Sequence[Classifier]) -> str:
    """Say why a file that can be read cannot be used; of what is no file, nothing."""
    transforms = [each.transform for each in classifiers if photo.path is not None]
    try:
        for transform in transforms:
            if isinstance(transform, Transform):
                transform.check(good.photos[0].rgb.size)
    except InputError as error:
        return printable(f"{photo.path}: {error}")
    return ""


def _known(classifier: Classifier) -> Transform:
    own = classifier.transform
    if not isinstance(own, Transform):
        raise InputError(
            f"{classifier.name} has a transform of its own kind, whose pixels cannot be chosen: "
            "wrap it with a vizkit.Transform for same_pixels"
        )
    return own
