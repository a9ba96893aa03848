"""One stage axis for several networks: joined on stride, or on the names of layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import pandas as pd

from vizkit.errors import unknown
from vizkit.results.taps import Tap

# a stride where networks are joined on strides, else the name of a layer
Place = int | str
# the stride and the name of a layer
Layer = tuple[int, str]


@dataclass(frozen=True)
class Axis:
    """Where the taps of several networks lie on one axis.

    Attributes
    ----------
    places : tuple of int or str
        Strides, or names of layers, in forward order.
    taps : dict of str to dict of (int or str) to Tap
        By model and place. A network that has no tap at a place is missing there.
    """

    places: tuple[Place, ...]
    taps: dict[str, dict[Place, Tap]]

    @property
    def by_stride(self) -> bool:
        """Whether places are strides."""
        return all(isinstance(place, int) for place in self.places)

    def title(self, place: Place) -> str:
        """Name a place for readers."""
        known = isinstance(place, int | str) and place in self.places
        if not known or isinstance(place, bool):
            raise unknown("stride" if self.by_stride else "layer", place, map(str, self.places))
        return f"stride {place}" if isinstance(place, int) else place

    def to_frame(self) -> pd.DataFrame:
        """Tabulate: a row per model, a column per place, the module read in each cell."""
        rows = {
            model: [own[place].module if place in own else None for place in self.places]
            for model, own in self.taps.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(self.places))


def align(taps: Mapping[str, Sequence[Tap]]) -> Axis:
    """Put the taps of several networks on one axis.

    Networks that are read once at each stride are joined on stride. If any is read more often,
    all are joined on the names of their layers (``"conv3_2"``), or on labels (``"conv3_2:act"``)
    where several roles of one layer are read. They are never joined on their number in a list.
    Where all have one layer with a name of its own at a stride, the place bears this name.

    Parameters
    ----------
    taps : mapping of str to sequence of Tap
        In forward order, by model.

    Returns
    -------
    Axis
        Of all places that any of them has.
    """
    own = {model: list(dict.fromkeys(each)) for model, each in taps.items()}
    if not any(_repeats(tap.stride for tap in each) for each in own.values()):
        places = _by_stride([tap for each in own.values() for tap in each])
        return Axis(
            tuple(places.values()),
            {model: {places[tap.stride]: tap for tap in each} for model, each in own.items()},
        )
    roles = any(_repeats(tap.name for tap in each) for each in own.values())
    named: dict[str, dict[Place, Tap]] = {
        model: {(tap.label if roles else tap.name): tap for tap in each}
        for model, each in own.items()
    }
    layers = [[(tap.stride, str(name)) for name, tap in each.items()] for each in named.values()]
    return Axis(tuple(dict.fromkeys(name for _, name in in_order(layers))), named)


def in_order(networks: Iterable[Iterable[Layer]]) -> list[Layer]:
    """Join the layers of several networks, each in forward order, into one order.

    Parameters
    ----------
    networks : iterable of iterable of (int, str)
        Stride and name of each layer.

    Returns
    -------
    list of (int, str)
        Each network's own order; where that leaves a choice, or two contradict each other, by
        stride and number.
    """
    own = [list(dict.fromkeys(layers)) for layers in networks]
    order: TopologicalSorter[Layer] = TopologicalSorter()
    for layers in own:
        for n, layer in enumerate(layers):
            order.add(layer, *layers[max(0, n - 1) : n])
    try:
        order.prepare()
    except CycleError:
        return sorted(set().union(*own), key=_depth)
    found: list[Layer] = []
    ready: list[Layer] = []
    while order.is_active():
        ready = sorted((*ready, *order.get_ready()), key=_depth, reverse=True)
        found.append(ready.pop())
        order.done(found[-1])
    return found


def _by_stride(taps: Sequence[Tap]) -> dict[int, Place]:
    """Places by stride: the strides themselves, or names of layers that all agree on."""
    names = {tap.stride: tap.name for tap in taps}
    own = all(tap.name == names[tap.stride] and _is_named(tap) for tap in taps)
    return {stride: names[stride] if own else stride for stride in sorted(names)}


def _is_named(tap: Tap) -> bool:
    """Whether a tap bears a name that a family gives its layers, and no path or stride."""
    return "." not in tap.name and tap.name not in (tap.module, f"stride{tap.stride}")


def _depth(layer: Layer) -> tuple[int, list[tuple[int, int | str]]]:
    stride, name = layer
    parts = [part for part in re.split(r"(\d+)", name) if part]
    # numbers by value, so that conv10 follows conv9
    return stride, [(0, int(p)) if p.isdigit() else (1, p) for p in parts]


def _repeats(values: Iterable[object]) -> bool:
    found = list(values)
    return len(set(found)) < len(found)
