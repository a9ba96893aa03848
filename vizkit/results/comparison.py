"""What several networks make of the same images, on one stage axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from vizkit.errors import choice, numbered
from vizkit.results.attributions import Attributions
from vizkit.results.axis import Axis, Place
from vizkit.results.maps import FeatureMaps
from vizkit.results.named import Named
from vizkit.results.statistics import StageStatistics
from vizkit.results.tables import titled
from vizkit.results.taps import Tap


@dataclass(frozen=True, eq=False)
class Compared:
    """One network's part of a comparison.

    Attributes
    ----------
    model : str
        Its name.
    maps : FeatureMaps
        What it computed.
    attributions : Attributions
        What it rests on.
    predictions, profile : DataFrame
        Its rows of the tables.
    statistics : StageStatistics
        Its rows of the tables.
    """

    model: str
    maps: FeatureMaps
    attributions: Attributions
    predictions: pd.DataFrame
    statistics: StageStatistics
    profile: pd.DataFrame


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Mapping[str, Compared]):
    """Several networks on the same images; a mapping from a network's name to its part.

    Attributes
    ----------
    axis : tuple of int or str
        Strides, or names of layers, on which the networks are joined, in forward order.
    places : Axis
        Which tap each network has at each place of the axis.
    maps : dict of str to FeatureMaps
        By model.
    attributions : dict of str to Attributions
        By model.
    predictions : DataFrame
        model, image, rank, class, index, probability, logit.
    statistics : StageStatistics
        Over these images.
    profile : DataFrame
        As `vizkit.profile`, of all models.
    agreement : DataFrame
        As `vizkit.agreement`, of each pair of models at the same place.
    same_classes : bool
        Whether all explain the same classes, as far as their names tell; else each explains what
        it predicts, or what its own output of the number asked for means.
    failed : DataFrame
        Images that could not be read: file, reason.
    """

    places: Axis
    maps: dict[str, FeatureMaps]
    attributions: dict[str, Attributions]
    predictions: pd.DataFrame
    statistics: StageStatistics
    profile: pd.DataFrame
    agreement: pd.DataFrame
    same_classes: bool = True
    failed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["file", "reason"]))

    def __post_init__(self) -> None:
        for part in ("maps", "attributions"):
            object.__setattr__(self, part, Named("model", getattr(self, part)))

    @property
    def axis(self) -> tuple[Place, ...]:
        """Strides, or names of layers, in forward order."""
        return self.places.places

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the networks, in the order given."""
        return tuple(self.maps)

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the images."""
        return next(iter(self.maps.values())).seen.names

    @property
    def transforms(self) -> dict[str, str]:
        """What each network sees of a photo, in words."""
        return {model: maps.seen.transform for model, maps in self.maps.items()}

    def tap(self, model: str, place: Place) -> Tap | None:
        """Find where a network is read at a place of the axis.

        Parameters
        ----------
        model : str
            Its name.
        place : int or str
            A stride, or the name of a layer.

        Returns
        -------
        Tap or None
            None if the network has nothing there.

        Raises
        ------
        InputError
            If model or place are unknown.
        """
        self.places.title(place)
        self._require(model)
        return self.places.taps[model].get(place)

    def select(self, n: int) -> Comparison:
        """Return the same of image ``n`` alone; statistics and agreement are of all images.

        Parameters
        ----------
        n : int
            Its number, from 0; a negative one counts from the end.

        Returns
        -------
        Comparison
            With one image.

        Raises
        ------
        InputError
            If there is no such image.
        """
        n = numbered("image", n, len(self.images))
        maps = {model: each.select(n) for model, each in self.maps.items()}
        # by number, because two images may have one name
        numbers = self.predictions.groupby("model")["rank"].transform(lambda r: r.eq(1).cumsum())
        return replace(
            self,
            maps=maps,
            attributions={model: each.select(n) for model, each in self.attributions.items()},
            predictions=self.predictions[numbers == n + 1].reset_index(drop=True),
        )

    def to_frame(self) -> pd.DataFrame:
        """Tabulate: a row per model, a column per place, the size of the map in each cell."""
        rows = {
            model: {
                self.places.title(place): _size(maps, self.places.taps[model].get(place))
                for place in self.axis
            }
            for model, maps in self.maps.items()
        }
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model").reset_index()
        table.insert(1, "input", list(self.transforms.values()))
        return table

    def __getitem__(self, model: str) -> Compared:
        self._require(model)
        statistics = self.statistics
        return Compared(
            model,
            self.maps[model],
            self.attributions[model],
            _rows(self.predictions, model),
            replace(
                statistics,
                frame=_rows(statistics.frame, model),
                channels=_rows(statistics.channels, model),
                distributions=_rows(statistics.distributions, model),
            ),
            _rows(self.profile, model),
        )

    def __contains__(self, model: object) -> bool:
        return isinstance(model, str) and model in self.maps

    def __iter__(self) -> Iterator[str]:
        return iter(self.maps)

    def __len__(self) -> int:
        return len(self.maps)

    # as of all results: tables and tensors have no one truth value
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def _require(self, model: str) -> None:
        choice("model", model, self.maps)

    def __repr__(self) -> str:
        axis = ", ".join(map(str, self.axis))
        kind = "strides" if self.places.by_stride else "layers"
        return (
            f"Comparison of {', '.join(self.models)} on {len(self.images)} image(s), {kind} {axis}"
        )

    def _repr_html_(self) -> str:
        return titled(repr(self), self.to_frame())


def _rows(table: pd.DataFrame, model: str) -> pd.DataFrame:
    if "model" not in table:
        return table
    return table[table["model"] == model].reset_index(drop=True)


def _size(maps: FeatureMaps, tap: Tap | None) -> str:
    if tap is None:
        return ""
    _, channels, height, width = maps[tap].shape
    return f"{channels} x {height} x {width}"
