"""What differs most between models, in sentences."""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from vizkit.results import Similarity
from vizkit.wording import phrases
from vizkit.wording.changes import changes
from vizkit.wording.contrasts import finite, kind_of
from vizkit.wording.flips import beside, flips
from vizkit.wording.telling import Candidate, Finding, alike, size_of, told_once, varied

__all__ = ["Finding", "changes", "findings"]


def findings(
    measures: pd.DataFrame,
    *,
    similarity: Similarity | None = None,
    agreement: pd.DataFrame | None = None,
    predictions: pd.DataFrame | None = None,
    most: int = 5,
) -> list[Finding]:
    """Find the largest differences between any two models.

    Parameters
    ----------
    measures : DataFrame
        Of `vizkit.wording.contrasts.measures`.
    similarity : Similarity, optional
        Of feature maps.
    agreement : DataFrame, optional
        Of `vizkit.agreement`; explanations of two models by one method at one stage count.
    predictions : DataFrame, optional
        As for `measures`. Accuracies are only compared photo by photo: without, they are not.
    most : int
        How many.

    Returns
    -------
    list of Finding
        Largest first; each quantity once, of several that measure the same the one that differs
        most, and at most two of one topic. Differences of accuracy that may be chance (exact
        McNemar test at 5 % over the number of pairs) are left out, and those below 0.01.
    """
    found = _of_measures(finite(measures))
    if predictions is not None:
        found += [*_of_accuracy(predictions), *_of_classes(predictions)]
    if similarity is not None:
        found += _of_similarity(similarity)
    if agreement is not None:
        found += _of_agreement(agreement)
    return [each.finding for each in varied(found, most)]


def _of_measures(measures: pd.DataFrame) -> list[Candidate]:
    """Compare the models that have most and least of each quantity, where they differ most."""
    found = []
    quantities = told_once(measures["quantity"]) - {"accuracy"}
    rows = measures[measures["quantity"].isin(quantities)]
    for (topic, name), own in rows.groupby(["topic", "quantity"], sort=False):
        quantity, kind, scale = str(name), kind_of(str(name), own), own["value"].abs().max()
        places = [
            (size_of(kind, at["value"].min(), at["value"].max(), scale), place, at)
            for place, at in own.groupby("place", sort=False, dropna=False)
        ]
        size, place, at = max(places, key=lambda each: each[0])
        ends = at.loc[[at["value"].idxmax(), at["value"].idxmin()]]
        a, b = zip(ends["model"], ends["value"], strict=True)
        start = "" if pd.isna(place) else f"at stride {place!s}, "
        text = phrases.sentence(
            phrases.between(quantity, kind, a, b), start=start, names=(a[0], b[0])
        )
        finding = Finding(text, size, str(topic), str(topic))
        found.append(Candidate(phrases.phrase(quantity).group, finding))
    return found


def _of_accuracy(predictions: pd.DataFrame) -> list[Candidate]:
    """Tell the largest difference in accuracy that is more than chance."""
    if "right" not in predictions:
        return []
    pairs = list(combinations(dict.fromkeys(predictions["model"]), 2))
    best: tuple[float, str] | None = None
    for a, b in pairs:
        found = flips(predictions, a, b)
        if not found.exceeds_chance(len(pairs)):
            continue
        better, worse = (a, b) if found.first > found.second else (b, a)
        size = abs(found.first - found.second) / found.photos
        if best is None or size > best[0]:
            right = [float(own.mean()) for own in beside(predictions, "right", better, worse)]
            words = phrases.between("accuracy", "share", (better, right[0]), (worse, right[1]))
            best = (
                size,
                phrases.sentence(f"{words}, {found.words(len(pairs))}", names=(better, worse)),
            )
    if best is None:
        return []
    return [Candidate("accuracy", Finding(best[1], best[0], "predictions", "predictions"))]


def _of_classes(predictions: pd.DataFrame) -> list[Candidate]:
    """Tell which models name different classes most often."""
    if "class" not in predictions:
        return []
    counts = []
    for a, b in combinations(dict.fromkeys(predictions["model"]), 2):
        one, other = beside(predictions, "class", a, b)
        different = int((one != other).sum())
        # models that agree on no photo at all may know other classes
        if 0 < different < len(one):
            counts.append((different / len(one), different, len(one), a, b))
    if not counts:
        return []
    share, different, photos, a, b = max(counts, key=lambda each: each[0])
    text = phrases.sentence(
        f"{a} and {b} name different classes for {phrases.percent(share)} of the photos "
        f"({different} of {photos})",
        names=(a,),
    )
    return [Candidate("classes", Finding(text, share, "predictions", "disagreements"))]


def _of_similarity(similarity: Similarity) -> list[Candidate]:
    """Tell which models are least alike, and which most."""
    rows = alike(similarity)
    if rows.empty:
        return []
    least, most = (rows.iloc[each] for each in _ends(rows["value"]))
    cka = float(least["value"])
    words = (
        f"{phrases.where(least['tap'])}, the feature maps of {least['model']} and "
        f"{least['other_model']} are least alike (CKA similarity {phrases.coefficient(cka)}; "
        "1: the same up to rotation and scale, 0: unrelated)"
    )
    if len(rows) > 1:
        other = f" are those of {most['model']} and {most['other_model']}"
        same = list(least[["model", "other_model"]]) == list(most[["model", "other_model"]])
        words += f"; most alike{'' if same else other} {phrases.where(most['tap'])} "
        words += f"({phrases.coefficient(most['value'])})"
    size = min(1.0, max(0.0, 1 - cka))
    finding = Finding(phrases.sentence(words), size, "similarity", "similarity")
    return [Candidate("similarity", finding)]


def _of_agreement(agreement: pd.DataFrame) -> list[Candidate]:
    """Tell which models explain the same classes least alike, by one method at one stage."""
    same = (agreement["stage_a"] == agreement["stage_b"]) & (
        agreement["method_a"] == agreement["method_b"]
    )
    rows = agreement[same & (agreement["model_a"] != agreement["model_b"])]
    rows = rows.dropna(subset=["spearman"])
    if rows.empty:
        return []
    least = rows.iloc[_ends(rows["spearman"])[0]]
    rho, maps = float(least["spearman"]), int(least["n"])
    words = (
        f"{phrases.where(least['stage_a'])}, the explanations of {least['model_a']} and "
        f"{least['model_b']} by {least['method_a']} agree least (rank correlation "
        f"{phrases.coefficient(rho)} over {maps} map{'s' if maps > 1 else ''}; "
        "1: the same order of places, 0: unrelated)"
    )
    size = min(1.0, max(0.0, 1 - rho))
    finding = Finding(phrases.sentence(words), size, "attributions", "attributions")
    return [Candidate("attributions", finding)]


def _ends(values: pd.Series) -> tuple[int, int]:
    """Find where the smallest and the largest value are."""
    numbers = values.to_numpy(dtype=float)
    return int(numbers.argmin()), int(numbers.argmax())
