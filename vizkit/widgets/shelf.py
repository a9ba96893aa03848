"""What an explorer keeps between questions: networks, and what their layers can see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vizkit import zoo
from vizkit.models import Classifier, load
from vizkit.results import FeatureMaps, Tap
from vizkit.statistics.places import Window, windows

_Key = tuple[int, tuple[Tap, ...], tuple[int, ...]]


class Shelf:
    """Networks by name, loaded once.

    Parameters
    ----------
    classifiers : sequence of Classifier
        Those that are there already.
    """

    def __init__(self, classifiers: Sequence[Classifier]) -> None:
        self._known = {each.name: each for each in classifiers}
        self._windows: dict[_Key, dict[Tap, Window]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Of the given networks, and of the bundled ones."""
        return tuple(dict.fromkeys([*self._known, *(f"demo/{name}" for name in zoo.NAMES)]))

    def get(self, name: str) -> Classifier:
        """Find a network, or load it."""
        if name not in self._known:
            self._known[name] = load(name)
        return self._known[name]

    def windows(
        self, classifiers: Sequence[Classifier], maps: Mapping[str, FeatureMaps]
    ) -> dict[str, dict[Tap, Window]]:
        """Find the receptive fields of all maps, by the name of their network."""
        return {each.name: self._windows_of(each, maps[each.name]) for each in classifiers}

    def _windows_of(self, classifier: Classifier, maps: FeatureMaps) -> dict[Tap, Window]:
        height, width = maps.inputs.shape[-2:]
        # networks stay on the shelf, so that no other can have the number of one
        key = (id(classifier.module), maps.taps, (height, width))
        if key not in self._windows:
            self._windows[key] = windows(classifier.module, maps.taps, (height, width))
        return self._windows[key]
