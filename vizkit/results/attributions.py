"""Attributions of one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, stack
from torch.nn.functional import interpolate

from vizkit.errors import chosen, numbered, pair, whole
from vizkit.results.named import Named
from vizkit.results.tables import titled
from vizkit.results.taps import Seen, Tap


@dataclass(frozen=True, eq=False, repr=False)
class Attributions:
    """How much each place matters for each class, raw and signed as the method gives it.

    Attributes
    ----------
    model : str
        Name of the network.
    values : dict of str to dict of str to Tensor
        ``values[method][tap name or "input"]``: (N, T, h, w).
    targets : Tensor of shape (N, T), int64
        The classes explained.
    probabilities : Tensor of shape (N, T)
        The network's probability of each, in [0, 1].
    inputs : Tensor of shape (N, 3, H, W)
        What went into the network.
    seen : Seen
        The same as pixels.
    taps : tuple of Tap
        The stages of the stage-level methods.
    classes : tuple of str
        Names of the network's outputs; empty if unknown.
    against : int or None
        The class whose score was subtracted from that of each target.
    errors : dict of str to Tensor of shape (N, T)
        For methods whose maps should sum to a difference in score: by how much they do not, in
        units of the logit.
    options : dict of str to Any
        Options that the methods were given.
    labels : dict of str to str
        What figures call each method.
    """

    model: str
    values: dict[str, dict[str, Tensor]]
    targets: Tensor
    probabilities: Tensor
    inputs: Tensor
    seen: Seen
    taps: tuple[Tap, ...] = ()
    classes: tuple[str, ...] = ()
    against: int | None = None
    errors: dict[str, Tensor] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {method: Named("stage", maps) for method, maps in self.values.items()}
        object.__setattr__(self, "values", Named("method", named))

    def select(
        self,
        n: int | None = None,
        *,
        methods: str | Sequence[str] | None = None,
        stages: str | Sequence[str] | None = None,
        target: int | None = None,
    ) -> Attributions:
        """Return a part of the same.

        Parameters
        ----------
        n : int, optional
            Image ``n`` alone.
        methods, stages : str or list of str, optional
            These alone; ``"input"`` is the stage of input-level methods.
        target : int, optional
            The class at this position alone, from 0.

        Returns
        -------
        Attributions
            With the same axes.

        Raises
        ------
        InputError
            If there is no such image, method, stage or class.
        """
        rows = _one("image", n, self.targets.shape[0])
        columns = _one("target", target, self.targets.shape[1])
        kept = _chosen("method", methods, self.values)
        every = dict.fromkeys(key for method in kept for key in self.values[method])
        places = _chosen("stage", stages, every)
        values = {
            method: {
                key: maps[rows, columns]
                for key, maps in self.values[method].items()
                if key in places
            }
            for method in kept
        }
        return replace(
            self,
            values={method: maps for method, maps in values.items() if maps},
            targets=self.targets[rows, columns],
            probabilities=self.probabilities[rows, columns],
            inputs=self.inputs[rows],
            seen=self.seen if n is None else self.seen.select(rows.start),
            taps=tuple(tap for tap in self.taps if {tap.name, tap.label} & places.keys()),
            errors={
                name: each[rows, columns] for name, each in self.errors.items() if values.get(name)
            },
        )

    def stack(self, size: tuple[int, int] | None = None) -> tuple[Tensor, pd.DataFrame]:
        """Put all maps on one grid.

        Parameters
        ----------
        size : tuple of (int, int), optional
            Height and width; by default those of the input.

        Returns
        -------
        maps : Tensor of shape (M, N, T, H, W)
            Raw values, bilinear where a map has another size.
        labels : DataFrame
            Method and stage of each of the M.
        """
        height, width = pair("size", self.inputs.shape[-2:] if size is None else size, whole)
        keys = [(method, stage) for method, maps in self.values.items() for stage in maps]
        maps = [
            interpolate(self.values[m][s], (height, width), mode="bilinear", align_corners=False)
            for m, s in keys
        ]
        return stack(maps), pd.DataFrame(keys, columns=["method", "stage"])

    def target_name(self, image: int, target: int) -> str:
        """Name of the class explained, or its number where names are unknown."""
        image = numbered("image", image, self.targets.shape[0])
        target = numbered("target", target, self.targets.shape[1])
        name = self._class_name(int(self.targets[image, target]))
        return name if self.against is None else f"{name} \u2212 {self._class_name(self.against)}"

    def _class_name(self, index: int) -> str:
        return self.classes[index] if index < len(self.classes) else f"class {index}"

    def to_frame(self) -> pd.DataFrame:
        """One row per map: which, its class and probability, min, max, mean and error."""
        rows = [
            {
                "model": self.model,
                "image": self.seen.names[n],
                "method": method,
                "stage": stage,
                "target": self.target_name(n, t),
                "index": int(self.targets[n, t]),
                "probability": self.probabilities[n, t].item(),
                "min": maps[n, t].min().item(),
                "max": maps[n, t].max().item(),
                "mean": maps[n, t].mean().item(),
                "error": self.errors[method][n, t].item() if method in self.errors else np.nan,
            }
            for method, stages in self.values.items()
            for stage, maps in stages.items()
            for n in range(maps.shape[0])
            for t in range(maps.shape[1])
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        lines = [f"Attributions of {self.model}, {len(self.seen)} image(s)"]
        for method, stages in self.values.items():
            lines += [f"  {method:14} {key:12} {tuple(m.shape)}" for key, m in stages.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return titled(f"Attributions of {self.model}", self.to_frame())


def _one(kind: str, index: int | None, count: int) -> slice:
    """One of ``count``, or all."""
    if index is None:
        return slice(None)
    first = numbered(kind, index, count)
    return slice(first, first + 1)


def _chosen(
    kind: str, wanted: str | Sequence[str] | None, known: Mapping[str, Any]
) -> dict[str, Any]:
    """Those of the known that are named, or all."""
    if wanted is None:
        return dict(known)
    return {name: known[name] for name in chosen(kind, wanted, known)}
