"""What is kept of each photo, against sums written out in NumPy."""

import math

import numpy as np
import pytest
import torch

from vizkit.outcomes import NUMBERS, outcomes


def by_hand(row, own, among):
    """One photo, with plain loops over the classes it may be."""
    total = sum(math.exp(row[k]) for k in among)
    shares = {k: math.exp(row[k]) / total for k in among}
    order = sorted(among, key=lambda k: (-row[k], k))
    return {
        "index": order[0],
        "rank": 1 + order.index(own),
        "probability": shares[order[0]],
        "own": shares[own],
        "brier": sum((shares[k] - (k == own)) ** 2 for k in among),
        "nll": -math.log(shares[own]),
    }


@pytest.mark.parametrize("among", [None, [0, 3, 4, 8], [5], list(range(9))])
def test_numbers_are_the_sums_written_out(among):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (40, 9))
    choices = among or list(range(9))
    own = generator.choice(choices, 40)
    some = None if among is None else torch.tensor(among)
    found = outcomes(torch.from_numpy(logits), torch.from_numpy(own), some)
    for n in range(40):
        expected = by_hand(logits[n], own[n], choices)
        assert found[:, n] == pytest.approx([expected[name] for name in NUMBERS], abs=1e-12)


@pytest.mark.parametrize("outputs", [3, 10, 1000, 5000])
def test_equal_logits_are_ranked_by_number_however_many_there_are(outputs):
    own = torch.tensor([0, 1, outputs - 1])
    found = outcomes(torch.zeros(3, outputs, dtype=torch.float64), own)
    assert found[0].tolist() == [0, 0, 0]
    assert found[1].tolist() == [1, 2, outputs]


def test_the_rank_is_one_exactly_where_the_prediction_is_right():
    # few values: many ties
    logits = torch.randint(0, 3, (500, 12), generator=torch.Generator().manual_seed(0)).double()
    own = torch.arange(500) % 12
    index, rank = outcomes(logits, own)[:2]
    assert ((rank == 1) == (index == own.numpy())).all()


def test_without_own_classes_only_the_prediction_is_known():
    found = dict(zip(NUMBERS, outcomes(torch.eye(4).double() * 3), strict=True))
    assert found["index"].tolist() == [0, 1, 2, 3]
    assert np.isfinite(found["probability"]).all()
    assert all(np.isnan(found[name]).all() for name in ("rank", "own", "brier", "nll"))
