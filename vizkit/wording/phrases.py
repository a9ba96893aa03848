"""How numbers and quantities are said: everything that is worded is worded here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

_UPPER = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


@dataclass(frozen=True)
class Phrase:
    """How a quantity is said.

    Attributes
    ----------
    noun : str
        Its name, to be read in a sentence.
    group : str
        What it is one of several measures of: they are not told beside each other.
    between : str
        Two models ``a`` and ``b`` beside each other: ``times``, or the values ``x`` and ``y``.
    change : str
        What happens to it: ``times``; where there is none, it rises or falls.
    unit : str
        What its values are printed with.
    """

    noun: str
    group: str
    between: str = ""
    change: str = ""
    unit: str = ""


_ALL = {
    "std": Phrase(
        "the spread of activations",
        "scale",
        "the activations of {a} spread {times} as widely as those of {b}",
        "the activations spread {times} as widely",
    ),
    "mean": Phrase("the mean activation", "scale"),
    "energy": Phrase("the mean squared activation", "scale"),
    "max": Phrase("the largest activation", "scale"),
    "min": Phrase("the smallest activation", "lowest"),
    "sparsity": Phrase(
        "the share of activations that are exactly zero",
        "zeros",
        "{x} of the activations of {a} are exactly zero, {y} of those of {b}",
    ),
    "below_zero": Phrase(
        "the share of activations below zero",
        "zeros",
        "{x} of the activations of {a} are below zero, {y} of those of {b}",
    ),
    "dead": Phrase(
        "the share of channels that never fire",
        "firing",
        "{x} of the channels of {a} never fire, {y} of those of {b}",
    ),
    "active": Phrase(
        "the share of photos on which a channel fires",
        "firing",
        "a channel of {a} fires on {x} of the photos on average, one of {b} on {y}",
    ),
    "rare": Phrase(
        "the share of channels that hardly ever fire",
        "firing",
        "{x} of the channels of {a} hardly ever fire, {y} of those of {b}",
    ),
    "skew": Phrase("the skewness of activations", "shape"),
    "kurtosis": Phrase("the excess kurtosis of activations", "shape"),
    "median": Phrase("the median activation", "scale"),
    "spatial_entropy": Phrase("the evenness of activity over the image", "spatial"),
    "effective_rank": Phrase("the effective rank of the channels", "rank"),
    "participation_ratio": Phrase("the participation ratio of the channels", "rank"),
    "redundancy": Phrase("the largest correlation of a channel with another", "redundancy"),
    "class_selectivity": Phrase("the class selectivity of channels", "selectivity"),
    "lifetime_sparsity": Phrase("the lifetime sparsity of channels", "selectivity"),
    "gamma": Phrase("the size of the scales of batch normalisation", "gamma"),
    "beta": Phrase("the offset of batch normalisation", "beta"),
    "mean_drift": Phrase("the drift from the running mean of batch normalisation", "drift"),
    "variance_ratio": Phrase("the variance against the running variance", "drift"),
    "gradient_norm": Phrase("the gradient of the loss at the feature maps", "gradient"),
    "params": Phrase(
        "the number of parameters",
        "params",
        "{a} has {times} as many parameters as {b}",
        "there are {times} as many parameters",
    ),
    "gmacs": Phrase(
        "the number of multiply-accumulates for an image",
        "gmacs",
        "{a} needs {times} as many multiply-accumulates for an image as {b}",
        "an image needs {times} as many multiply-accumulates",
        " GMACs",
    ),
    "ms": Phrase(
        "the time for an image",
        "ms",
        "{a} takes {times} as long for an image as {b}",
        "an image takes {times} as long",
        " ms",
    ),
    "receptive_field": Phrase(
        "the receptive field",
        "receptive_field",
        "a place in the feature maps of {a} sees, in theory, {times} as wide a part of the image "
        "as one of {b}",
        "a place in the feature maps sees, in theory, {times} as wide a part of the image",
        " pixels",
    ),
    "accuracy": Phrase(
        "accuracy",
        "accuracy",
        "{a} names the right class on {x} of the photos, {b} on {y}",
    ),
    "confidence": Phrase(
        "the mean probability of the class that is named",
        "confidence",
        "{a} gives the class it names a probability of {x} on average, {b} one of {y}",
    ),
}
# how each kind of comparison is said where a quantity has no words of its own
_BETWEEN = {
    "ratio": "{noun} of {a} is {times} as high as that of {b}",
    "share": "{noun} is {x} in {a}, {y} in {b}",
    "difference": "{noun} is {x} in {a}, {y} in {b}",
}


def phrase(quantity: str) -> Phrase:
    """Find how a quantity is said; one without words is called by its name."""
    quantile = re.fullmatch(r"q(\d\d)", quantity)
    if quantile:
        return Phrase(f"the {int(quantile[1])} % quantile of activations", "scale")
    return _ALL.get(quantity, Phrase(f"the statistic “{quantity}”", quantity))


def between(quantity: str, kind: str, a: tuple[str, float], b: tuple[str, float]) -> str:
    """Say what two models have of a quantity.

    Parameters
    ----------
    quantity : str
        Its name.
    kind : "ratio", "share" or "difference"
        How it is compared.
    a, b : tuple of (str, float)
        The model that has more, the other, and how much.

    Returns
    -------
    str
        A sentence without its beginning and end.
    """
    own, values = phrase(quantity), [a[1], b[1]]
    if kind == "share":
        x, y = map(percent, values)
        return (own.between or _BETWEEN[kind]).format(noun=own.noun, a=a[0], b=b[0], x=x, y=y)
    x, y = apart(*values)
    if kind == "ratio" and b[1] > 0:
        words = (own.between or _BETWEEN[kind]).format(
            noun=own.noun, a=a[0], b=b[0], times=times(a[1] / b[1])
        )
        return f"{words} ({x} against {y}{own.unit})"
    # nothing is no multiple
    y = "none" if kind == "ratio" else f"{y}{own.unit}"
    return _BETWEEN["difference"].format(noun=own.noun, a=a[0], b=b[0], x=f"{x}{own.unit}", y=y)


def change(quantity: str, kind: str, typical: float, low: float, high: float, pairs: int) -> str:
    """Say how a quantity changes, in one direction.

    Parameters
    ----------
    quantity : str
        Its name.
    kind : "ratio", "share" or "difference"
        How it is compared.
    typical, low, high : float
        The typical, smallest and largest change.
    pairs : int
        Of how many pairs of models.

    Returns
    -------
    str
        A sentence without its beginning and end.
    """
    own = phrase(quantity)
    if kind == "ratio":
        if typical in (0.0, inf):
            words = f"{own.noun} {'falls to' if typical == 0 else 'rises from'} none"
            return f"{words} ({all_of(pairs)})"
        words = (own.change or "{noun} is {times} as high").format(
            noun=own.noun, times=times(typical)
        )
        return f"{words} ({_factors(low, high, pairs)})"
    share = kind == "share"
    size = number(abs(typical) * (100 if share else 1))
    unit = " percentage points" if share else own.unit
    average = " on average" if pairs > 1 else ""
    words = f"{own.noun} {'rises' if typical > 0 else 'falls'} by {size}{unit}{average}"
    ends = sorted(abs(end) * (100 if share else 1) for end in (low, high))
    return f"{words} ({_span([number(end) for end in ends], pairs)})"


def both_ways(quantity: str, low: float, high: float, pairs: int) -> str:
    """Say that a share changes in no direction, or not at all."""
    noun = phrase(quantity).noun
    if low == high == 0:
        return f"{noun} stays the same ({all_of(pairs)})"
    ends = f"{number(100 * low)} to {number(100 * high)}"
    return f"{noun} does not change in one direction ({ends} percentage points in {pairs} pairs)"


def over(typical: str, ends: Sequence[str], pairs: int) -> str:
    """Say a mean over pairs, and its range."""
    return typical if pairs == 1 else f"{typical} on average, {_span(ends, pairs)}"


def all_of(pairs: int) -> str:
    """Say that it is all pairs."""
    return {1: "1 pair", 2: "both pairs"}.get(pairs, f"all {pairs} pairs")


def _factors(low: float, high: float, pairs: int) -> str:
    if high == inf:
        return f"{times(low)} or more in {pairs} pairs, in some from none"
    if low == 0:
        return f"at most {times(high)} in {pairs} pairs, in some none"
    return _span([times(low), times(high)], pairs)


def _span(ends: Sequence[str], pairs: int) -> str:
    low, high = ends
    if pairs == 1:
        return "1 pair"
    if low == high:
        return f"about the same in {all_of(pairs)}"
    return f"{low.removesuffix(' times')} to {high} in {pairs} pairs"


def number(value: float, digits: int = 2) -> str:
    """Write a number with few digits: three above a hundred, and no exponents."""
    size = abs(value)
    sign = "\N{MINUS SIGN}" if value < 0 else ""
    if size == 0:
        return "0"
    if size >= 1e6:
        return f"{sign}{number(size / 1e6, digits + 1)} million"
    digits = digits if size < 100 else max(3, digits)
    mantissa, exponent = f"{size:.{digits - 1}e}".split("e")
    power = int(exponent)
    if power < -4:
        return f"{sign}{mantissa} × 10{str(power).translate(_UPPER)}"
    decimals = digits - 1 - power
    return f"{sign}{round(size, decimals):,.{max(0, decimals)}f}"


def apart(one: float, other: float) -> tuple[str, str]:
    """Write two numbers with as many digits as it takes to tell them apart."""
    for digits in (2, 3, 4):
        words = number(one, digits), number(other, digits)
        if words[0] != words[1]:
            return words
    return words


def times(ratio: float) -> str:
    """Write a ratio; one near 1 with more digits."""
    return f"{number(ratio, 3 if 0.9 < ratio < 1.1 else 2)} times"


def percent(share: float) -> str:
    """Write a share of 1; nothing is ``"none"``."""
    if share == 0:
        return "none"
    if share < 1e-4:
        return "less than 0.01 %"
    words = number(100 * share)
    return "more than 99 %" if words == "100" and share < 1 else f"{words} %"


def coefficient(value: float) -> str:
    """Write a similarity or correlation with two decimals."""
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}")


def where(tap: str) -> str:
    """Say where a tap is."""
    stride = re.fullmatch(r"stride(\d+)", tap)
    return f"at stride {stride[1]}" if stride else f"at {tap}"


def sentence(words: str, *, start: str = "", names: tuple[str, ...] = ()) -> str:
    """Begin with a capital, unless a model's name comes first, and end with a full stop."""
    named = not start and any(words.startswith(f"{name} ") for name in names)
    text = f"{start}{words}"
    return f"{text if named else text[:1].upper() + text[1:]}."


def listed(words: list[str], most: int = 4) -> str:
    """Join some words, the last with "and"."""
    shown = words[:most]
    if len(words) > most:
        shown.append(f"{len(words) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
