"""How often networks are right on labelled photos, in all and class by class."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pandas as pd

from vizkit.errors import InputError, flags, whole
from vizkit.results.chance import wilson
from vizkit.results.judged import Judged
from vizkit.results.tables import titled

# among fewer classes, the first five are all of them
_TOP = 5


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Judged):
    """What networks say of photos whose classes are known.

    Attributes
    ----------
    predictions, failed, transforms
        As `vizkit.results.Judged`; predictions also have folder (the photo's class as its folder
        or table names it).
    outputs : dict of str to int
        Among how many classes each network chose.
    published : DataFrame or None
        One row per model: published figures, as `vizkit.evaluate` describes them.
    """

    outputs: dict[str, int] = field(default_factory=dict, kw_only=True)
    published: pd.DataFrame | None = field(default=None, kw_only=True)

    def table(self, by_class: bool = False) -> pd.DataFrame:
        """Count how often each model is right.

        Parameters
        ----------
        by_class : bool
            One row per model and class instead of one per model.

        Returns
        -------
        DataFrame
            As `vizkit.evaluate` describes it.
        """
        flags(by_class=by_class)
        if by_class:
            groups = self.predictions.groupby(["model", "folder"], sort=False)
            rows = [
                {"model": model, "class": folder, "name": own["label"].iloc[0]} | self._row(own)
                for (model, folder), own in groups
            ]
            return pd.DataFrame(rows)
        ece = self.scores().set_index("model")["ece"]
        rows = [
            {"model": model} | self._row(own, float(ece[model]))
            for model, own in self.predictions.groupby("model", sort=False)
        ]
        table = pd.DataFrame(rows)
        return table if self.published is None else _beside(table, self.published)

    def most_confused(self, k: int = 10) -> pd.DataFrame:
        """List the classes that are most often taken for another one.

        Parameters
        ----------
        k : int
            Pairs of each model, at most.

        Returns
        -------
        DataFrame
            model, label, class (predicted), n, share (of the photos of this label), the most
            photos first.
        """
        k = whole("k", k)
        table = self.confusion()
        table["share"] = table["n"] / table.groupby(["model", "label"])["n"].transform("sum")
        wrong = table[table["label"] != table["class"]]
        tops = [
            own.sort_values("n", ascending=False, kind="stable").head(k)
            for _, own in wrong.groupby("model", sort=False)
        ]
        return pd.concat(tops or [wrong], ignore_index=True)

    def _row(self, rows: pd.DataFrame, ece: float | None = None) -> dict[str, object]:
        model, n, hits = rows["model"].iloc[0], len(rows), int(rows["right"].sum())
        low, high = wilson(hits, n)
        means_much = self.outputs[model] > _TOP
        top1, top5 = hits / n, (rows["rank"] <= _TOP).mean() if means_much else math.nan
        return {
            "n": n,
            "top1": top1,
            "top5": top5,
            "top1_error": 1 - top1,
            "top5_error": 1 - top5,
            "top1_low": low,
            "top1_high": high,
            "confidence": rows["probability"].mean(),
            "own": rows["own"].mean(),
            "nll": rows["nll"].mean(),
            "brier": rows["brier"].mean(),
            # over few photos, nearly all of it would be chance
            **({} if ece is None else {"ece": ece}),
            "outputs": self.outputs[model],
            "failed": len(self.failed),
            "transform": self.transforms[model],
        }

    def __repr__(self) -> str:
        right = ", ".join(
            f"{row.model} {row.accuracy:.1%} ({row.low:.1%} to {row.high:.1%})"
            for row in self.scores().itertuples()
        )
        lost = f"; {len(self.failed)} unreadable" if len(self.failed) else ""
        return f"Evaluation on {self.images} photos of {len(self.labels)} classes: {right}{lost}"

    def _repr_html_(self) -> str:
        return titled(repr(self), self.table().round(4))


def _beside(table: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Put published figures beside those that were counted, and how far they are apart."""
    if list(table["model"]) != list(published["model"]):
        raise InputError("the published figures are of other models")
    joined = table.merge(published, on="model")
    for name in ("top1", "top5"):
        place = joined.columns.tolist().index(f"published_{name}") + 1
        joined.insert(place, f"{name}_difference", joined[name] - joined[f"published_{name}"])
    return joined
