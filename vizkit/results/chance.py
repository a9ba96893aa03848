"""How far a share, or a difference of two, may be chance."""

from __future__ import annotations

import math


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Compute the 95 % Wilson score interval of a share.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    Parameters
    ----------
    hits, n : int
        Successes among trials.

    Returns
    -------
    tuple of (float, float)
        Lower and upper end, in [0, 1]; NaN for no trials.
    """
    from scipy.stats import binomtest

    if n == 0:
        return math.nan, math.nan
    found = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def mcnemar(first: int, second: int) -> float:
    """Test whether two classifiers are right equally often, exactly.

    McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 1947.

    Parameters
    ----------
    first, second : int
        Photos that only the one, and only the other, gets right.

    Returns
    -------
    float
        Two-sided p; 1 where they never differ.
    """
    from scipy.stats import binomtest

    total = first + second
    return float(binomtest(first, total).pvalue) if total else 1.0
