"""How well linear classifiers read the class from feature maps."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from vizkit.results.tables import titled


@dataclass(frozen=True, eq=False, repr=False)
class LinearProbe:
    """Accuracy of a linear classifier at every tap of one or more networks.

    Attributes
    ----------
    frame : DataFrame
        One row per model and tap in forward order: model, stride, layer, role, features (length
        of the pooled vector), accuracy (in [0, 1]), low, high (95 % Wilson interval), n (photos
        tested), chance (share of the most frequent class among them) and penalty (median over
        the folds, per photo). The row of stride 0 is no network: a thumbnail of the photo.
    classes : tuple of str
        Names of the class folders.
    folds : int
        Parts of the cross-validation; 0 where other photos were tested.
    trained : int
        How many photos the classifiers that were tested had learnt from, on average.
    failed : DataFrame
        Photos that could not be read: file, reason.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    folds: int
    trained: int
    failed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["file", "reason"]))

    @property
    def split(self) -> str:
        """Who was tested on what, in words."""
        photos = f"{self.frame['n'].max()} photos of {len(self.classes)} classes"
        if self.folds:
            return f"{photos}, {self.folds}-fold cross-validation"
        return f"{photos} apart from the {self.trained} learnt from"

    def __repr__(self) -> str:
        models = ", ".join(self.frame["model"][self.frame["stride"] > 0].unique())
        left_out = f", {len(self.failed)} unreadable" if len(self.failed) else ""
        return f"LinearProbe of {models}: {self.split}{left_out}"

    def _repr_html_(self) -> str:
        return titled(repr(self), self.frame)
