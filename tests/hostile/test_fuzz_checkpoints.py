"""However a file of weights or sums is damaged: it is what it was, or an error that names it."""

import io
import json

import pytest
import torch
from hypothesis import given
from mutations import Watched, damaged, fuzzed
from safetensors.torch import save

from vizkit.checkpoints import fit, read_state_dict
from vizkit.errors import InputError, WeightsError
from vizkit.storing import load_state
from vizkit.training.saving import load_state as load_training

torch.manual_seed(0)
NET = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 2))
STATE = NET.state_dict()
MEANT = {name: value.clone() for name, value in STATE.items()}
FACTS = {"what": "a test"}
SUMS = {"sums": torch.arange(6, dtype=torch.float64)}
KEYS = ("model", "rows", "photos")


def saved(content, **options):
    data = io.BytesIO()
    torch.save(content, data, **options)
    return data.getvalue()


def beside(more):
    """What training scripts store around weights."""
    return {"state_dict": STATE, "meta": {"classes": ["a", "b"], "lr": 0.1}, "epoch": 3, **more}


OLD = {"_use_new_zipfile_serialization": False}
FILES = {
    "pth": [saved(STATE), saved(beside({"optimizer": {"state": [torch.zeros(3)]}}))],
    "pt": [saved(STATE, **OLD), saved(beside({}), **OLD)],
    "safetensors": [save(STATE), save(STATE, {"vizkit": json.dumps({"classes": ["a", "b"]})})],
}


def outcome(read):
    try:
        return read(), ""
    except (InputError, WeightsError) as error:
        return None, str(error)


@pytest.mark.parametrize("kind", FILES)
def test_damaged_weights(kind, tmp_path):
    path = tmp_path / f"damaged.{kind}"

    @fuzzed(120)
    @given(damaged(FILES[kind]))
    def check(data):
        path.write_bytes(data)
        with Watched():
            state, said = outcome(lambda: read_state_dict(path))
            if state is not None:
                _, said = outcome(lambda: fit(NET, state, str(path)))
        own = NET.state_dict()
        if said:
            assert str(path) in said
            assert said.isprintable()
            assert all(torch.equal(own[name], value) for name, value in MEANT.items())
        else:
            assert all(value.isfinite().all() for value in own.values())
            fit(NET, MEANT, "")

    check()


RUN = {"model": STATE, "rows": [{"loss": 1.0}], "photos": 7}


def test_damaged_states_of_a_training_run(tmp_path):
    path = tmp_path / "last.pth"

    @fuzzed(100)
    @given(damaged([saved(RUN)]))
    def check(data):
        path.write_bytes(data)
        with Watched():
            state, said = outcome(lambda: load_training(path, torch.device("cpu"), KEYS))
        if state is None:
            assert str(path) in said
        else:
            assert set(KEYS) <= set(state)

    check()


def test_damaged_sums_of_a_run(tmp_path):
    path = tmp_path / ".state-0-of-1.safetensors"
    progress = {"done": 3, "counted": 9, "failed": {"4": "no image"}}
    meta = {"facts": json.dumps(FACTS), "progress": json.dumps(progress)}

    @fuzzed(120)
    @given(damaged([save(SUMS, meta)]))
    def check(data):
        path.write_bytes(data)
        with Watched():
            found, said = outcome(lambda: load_state(path, FACTS, SUMS))
        if found is None:
            assert str(path) in said
        else:
            sums, came = found
            assert sums["sums"].shape == (6,)
            assert sums["sums"].dtype == torch.float64
            assert came["done"] >= 0
            assert all(int(place) >= 0 for place in came["failed"])

    check()
