"""Statistics of feature maps over images."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from vizkit.errors import unknown
from vizkit.results.tables import titled


@dataclass(frozen=True, eq=False, repr=False)
class StageStatistics:
    """Statistics of feature maps over images, for one or more networks.

    Attributes
    ----------
    frame : DataFrame
        Tidy: model, stride, layer, role, statistic, value; taps in forward order.
    channels : DataFrame
        One row per channel: model, stride, layer, role, channel and one column per statistic.
    images : int
        How many images were counted for each network.
    failed : DataFrame
        Images that could not be read: file, reason.
    units : dict of str to str
        Unit of each statistic, for axis labels.
    """

    frame: pd.DataFrame
    channels: pd.DataFrame
    images: int
    failed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["file", "reason"]))
    units: dict[str, str] = field(default_factory=dict)

    def pivot(self, statistic: str) -> pd.DataFrame:
        """One statistic as a table: a row per stride, layer and role, a column per model.

        Parameters
        ----------
        statistic : str
            One of those computed.

        Returns
        -------
        DataFrame
            NaN where a model has no such tap.
        """
        known = self.frame["statistic"].unique()
        if statistic not in known:
            raise unknown("statistic", statistic, known)
        rows = self.frame[self.frame["statistic"] == statistic]
        return rows.pivot_table(
            index=["stride", "layer", "role"], columns="model", values="value", sort=False
        )

    def __repr__(self) -> str:
        statistics = ", ".join(self.frame["statistic"].unique())
        models = ", ".join(self.frame["model"].unique())
        return f"StageStatistics of {models} over {self.images} image(s): {statistics}"

    def _repr_html_(self) -> str:
        return titled(repr(self), self.frame)
