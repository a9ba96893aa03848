"""How far explanations of the same thing agree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vizkit.errors import InputError, flags, results_of, share, whole
from vizkit.files import distinct
from vizkit.results import Attributions, Seen

SIZE = 64
TOP = 0.1
# beyond any network's input, and 64 MB a map
_MOST = 4096
# side of the windows that structural similarity looks through
_WINDOW = 7
_NAMES = ("model", "method", "stage")


def agreement(
    attributions: Attributions | Sequence[Attributions],
    *,
    size: int = SIZE,
    top: float = TOP,
    same_stage: bool = False,
) -> pd.DataFrame:
    """Compare every pair of methods, stages and networks on the same images and classes.

    Parameters
    ----------
    attributions : Attributions or list of Attributions
        Of one or more networks for the same images, with as many classes each.
    size : int
        Side, in pixels, of the grid on which maps are compared, over the part of the photo that
        all networks saw: larger maps are averaged, smaller ones interpolated.
    top : float
        Share of the places whose overlap is measured, in (0, 1).
    same_stage : bool
        Only pairs of networks by one method at one stage.

    Returns
    -------
    DataFrame
        One row per pair: model_a, method_a, stage_a, model_b, method_b, stage_b, spearman (rank
        correlation, in [-1, 1]), ssim (structural similarity of the maps, each scaled from 0 to
        1), iou (overlap of the top places, in [0, 1]), n (maps averaged over). A map that is the
        same everywhere agrees with nothing: it is left out.

    Raises
    ------
    InputError
        If the attributions are of other images or other numbers of classes.
    """
    size = whole("size", size, _WINDOW, _MOST)
    top = share("top", top, ends=False)
    flags(same_stage=same_stage)
    sources = results_of("attributions", attributions, Attributions)
    names = distinct([source.model for source in sources])
    if len({source.seen.names for source in sources}) != 1:
        raise InputError("agreement needs attributions of the same images")
    if len({source.targets.shape for source in sources}) != 1:
        raise InputError("agreement needs as many classes from each network")
    maps = {
        (name, method, stage): _on_grid(values, source.seen, sources, size)
        for name, source in zip(names, sources, strict=True)
        for method, stages in source.values.items()
        for stage, values in stages.items()
    }
    ranked = {key: [_ranks(each) for each in own] for key, own in maps.items()}
    tops = {key: [_highest(each, top) for each in own] for key, own in maps.items()}
    rows = []
    for a, b in itertools.combinations(maps, 2):
        if same_stage and a[1:] != b[1:]:
            continue
        scores = [
            (_correlation(*ranks), ssim(*pair), _overlap(*highest))
            for pair, ranks, highest in zip(
                zip(maps[a], maps[b], strict=True),
                zip(ranked[a], ranked[b], strict=True),
                zip(tops[a], tops[b], strict=True),
                strict=True,
            )
        ]
        usable = [score for score in scores if not any(map(math.isnan, score))]
        means = np.mean(usable, axis=0) if usable else [math.nan] * 3
        who = {f"{name}_a": value for name, value in zip(_NAMES, a, strict=True)}
        who |= {f"{name}_b": value for name, value in zip(_NAMES, b, strict=True)}
        measures = dict(zip(("spearman", "ssim", "iou"), map(float, means), strict=True))
        rows.append({**who, **measures, "n": len(usable)})
    sides = [f"{name}_{side}" for side in "ab" for name in _NAMES]
    return pd.DataFrame(rows, columns=[*sides, "spearman", "ssim", "iou", "n"])


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation of two maps of one size, in [-1, 1]; NaN if one is the same everywhere."""
    return _correlation(_ranks(first), _ranks(second))


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Structural similarity of two maps of one size, each scaled from 0 to 1, in [-1, 1].

    Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE
    TIP 2004. NaN if a map is the same everywhere.
    """
    scaled = [_unit(each) for each in (first, second)]
    if any(each is None for each in scaled):
        return math.nan
    side = min(_WINDOW, *first.shape)
    return float(structural_similarity(*scaled, data_range=1.0, win_size=side - (side + 1) % 2))


def _ranks(values: np.ndarray) -> np.ndarray | None:
    """Ranks with mean 0 and length 1; None if all are the same."""
    ranks: np.ndarray = rankdata(values) - (values.size + 1) / 2
    length = float(np.linalg.norm(ranks))
    scaled: np.ndarray = ranks / (length or 1.0)
    return scaled if length > 0 else None


def _correlation(first: np.ndarray | None, second: np.ndarray | None) -> float:
    return math.nan if first is None or second is None else float(first @ second)


def _unit(values: np.ndarray) -> np.ndarray | None:
    low, high = float(values.min()), float(values.max())
    return (values.astype(np.float64) - low) / (high - low) if high > low else None


def _highest(values: np.ndarray, share: float) -> np.ndarray:
    """Mark the highest places; fewer where the rest of the map is all the lowest value."""
    count = max(1, round(share * values.size))
    marked: np.ndarray = np.zeros(values.size, dtype=bool)
    marked[np.argsort(-values, axis=None, kind="stable")[:count]] = True
    marked &= values.ravel() > values.min()
    return marked


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else math.nan


def _on_grid(
    values: Tensor, seen: Seen, sources: Sequence[Attributions], size: int
) -> list[np.ndarray]:
    """Put maps of all images and classes on one grid over the part that all networks saw."""
    found = []
    for n, box in enumerate(seen.boxes):
        others = np.array([source.seen.boxes[n] for source in sources])
        shared = (*others[:, :2].max(axis=0), *others[:, 2:].min(axis=0))
        cut = _cut(values[n : n + 1].float().cpu(), box, shared)
        mode = "area" if min(cut.shape[-2:]) > size else "bilinear"
        corners = {} if mode == "area" else {"align_corners": False}
        found += list(F.interpolate(cut, (size, size), mode=mode, **corners)[0].numpy())
    return found


def _cut(maps: Tensor, box: Sequence[float], shared: Sequence[float]) -> Tensor:
    """Cut out the part of maps over a box that lies over a smaller one, to the nearest cell."""
    height, width = maps.shape[-2:]
    left, top, right, bottom = box
    xs = [round((x - left) / (right - left) * width) for x in (shared[0], shared[2])]
    ys = [round((y - top) / (bottom - top) * height) for y in (shared[1], shared[3])]
    cut = maps[..., ys[0] : max(ys[1], ys[0] + 1), xs[0] : max(xs[1], xs[0] + 1)]
    if cut.numel() == 0:
        raise InputError("agreement needs networks that saw a common part of each photo")
    return cut
