"""Where several networks are read: the same layers of each, as far as it has them."""

from __future__ import annotations

from collections.abc import Sequence

from vizkit.errors import InputError, choice, shown
from vizkit.models import Classifier
from vizkit.results import Tap
from vizkit.stages import find_stages

ROLES = ("conv", "norm", "act", "pool", "gate", "block")
_KINDS = ("stages", "layers", "gates")


def places_of(
    classifiers: Sequence[Classifier], at: str | Sequence[str | Tap], role: str | None
) -> list[list[Tap]]:
    """Find where each network is read.

    Parameters
    ----------
    classifiers : sequence of Classifier
        The networks.
    at : "stages", "layers", "gates", or a list of names, paths or taps
        As for `find_stages`.
    role : str, optional
        Of layers, which to read; of all layers, by default what is after the activation.

    Returns
    -------
    list of list of Tap
        One per network; empty for one that has nothing of what others have.

    Raises
    ------
    InputError
        If the role is unknown, or no network has what is asked for.
    """
    if role is not None:
        choice("role", role, ROLES)
    if isinstance(at, str) and at in _KINDS:
        every = [find_stages(each, at) for each in classifiers]
    else:
        every = _named(classifiers, at, role)
    taps = [_of_role(list(dict.fromkeys(each)), at, role) for each in every]
    if not any(taps):
        found = dict.fromkeys(tap.role for each in every for tap in each)
        what = "maps" if role is None else f"role {role!r}"
        raise InputError(
            f"no {what} at {shown(at)} of these models: choose from {', '.join(found)}"
        )
    return taps


def _of_role(taps: list[Tap], at: object, role: str | None) -> list[Tap]:
    wanted = "act" if role is None and at == "layers" else role
    kept = [tap for tap in taps if wanted is None or tap.role == wanted]
    # a network without activation modules is read where its layers are
    return kept if kept or role is not None else taps


def _named(
    classifiers: Sequence[Classifier], at: str | Sequence[str | Tap], role: str | None
) -> list[list[Tap]]:
    """Look each name up in each network; one of them must have it."""
    if not isinstance(at, Sequence) or not at:
        return [find_stages(each, at) for each in classifiers]
    names = [at] if isinstance(at, str) else list(at)
    found = [[_looked_up(each, name, role) for each in classifiers] for name in names]
    for own in found:
        if all(isinstance(each, InputError) for each in own):
            raise next(each for each in own if isinstance(each, InputError))
    return [
        [tap for own in column if not isinstance(own, InputError) for tap in own]
        for column in zip(*found, strict=True)
    ]


def _looked_up(classifier: Classifier, name: str | Tap, role: str | None) -> list[Tap] | InputError:
    """Find what a network has of a name, in a role where that is another tap of the layer."""
    try:
        taps = find_stages(classifier, [name])
    except InputError as error:
        if not str(error).startswith("unknown "):
            raise
        return error
    if role is None or isinstance(name, Tap) or all(tap.role == role for tap in taps):
        return taps
    return [
        tap for tap in find_stages(classifier, "layers") if tap.name == name and tap.role == role
    ]
