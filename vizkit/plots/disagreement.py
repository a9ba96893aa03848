"""Where networks part, at a glance: how far they differ, where their maps do, and who is right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

from vizkit.errors import instance
from vizkit.plots import series, style
from vizkit.plots.style import Picture, Theme
from vizkit.results.disagreement import Disagreement
from vizkit.results.judged import Judged

# with more pairs, kinds of pairs are drawn in their stead
_PAIRS = 3
_KINDS = {
    "plain": "both without batch normalisation",
    "normed": "both with batch normalisation",
    "twins": "with and without, same depth",
    "mixed": "with and without, other depth",
    "other": "other pairs",
}
_BINS = 20
# inches
_WIDTH = 12.5


def plot_disagreement(
    disagreement: Disagreement,
    *,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Draw where networks part: predictions, maps against depth, and who is right where.

    Parameters
    ----------
    disagreement : Disagreement
        From `vizkit.disagreement`.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure. Without the images' own classes it counts different predictions
        instead of right and wrong ones; without maps, it leaves their panel out.
    """
    instance("disagreement", disagreement, Disagreement)
    look = style.theme_of(theme)
    models = series.with_twins(disagreement.models)
    with_maps = bool(disagreement.agreement["spearman"].notna().any())
    note = _words(disagreement)
    side = max(1.5, 0.36 * len(models))
    height = 4.5 + side + style.note_height(note, _WIDTH)
    with style.drawing(look):
        figure = style.picture(look, figsize, (_WIDTH, height))
        grid = figure.add_gridspec(2, 2, height_ratios=[2.4, side])
        cells = {_dispute: grid[0, 0] if with_maps else grid[0, :]}
        if with_maps:
            cells[_maps] = grid[0, 1]
        cells[_flips if disagreement.labelled else _different] = grid[1, 0]
        cells[_sure] = grid[1, 1]
        for panel, cell in cells.items():
            panel(figure.add_subplot(cell), disagreement, models, look)
        style.footnote(figure, note)
        figure.table = disagreement.ranking
    return figure


