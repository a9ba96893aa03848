"""ImageNet's class names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from vizkit.errors import InputError, listed, shown


def imagenet_classes() -> tuple[str, ...]:
    """Return the 1000 ImageNet class names in output order, from torchvision, offline."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    return tuple(_IMAGENET_CATEGORIES)


def given_names(classes: object) -> tuple[str, ...]:
    """Require names of classes, or none.

    Parameters
    ----------
    classes : object
        What was given.

    Returns
    -------
    tuple of str
        Empty for None.

    Raises
    ------
    InputError
        If they are no list of text.
    """
    if classes is None:
        return ()
    several = listed(classes)
    if several is None or not all(isinstance(each, str) for each in several):
        raise InputError(f"classes are a list of names, not {shown(classes)}")
    return tuple(several)


def one_spelling(classes: Sequence[str]) -> tuple[str, ...]:
    """Spell ImageNet's classes in one way, whoever wrote them.

    Parameters
    ----------
    classes : sequence of str
        Names from a file: mmpretrain writes all synonyms, ``"tench, Tinca tinca"``.

    Returns
    -------
    tuple of str
        Those of `imagenet_classes` if these are ImageNet's 1000 in their order, else the same.
    """
    if len(classes) != len(imagenet_classes()):
        return tuple(classes)
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    theirs = [name.partition(",")[0] for name in classes]
    synsets = [info.index_to_description(i).partition(",")[0] for i in range(len(classes))]
    return imagenet_classes() if theirs == synsets else tuple(classes)


@cache
def synset_names() -> dict[str, str]:
    """Return ImageNet's class names by WordNet synset, in output order.

    timm ships the synsets, torchvision the names.
    """
    from timm.data import ImageNetInfo

    return dict(zip(ImageNetInfo().label_names(), imagenet_classes(), strict=True))


def synsets_of(classes: Sequence[str]) -> tuple[str, ...]:
    """Find the WordNet synsets of ImageNet's classes.

    Parameters
    ----------
    classes : sequence of str
        Names of outputs: ImageNet's 1000, or some of them.

    Returns
    -------
    tuple of str
        Such as ``"n01440764"``; empty for a name that is not ImageNet's.
    """
    known = {name: synset for synset, name in synset_names().items()}
    return tuple(known.get(name, "") for name in classes)
