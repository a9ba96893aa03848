"""What is passed from step to step: frozen records with lookup and a useful repr."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, stack
from torch.nn.functional import interpolate

from vizkit.errors import InputError, unknown


@dataclass(frozen=True)
class Tap:
    """A place in a network where a feature map is read.

    Attributes
    ----------
    name : str
        ``"stride8"`` for a stage; for a layer the paper's name (``"conv3_2"``) or its path.
    module : str
        Dotted path of the module whose output is read.
    role : str
        ``"conv"`` (before normalisation), ``"norm"`` (after it, before the activation),
        ``"act"`` (after the activation), ``"pool"`` or ``"block"``.
    stride : int
        Input pixels per step of the map.
    channels : int
        Number of feature maps.
    call : int
        Which call of the module, from 0, where a network runs one module several times.
    channels_last : bool
        Whether the module gives (N, h, w, C); what is captured is (N, C, h, w) all the same.
    """

    name: str
    module: str
    role: str
    stride: int
    channels: int
    call: int = 0
    channels_last: bool = False

    @property
    def label(self) -> str:
        """Name and role, unique among the taps of one network: ``"conv3_2:act"``."""
        return f"{self.name}:{self.role}" + (f"#{self.call + 1}" if self.call else "")


@dataclass(frozen=True)
class Seen:
    """The pixels that a network saw, and where they lie in the original photos.

    Attributes
    ----------
    names : tuple of str
        One name an image: a file name, or ``"image 1"``.
    pixels : ndarray of shape (N, H, W, 3), uint8
        The network's input before normalisation.
    boxes : tuple of (float, float, float, float)
        ``(x0, y0, x1, y1)``: the part of the original photo, in its pixels, that the input
        shows. It reaches beyond the photo where the input was padded.
    originals : tuple of ndarray or None
        The photos, (H, W, 3) uint8, upright; None for tensors, which have no photo.
    transform : str
        The transform in words, for captions.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    boxes: tuple[tuple[float, float, float, float], ...]
    originals: tuple[np.ndarray | None, ...]
    transform: str

    def __len__(self) -> int:
        return len(self.names)

    def select(self, n: int) -> Seen:
        """Return the same of image ``n`` alone."""
        keep = slice(n, n + 1)
        return Seen(
            self.names[keep],
            self.pixels[keep],
            self.boxes[keep],
            self.originals[keep],
            self.transform,
        )


class TapMapping(Mapping[Tap, Tensor]):
    """Tensors by tap, in forward order; also found by label, tap name or module path."""

    _values: dict[Tap, Tensor]

    def __getitem__(self, key: Tap | str) -> Tensor:
        return self._values[self.tap(key)]

    def __iter__(self) -> Iterator[Tap]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        try:
            self.tap(key)  # type: ignore[arg-type]
        except InputError:
            return False
        return True

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The taps, in forward order."""
        return tuple(self._values)

    def tap(self, key: Tap | str) -> Tap:
        """Find a tap.

        Parameters
        ----------
        key : Tap or str
            A tap, a label (``"conv3_2:act"``), a name (``"conv3_2"``: the first of its roles,
            the convolution) or a module path.

        Returns
        -------
        Tap
            The tap under which the tensor is kept.

        Raises
        ------
        InputError
            If there is none.
        """
        if isinstance(key, Tap):
            if key in self._values:
                return key
            raise unknown("tap", key.label, [tap.label for tap in self._values])
        return find_tap(self.taps, key)


def find_tap(taps: tuple[Tap, ...], key: str) -> Tap:
    """Find the first tap with a label, name or module path (in that order of precedence).

    Parameters
    ----------
    taps : tuple of Tap
        Where to look.
    key : str
        What to look for.

    Returns
    -------
    Tap
        The first match.

    Raises
    ------
    InputError
        If there is none; the message lists the names.
    """
    for attribute in ("label", "name", "module"):
        for tap in taps:
            if getattr(tap, attribute) == key:
                return tap
    raise unknown("stage or layer", key, dict.fromkeys(tap.name for tap in taps))


@dataclass(frozen=True, eq=False, repr=False)
class FeatureMaps(TapMapping):
    """The feature maps of one network for some images.

    A mapping ``Tap -> Tensor of shape (N, C, h, w)`` in forward order, also indexed by tap
    name, label or module path.

    Attributes
    ----------
    model : str
        Name of the network.
    logits : Tensor of shape (N, K)
        The network's output.
    inputs : Tensor of shape (N, 3, H, W)
        What went into the network.
    seen : Seen
        The same as pixels.
    classes : tuple of str
        Names of the K outputs; empty if unknown.
    """

    model: str
    _values: dict[Tap, Tensor]
    logits: Tensor
    inputs: Tensor
    seen: Seen
    classes: tuple[str, ...] = ()

    def select(self, n: int) -> FeatureMaps:
        """Return the same of image ``n`` alone."""
        keep = slice(n, n + 1)
        return replace(
            self,
            _values={tap: maps[keep] for tap, maps in self.items()},
            logits=self.logits[keep],
            inputs=self.inputs[keep],
            seen=self.seen.select(n),
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per tap: model, name, module, role, stride, channels, height, width, min, max."""
        rows = [
            {
                **_tap_columns(self.model, tap),
                "height": maps.shape[-2],
                "width": maps.shape[-1],
                "min": maps.min().item(),
                "max": maps.max().item(),
            }
            for tap, maps in self.items()
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        lines = [f"FeatureMaps of {self.model}, {len(self.seen)} image(s)"]
        lines += [f"  {tap.label:24} {tuple(maps.shape)}" for tap, maps in self.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return _titled(f"FeatureMaps of {self.model}", self.to_frame())


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
                name: each[rows, columns] for name, each in self.errors.items() if name in kept
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
        height, width = size or self.inputs.shape[-2:]
        keys = [(method, stage) for method, maps in self.values.items() for stage in maps]
        maps = [
            interpolate(self.values[m][s], (height, width), mode="bilinear", align_corners=False)
            for m, s in keys
        ]
        return stack(maps), pd.DataFrame(keys, columns=["method", "stage"])

    def target_name(self, image: int, target: int) -> str:
        """Name of the class explained, or its number where names are unknown."""
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
        return _titled(f"Attributions of {self.model}", self.to_frame())


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
        return _titled(repr(self), self.frame)


def _one(kind: str, index: int | None, count: int) -> slice:
    """One of ``count``, or all."""
    if index is None:
        return slice(None)
    if not -count <= index < count:
        raise InputError(f"no {kind} {index}: there are {count}, counted from 0")
    return slice(index % count, index % count + 1)


def _chosen(
    kind: str, names: str | Sequence[str] | None, known: Mapping[str, Any]
) -> dict[str, Any]:
    """Those of the known that are named, or all."""
    if names is None:
        return dict(known)
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in known:
            raise unknown(kind, name, known)
    return {name: known[name] for name in wanted}


def _tap_columns(model: str, tap: Tap) -> dict[str, Any]:
    return {
        "model": model,
        "name": tap.name,
        "module": tap.module,
        "role": tap.role,
        "stride": tap.stride,
        "channels": tap.channels,
    }


def _titled(title: str, frame: pd.DataFrame) -> str:
    return f"<p>{html.escape(title)}</p>{frame.to_html(index=False, max_rows=40)}"