def _dispute(axes: Axes, found: Disagreement, models: Sequence[str], look: Theme) -> None:
    """Count images by the divergence of predictions."""
    del models
    values, apart = found.ranking["divergence"], found.ranking["classes"] > 1
    top = max(0.05, float(values.max()))
    bins = min(_BINS, max(5, len(values) // 5))
    counts, *_ = axes.hist(
        [values[~apart], values[apart]], bins=list(np.linspace(0, top, bins + 1)), stacked=True,
        color=[look.faint, look.series[1]], edgecolor=look.paper, linewidth=0.5,
        label=[f"all models predict the same class: {int((~apart).sum())} images",
               f"not all do: {int(apart.sum())} images"],
    )  # fmt: skip
    # room for the legend
    axes.set(xlim=(0, top), ylim=(0, 1.35 * float(np.max(counts))))
    axes.set(xlabel="divergence of predictions", ylabel="images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper right")
    _title(axes, "How far predictions differ")


def _maps(axes: Axes, found: Disagreement, models: Sequence[str], look: Theme) -> None:
    """Draw the agreement of maps against depth: each pair, or kinds of many."""
    table = found.agreement
    places = list(dict.fromkeys(table.sort_values("stride", kind="stable")["stage"]))
    pairs = table.groupby(["model_a", "model_b"], sort=False)
    if pairs.ngroups > _PAIRS:
        _range(axes, table, places, look)
        kinds = [
            _kind(a, b, models) for a, b in zip(table["model_a"], table["model_b"], strict=True)
        ]
        groups = {
            _KINDS[kind]: table[[each == kind for each in kinds]]
            for kind in _KINDS
            if kind in kinds and len(set(kinds)) > 1
        }
    else:
        groups = {
            f"{style.shortened(str(a))} and {style.shortened(str(b))}": own for (a, b), own in pairs
        }
    for n, (name, own) in enumerate(groups.items()):
        means = _at(own.groupby("stage")["spearman"].mean(), places)
        count = own.groupby(["model_a", "model_b"]).ngroups
        axes.plot(
            range(len(places)), means, color=look.series[n % len(look.series)], markersize=4.5,
            marker=series.MARKERS[n % len(series.MARKERS)], linewidth=1.6,
            label=f"{name}: {_counted(count)}" if pairs.ngroups > _PAIRS else name,
        )  # fmt: skip
    axes.set_xticks(range(len(places)), _ticks(table, places))
    axes.set_xlabel("stride" if _staged(places) else "layer")
    axes.set_ylabel("rank correlation of maps")
    axes.set_ylim(min(0.0, float(table["spearman"].min()) - 0.03), 1)
    axes.grid(visible=True, axis="y")
    _legend(axes)
    _title(axes, f"How far maps agree ({found.method})")


def _range(axes: Axes, table: pd.DataFrame, places: Sequence[str], look: Theme) -> None:
    stages = table.groupby("stage")["spearman"]
    low, high = _at(stages.min(), places), _at(stages.max(), places)
    count = table.groupby(["model_a", "model_b"]).ngroups
    axes.fill_between(
        range(len(places)), low, high, color=look.faint, alpha=0.45, linewidth=0,
        label=f"least to most alike of {count} pairs",
    )  # fmt: skip
    axes.plot(
        range(len(places)), _at(stages.mean(), places), color=look.ink, linewidth=1.2,
        linestyle=":", label="mean of all pairs",
    )  # fmt: skip


def _at(values: pd.Series, places: Sequence[str]) -> np.ndarray:
    """Put values in forward order; NaN where there is none."""
    return np.array([values.get(place, np.nan) for place in places])


def _kind(a: str, b: str, models: Sequence[str]) -> str:
    """Tell pairs of networks by whether they are batch-normalised."""
    plain = [series.is_plain(each, models) for each in (a, b)]
    normed = [series.is_plain(each.removesuffix("_bn"), models) for each in (a, b)]
    normed = [n and not p for n, p in zip(normed, plain, strict=True)]
    if not all(p or n for p, n in zip(plain, normed, strict=True)):
        return "other"
    if all(plain) or all(normed):
        return "plain" if all(plain) else "normed"
    return "twins" if series.family(a) == series.family(b) else "mixed"


def _staged(places: Sequence[str]) -> bool:
    return all(place.startswith("stride") or place == "input" for place in places)


def _ticks(table: pd.DataFrame, places: Sequence[str]) -> list[str]:
    strides = dict(zip(table["stage"], table["stride"], strict=True))
    names = [str(strides[p]) if _staged(places) and p != "input" else p for p in places]
    return [style.shortened(name, 12) for name in names]


def _flips(axes: Axes, found: Disagreement, models: Sequence[str], look: Theme) -> None:
    """Count the images that one is right about and the other wrong."""
    counts = np.full((len(models), len(models)), np.nan)
    for row in found.flip_counts().itertuples():
        a, b = models.index(row.a), models.index(row.b)
        counts[a, b], counts[b, a] = row.only_a, row.only_b
    _matrix(axes, counts, models, look)
    axes.set(xlabel="this one is wrong", ylabel="this one is right")
    _title(axes, "Flips: images that only one of two gets right")


def _different(axes: Axes, found: Disagreement, models: Sequence[str], look: Theme) -> None:
    """Count the images that two say different things of."""
    said = {model: own["class"].to_numpy() for model, own in found.predictions.groupby("model")}
    counts = np.array([[(said[a] != said[b]).sum() for b in models] for a in models], dtype=float)
    np.fill_diagonal(counts, np.nan)
    _matrix(axes, counts, models, look)
    _title(axes, "Images of which two predict different classes")


def _matrix(axes: Axes, counts: np.ndarray, models: Sequence[str], look: Theme) -> None:
    """Draw whole numbers as colours and digits."""
    colours = colormaps[look.sequential].with_extremes(bad=look.empty)
    top = max(1.0, float(np.nanmax(counts)))
    axes.imshow(np.ma.masked_invalid(counts), cmap=colours, vmin=0, vmax=top, aspect="auto")
    for (y, x), value in np.ndenumerate(counts):
        if not np.isnan(value):
            colour = "#000000" if value > 0.6 * top else "#ffffff"
            axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    names = [style.shortened(model) for model in models]
    upright = len(models) <= _PAIRS
    axes.set_xticks(range(len(models)), names, rotation=0 if upright else 40,
                    ha="center" if upright else "right", rotation_mode="anchor")  # fmt: skip
    axes.set_yticks(range(len(models)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _sure(axes: Axes, found: Disagreement, models: Sequence[str], look: Theme) -> None:
    """Draw how often each is right, and how sure."""
    sure = found.predictions.groupby("model")["probability"].mean()
    scores = found.scores().set_index("model") if found.labelled else pd.DataFrame()
    for y, model in enumerate(models):
        if found.labelled:
            own = scores.loc[model]
            axes.plot([own["low"], own["high"]], [y, y], color=look.ink, linewidth=2, alpha=0.4)
            axes.plot(own["accuracy"], y, "o", color=look.ink, markersize=6)
        axes.plot(sure[model], y, "D", color=look.paper, markeredgecolor=look.ink, markersize=5.5)
    axes.set_yticks(range(len(models)), [style.shortened(model) for model in models])
    axes.set_ylim(len(models) - 0.4, -0.6)
    axes.set_xlim(*_span([*sure, *(scores["low"] if found.labelled else ())]))
    axes.xaxis.set_major_locator(MultipleLocator(0.1))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(visible=True, axis="x")
    if found.labelled:
        axes.plot(
            [], [], "-o", color=look.ink, label="share of images that is right,\n95 % interval"
        )
    axes.plot([], [], "D", color=look.paper, markeredgecolor=look.ink,
              label="mean probability\nof the predicted class")  # fmt: skip
    _legend(axes)
    _title(axes, "Who is right, and how sure" if found.labelled else "How sure they are")


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Begin the axis of shares at a tenth below all, and end it at 1."""
    return max(0.0, np.floor(10 * min(values) - 0.2) / 10), 1.0


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, borderaxespad=0)


def _counted(pairs: int) -> str:
    return f"{pairs} pair" + ("" if pairs == 1 else "s")


def _title(axes: Axes, words: str) -> None:
    axes.set_title(words, fontsize=10, fontweight="bold", loc="left")


def _words(found: Disagreement) -> str:
    words = [
        f"{found.images} images. Divergence: Jensen-Shannon, of all models' probabilities of the "
        "classes they share; 0: the same, 1: each is sure of another class."
    ]
    if found.method is not None and not found.agreement.empty:
        which = "its own class" if found.labelled else "the class most probable on average"
        words.append(f"Maps of an image all explain {which}.")
    if found.labelled and len(found.models) > 1:
        counts = found.flip_counts()
        least = counts.iloc[int(counts["p"].argmin())]
        words.append(
            f"Least p of McNemar's exact test: {least['p']:.2g} ({least['a']} and {least['b']}; "
            f"{_counted(len(counts))}, not adjusted)."
        )
    return " ".join([*words, *seen_words(found)]).replace("$", r"\$")


def seen_words(found: Judged) -> list[str]:
    """Say what the networks were given: their transforms, and files left out.

    Parameters
    ----------
    found : Judged
        What is drawn.

    Returns
    -------
    list of str
        Sentences for the footnote.
    """
    inputs = list(dict.fromkeys(found.transforms.values()))
    words = []
    if len(inputs) == 1:
        words.append(f"All see: {inputs[0]}.")
    elif inputs:
        parts = [f"{model}: {inputs}" for model, inputs in found.transforms.items()]
        words.append(f"The models see different inputs: {'; '.join(parts)}.")
    if len(found.failed):
        words.append(f"{len(found.failed)} unreadable files left out.")
    return words
