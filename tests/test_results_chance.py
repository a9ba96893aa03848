"""Intervals and tests against the textbook's formulas."""

import math

import pytest

from vizkit.results.chance import mcnemar, wilson

Z = 1.959963984540054


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (3, 7), (3500, 3791)])
def test_wilson(hits, n):
    share = hits / n
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    low, high = wilson(hits, n)
    assert low == pytest.approx(middle - half, abs=1e-12)
    assert high == pytest.approx(middle + half, abs=1e-12)
    assert all(math.isnan(end) for end in wilson(0, 0))


@pytest.mark.parametrize(("first", "second"), [(1, 9), (34, 9), (5, 5), (0, 3), (152, 159)])
def test_mcnemar(first, second):
    n, rare = first + second, min(first, second)
    tail = sum(math.comb(n, k) for k in range(rare + 1)) / 2**n
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(second, first) == mcnemar(first, second)
    assert mcnemar(0, 0) == 1.0
