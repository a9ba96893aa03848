"""What a change of design changes, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import pandas as pd

from vizkit.results import Similarity
from vizkit.wording import phrases
from vizkit.wording.contrasts import Contrast, effects
from vizkit.wording.flips import flips
from vizkit.wording.telling import Candidate, Finding, alike, size_of, told_once, varied

_SENTENCES = 5
# a stage's change is told if at this share of the stages or more it is the same
_MOST_STAGES = 0.5


def changes(
    measures: pd.DataFrame,
    contrasts: Sequence[Contrast],
    *,
    predictions: pd.DataFrame | None = None,
    similarity: Similarity | None = None,
) -> dict[str, list[str]]:
    """Say what each contrast changes.

    Parameters
    ----------
    measures : DataFrame
        Of `vizkit.wording.contrasts.measures`.
    contrasts : sequence of Contrast
        Of `vizkit.wording.contrasts.contrasts`.
    predictions : DataFrame, optional
        As for `measures`: to tell changes of accuracy from chance.
    similarity : Similarity, optional
        Of feature maps.

    Returns
    -------
    dict of str to list of str
        For each contrast by name up to five sentences, the largest change first: changes in the
        same direction in all pairs, each where it is largest, and accuracy in any case. If there
        are fewer than two, another names what does not change that way.
    """
    every = effects(measures, contrasts)
    told = {
        contrast.name: _told(
            contrast, every[every["contrast"] == contrast.name], predictions, similarity
        )
        for contrast in contrasts
    }
    return {name: words for name, words in told.items() if words}


def _told(
    contrast: Contrast,
    effects: pd.DataFrame,
    predictions: pd.DataFrame | None,
    similarity: Similarity | None,
) -> list[str]:
    accuracy = effects[effects["quantity"] == "accuracy"].to_dict("records")
    others = effects[effects["quantity"].isin(told_once(effects["quantity"]) - {"accuracy"})]
    found = [_of_effect(row) for row in _steady(others).to_dict("records")]
    if similarity is not None:
        found += _of_similarity(contrast, similarity)
    # a place is kept for accuracy, which is told however small
    chosen = varied(found, _SENTENCES - len(accuracy))
    chosen += [_of_accuracy(contrast, row, predictions) for row in accuracy]
    chosen.sort(key=lambda each: -each.finding.size)
    words = [each.finding.text for each in chosen]
    if len(words) < 2:
        words += _unmoved(others, {each.group for each in chosen})
    start = _start(contrast)
    return [phrases.sentence(each, start="" if n else start) for n, each in enumerate(words)]


def _steady(effects: pd.DataFrame) -> pd.DataFrame:
    """Keep changes of one direction in all pairs, and at half of the stages or more.

    One stage among many, where few pairs happen to agree, says nothing of a design.
    """
    rises = effects["typical"] > effects["kind"].map({"ratio": 1.0}).fillna(0.0)
    same = effects.assign(rises=rises & effects["consistent"])
    same["falls"] = ~rises & effects["consistent"]
    groups = same.groupby("quantity")
    shares = groups["rises"].transform("mean").where(rises, groups["falls"].transform("mean"))
    return effects[effects["consistent"] & (shares >= _MOST_STAGES)]


def _start(contrast: Contrast) -> str:
    told = contrast.name in contrast.words
    return f"{contrast.name}: " if told else f"{contrast.name} ({contrast.words}): "


def _of_effect(row: dict[Any, Any]) -> Candidate:
    kind, typical = row["kind"], row["typical"]
    if kind == "ratio":
        size = size_of(kind, min(1.0, typical), max(1.0, typical), 1.0) if typical < inf else 1.0
    else:
        size = size_of(kind, 0.0, abs(typical), row["scale"])
    start = "" if pd.isna(row["place"]) else f"at stride {row['place']} "
    ends = (row["typical"], row["low"], row["high"])
    words = start + phrases.change(row["quantity"], kind, *ends, row["pairs"])
    finding = Finding(words, size, row["topic"], row["topic"])
    return Candidate(phrases.phrase(row["quantity"]).group, finding)


def _of_accuracy(
    contrast: Contrast, row: dict[Any, Any], predictions: pd.DataFrame | None
) -> Candidate:
    """Tell how accuracy changes, and in how many pairs by more than chance."""
    ends = (row["typical"], row["low"], row["high"])
    verdict = ""
    if predictions is not None and "right" in predictions:
        verdict = _chance(contrast, predictions)
    if row["consistent"] and not verdict.startswith("within"):
        words = phrases.change("accuracy", "share", *ends, row["pairs"])
    else:
        words = phrases.both_ways("accuracy", *ends[1:], row["pairs"])
    words += f"; {verdict}" if verdict else ""
    size = abs(row["typical"]) if row["consistent"] else 0.0
    return Candidate("accuracy", Finding(words, size, "predictions", "predictions"))


def _chance(contrast: Contrast, predictions: pd.DataFrame) -> str:
    known = set(predictions["model"])
    pairs = [pair for pair in contrast.pairs if known.issuperset(pair)]
    found = [flips(predictions, *pair) for pair in pairs]
    if not found:
        return "not compared photo by photo"
    if len(found) == 1:
        return found[0].words()
    more = sum(each.exceeds_chance(len(found)) for each in found)
    if more in (0, len(found)):
        return f"{'more than' if more else 'within'} chance in {phrases.all_of(len(found))}"
    return f"more than chance in {more} of them"


def _of_similarity(contrast: Contrast, similarity: Similarity) -> list[Candidate]:
    """Tell where the maps of the pairs are least alike, and where most."""
    rows = alike(similarity)
    pairs = [frozenset(pair) for pair in contrast.pairs]
    own = [
        frozenset(pair) in pairs for pair in zip(rows["model"], rows["other_model"], strict=True)
    ]
    taps = {str(tap): at["value"].to_numpy() for tap, at in rows[own].groupby("tap", sort=False)}
    if not taps:
        return []
    order = sorted(taps, key=lambda tap: float(taps[tap].mean()))
    least, most = order[0], order[-1]
    mean, at = float(taps[least].mean()), taps[least]
    ends = [phrases.coefficient(end) for end in (at.min(), at.max())]
    words = f"the feature maps of a pair are least alike {phrases.where(least)} (CKA similarity "
    words += phrases.over(phrases.coefficient(mean), ends, len(at))
    words += "; 1: the same up to rotation and scale)"
    if most != least:
        other = phrases.coefficient(taps[most].mean())
        words += f" and most {phrases.where(most)} ({other})"
    size = min(1.0, max(0.0, 1 - mean))
    return [Candidate("similarity", Finding(words, size, "similarity", "similarity"))]


def _unmoved(effects: pd.DataFrame, told: set[str]) -> list[str]:
    """Name what does not change in one direction, or hardly."""
    quantities = [phrases.phrase(name) for name in dict.fromkeys(effects["quantity"])]
    nouns = [each.noun for each in quantities if each.group not in told]
    if not nouns:
        return []
    what = "nothing else" if told else "nothing"
    return [f"{what} changes clearly and in one direction: not {phrases.listed(nouns)}"]
