"""How similar the feature maps of networks are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from vizkit.errors import choice
from vizkit.results.tables import titled


@dataclass(frozen=True, eq=False, repr=False)
class Similarity:
    """Similarity (CKA) between all taps of one or more networks.

    Attributes
    ----------
    matrix : ndarray of shape (T, T)
        1: the same up to rotation and scale; about 0: unrelated. Symmetric. Unbiased estimates
        may lie slightly outside [0, 1]. NaN where maps are the same for all images.
    labels : DataFrame
        One row per row of the matrix: model, tap, stride, layer, role.
    low, high : ndarray of shape (T, T)
        95 % bootstrap interval over batches; NaN if there are fewer than ten.
    images : int
        How many images were counted for each network.
    batches : int
        How many batches they were compared in.
    kernel : str
        ``"linear"`` or ``"rbf"``.
    bandwidth : float or None
        Of ``"rbf"``, as a fraction of the median distance.
    left_out : int
        Readable images in a batch too small to count.
    failed : DataFrame
        Images that could not be read: file, reason.
    transforms : dict of str to str
        What each network's photos go through, in words.
    """

    matrix: np.ndarray
    labels: pd.DataFrame
    low: np.ndarray
    high: np.ndarray
    images: int
    batches: int
    kernel: str = "linear"
    bandwidth: float | None = None
    left_out: int = 0
    failed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["file", "reason"]))
    transforms: dict[str, str] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the networks, in the order given."""
        return tuple(self.labels["model"].unique())

    @property
    def constant(self) -> tuple[str, ...]:
        """Taps that cannot be compared: their maps are the same for all images."""
        rows = self.labels[np.isnan(np.diag(self.matrix))]
        return tuple(
            f"{model} {tap}" for model, tap in zip(rows["model"], rows["tap"], strict=True)
        )

    @property
    def measure(self) -> str:
        """What the numbers are, in words."""
        if self.kernel != "rbf":
            return f"{self.kernel} CKA"
        return f"RBF CKA, bandwidth {self.bandwidth:g} of the median distance"

    def rows_of(self, model: str) -> np.ndarray:
        """Find the rows of a network in the matrix.

        Parameters
        ----------
        model : str
            Its name.

        Returns
        -------
        ndarray of int
            In forward order.

        Raises
        ------
        InputError
            If it was not compared.
        """
        choice("model", model, self.models)
        return np.flatnonzero(self.labels["model"] == model)

    def between(self, a: str, b: str) -> pd.DataFrame:
        """Compare two networks.

        Parameters
        ----------
        a, b : str
            Names of networks; also twice the same.

        Returns
        -------
        DataFrame
            A row per tap of ``a``, a column per tap of ``b``.
        """
        rows, columns = self.rows_of(a), self.rows_of(b)
        return pd.DataFrame(
            self.matrix[np.ix_(rows, columns)],
            index=pd.Index(self.labels["tap"].to_numpy()[rows], name=a),
            columns=pd.Index(self.labels["tap"].to_numpy()[columns], name=b),
        )

    def best_match(self, a: str, b: str) -> pd.DataFrame:
        """Find where in a network each tap of another has its like.

        Parameters
        ----------
        a, b : str
            Names of networks.

        Returns
        -------
        DataFrame
            One row per tap of ``a`` that can be compared: model, tap, stride, other (``b``),
            best, best_stride (the most similar tap of ``b``), value, low, high.
        """
        columns = self.rows_of(b)
        found: list[dict[str, Any]] = []
        for row in self.rows_of(a):
            values = self.matrix[row, columns]
            if not np.isnan(values).all():
                found.append(self._pair(row, columns[np.nanargmax(values)]))
        names = ["model", "tap", "stride", "other", "best", "best_stride", "value", "low", "high"]
        return pd.DataFrame(found, columns=names)

    def to_frame(self) -> pd.DataFrame:
        """All pairs in long form, each once.

        Returns
        -------
        DataFrame
            model, tap, stride, other_model, other_tap, other_stride, value, low, high; rows in
            the order of the upper triangle, with the diagonal.
        """
        rows, columns = np.triu_indices(len(self.matrix))
        names = ["model", "tap", "stride"]
        first = self.labels[names].iloc[rows].reset_index(drop=True)
        second = self.labels[names].iloc[columns].reset_index(drop=True).add_prefix("other_")
        values = {"value": self.matrix, "low": self.low, "high": self.high}
        numbers = {name: matrix[rows, columns] for name, matrix in values.items()}
        return pd.concat([first, second, pd.DataFrame(numbers)], axis=1)

    def _pair(self, row: int, column: int) -> dict[str, Any]:
        one, other = self.labels.iloc[row], self.labels.iloc[column]
        return {
            "model": one["model"],
            "tap": one["tap"],
            "stride": one["stride"],
            "other": other["model"],
            "best": other["tap"],
            "best_stride": other["stride"],
            "value": self.matrix[row, column],
            "low": self.low[row, column],
            "high": self.high[row, column],
        }

    def __repr__(self) -> str:
        words = f"{len(self.labels)} taps, {self.measure} over {self.images} images"
        words += f" in {self.batches} batch{'es' if self.batches > 1 else ''}"
        if self.left_out:
            words += f", {self.left_out} left out"
        if len(self.failed):
            words += f", {len(self.failed)} unreadable"
        if self.constant:
            words += f"; the same for all images: {', '.join(self.constant)}"
        return f"Similarity of {', '.join(self.models)}: {words}"

    def _repr_html_(self) -> str:
        names = self.labels["tap"]
        if len(self.models) > 1:
            names = self.labels["model"] + " " + names
        table = pd.DataFrame(self.matrix.round(3), columns=names.to_numpy())
        table.insert(0, "", names)
        return titled(repr(self), table)
