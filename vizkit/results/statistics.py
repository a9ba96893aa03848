"""Statistics of feature maps over images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pandas as pd

from vizkit.errors import choice, instance
from vizkit.results.tables import titled


@dataclass(frozen=True, eq=False, repr=False)
class StageStatistics:
    """Statistics of feature maps over images, for one or more networks.

    Attributes
    ----------
    frame : DataFrame
        Tidy: model, stride, layer, role, statistic, value; taps in forward order.
    channels : DataFrame
        One row per channel: model, stride, layer, role, channel and one column per statistic
        that exists per channel; NaN where a tap or channel has none.
    images : int
        How many images were counted for each network.
    failed : DataFrame
        Images that could not be read: file, reason.
    units : dict of str to str
        Unit of each statistic, for axis labels.
    distributions : DataFrame
        Histograms where quantiles were asked for: model, stride, layer, role, low, high, count;
        bins that are not empty, ``low = high = 0`` for exact zeros.
    left_out : dict of str to str
        Statistics that exist nowhere here, and why.
    sampling : dict of str to str
        Statistics that do not count every place, and which they do.
    """

    frame: pd.DataFrame
    channels: pd.DataFrame
    images: int
    failed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["file", "reason"]))
    units: dict[str, str] = field(default_factory=dict)
    distributions: pd.DataFrame = field(default_factory=pd.DataFrame)
    left_out: dict[str, str] = field(default_factory=dict)
    sampling: dict[str, str] = field(default_factory=dict)

    def pivot(self, statistic: str) -> pd.DataFrame:
        """One statistic as a table: a column per model, a row per place.

        Parameters
        ----------
        statistic : str
            One of those computed.

        Returns
        -------
        DataFrame
            A row per stride and layer; also per role where layers were read at several. NaN
            where a model has no such tap.
        """
        known = self.frame["statistic"].unique()
        choice("statistic", statistic, known)
        rows = self.frame[self.frame["statistic"] == statistic]
        places = ["stride", "layer"]
        # a stage ends in whatever role: models are joined on its stride
        if rows.duplicated(["model", *places]).any():
            places.append("role")
        return rows.pivot_table(index=places, columns="model", values="value", sort=False)

    def wide(self) -> pd.DataFrame:
        """All statistics as a table: a row per tap, a column per statistic."""
        keys = ["model", "stride", "layer", "role", "statistic"]
        table = self.frame.set_index(keys)["value"].unstack(sort=False)  # noqa: PD010  (keeps NaN)
        return table.reset_index().rename_axis(columns=None)

    def joined(self, other: StageStatistics) -> StageStatistics:
        """Put the statistics of other networks, or others of the same, below these.

        Parameters
        ----------
        other : StageStatistics
            Over the same images.

        Returns
        -------
        StageStatistics
            Both; per channel, histograms and files as well.
        """
        instance("other", other, StageStatistics)
        return replace(
            self,
            frame=pd.concat([self.frame, other.frame], ignore_index=True),
            channels=pd.concat([self.channels, other.channels], ignore_index=True),
            distributions=pd.concat([self.distributions, other.distributions], ignore_index=True),
            failed=pd.concat([self.failed, other.failed]).drop_duplicates(ignore_index=True),
            units={**self.units, **other.units},
            left_out={**self.left_out, **other.left_out},
            sampling={**self.sampling, **other.sampling},
        )

    def __repr__(self) -> str:
        statistics = ", ".join(self.frame["statistic"].unique())
        models = ", ".join(self.frame["model"].unique())
        return f"StageStatistics of {models} over {self.images} image(s): {statistics}"

    def _repr_html_(self) -> str:
        return titled(repr(self), self.wide())
