"""A thousand calls leave nothing behind: no hook, tensor, thread, file, figure, widget or memory.

By default the dear ones are called less often, and looked at as closely: every kind of thing is
counted, and none may become more. `VIZKIT_CALLS=1000` calls all of them that often.
"""

import ast
import gc
import os
import sys
import threading
import weakref
from collections.abc import MutableMapping, MutableSequence, MutableSet
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from ipywidgets.widgets import widget
from torch import nn

import vizkit
from vizkit.images import Transform

TINY = Transform(size=(8, 8), resize=(8, 8))
CALLS = os.environ.get("VIZKIT_CALLS")
# memory is handed out in large pieces, now and then: a leak takes some of it in every window
_WINDOWS, _PIECE = 3, 1_000_000
_HOOKS = [name for name in vars(nn.Module()) if name.endswith("_hooks")]


@pytest.fixture(autouse=True, scope="module")
def _what_was_there():
    """Leave out what was there before: looking through a million objects takes a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def a_net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(2, 3),
        )  # fmt: skip
    return vizkit.wrap(net.eval(), transform=TINY, classes=("cat", "dog", "owl"))


ONE = torch.linspace(-1, 1, 192).view(1, 3, 8, 8)
FOUR = torch.cat([ONE, -ONE, ONE.flip(2), ONE.flip(3)])
# what is called, and how often
EVERY = {
    "capture": (lambda net: vizkit.capture(net, ONE), 1000),
    "attribute": (lambda net: vizkit.attribute(net, ONE, "grad_cam"), 400),
    "attribute pixels": (lambda net: vizkit.attribute(net, ONE, "saliency"), 400),
    "describe": (lambda net: vizkit.describe(net, ONE, "mean"), 300),
    "predict": (lambda net: vizkit.predict(net, ONE), 400),
    "similarity": (lambda net: vizkit.similarity(net, FOUR, bootstrap=0), 300),
    "show_feature_maps": (lambda net: shown(net), 50),
    "explore": (lambda net: vizkit.explore(net, ONE).close(), 50),
    "explore_similarity": (lambda net: vizkit.explore_similarity(net, FOUR).close(), 50),
    "a mistake": (lambda net: mistaken(net), 300),
}


def shown(net):
    picture = vizkit.show_feature_maps(net, ONE, channels=1)
    picture.draw_without_rendering()
    plt.close(picture)


def mistaken(net):
    """What fails before, while and after the network runs."""
    for options in ({"methods": "no_such"}, {"targets": 7}, {"methods": "occlusion", "window": 9}):
        with pytest.raises(vizkit.InputError):
            vizkit.attribute(net, ONE, **options)


def census(net):
    """How many there are of all that could be left behind."""
    gc.collect()
    tensors = sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
    hooks = sum(len(getattr(each, name)) for each in net.module.modules() for name in _HOOKS)
    return {
        "hooks": hooks,
        "attributes": sum(len(vars(each)) for each in net.module.modules()),
        "tensors": tensors,
        "objects": len(gc.get_objects()),
        "threads": threading.active_count(),
        "files": open_files(),
        "figures": len(plt.get_fignums()),
        "widgets": len(widget._instances),
        "kept by vizkit": kept(),
    }


def open_files():
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def memory():
    """Bytes of this process in memory; 0 where that cannot be told."""
    facts = Path("/proc/self/statm")
    return int(facts.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if facts.exists() else 0


def kept():
    """Entries of all collections and caches that vizkit's modules hold."""
    kinds = (MutableMapping, MutableSequence, MutableSet, weakref.WeakSet)
    count = 0
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "vizkit":
            continue
        for key, value in list(vars(module).items()):
            if not key.startswith("__") and isinstance(value, kinds):
                count += len(value)
            elif hasattr(value, "cache_info"):
                count += value.cache_info().currsize
    return count


@pytest.mark.parametrize("name", EVERY)
def test_calls_leave_nothing_behind(name):
    call, often = EVERY[name]
    often = int(CALLS or often)
    net = a_net()
    # the first call loads modules, and the first census has Python remember their types
    call(net)
    census(net)
    for _ in range(often * 3 // 10):
        call(net)
    before, taken = census(net), [memory()]
    for _ in range(_WINDOWS):
        for _ in range(often * 7 // (10 * _WINDOWS)):
            call(net)
        gc.collect()
        taken.append(memory())
    after = census(net)
    grown = {key: after[key] - before[key] for key in before if after[key] > before[key]}
    # a few objects of Python's own come and go
    assert not grown or (set(grown) == {"objects"} and grown["objects"] <= 20)
    assert min(later - earlier for earlier, later in pairwise(taken)) < _PIECE


@pytest.mark.parametrize("name", EVERY)
def test_networks_are_let_go(name):
    call, _ = EVERY[name]
    net = a_net()
    call(net)
    ends = [weakref.ref(net.module), weakref.ref(net), weakref.ref(net.module[0].weight)]
    count = kept()
    del net
    gc.collect()
    assert [end() for end in ends] == [None] * 3
    assert kept() <= count


def test_networks_are_let_go_after_a_failure_inside():
    class Failing(nn.Module):
        def forward(self, x):
            if x.device.type != "meta" and x.abs().sum() > 0:
                raise ValueError("from inside the network")
            return x

    net = a_net()
    net.module.insert(2, Failing())
    end = weakref.ref(net.module)
    for call in (vizkit.capture, vizkit.attribute, vizkit.predict, vizkit.describe):
        with pytest.raises((ValueError, vizkit.VizkitError)):
            call(net, ONE)
    assert not any(getattr(each, name) for each in net.module.modules() for name in _HOOKS)
    del net
    # the last failure is kept by Python, with all it went through
    sys.last_value = None
    gc.collect()
    assert end() is None


def test_a_widget_lets_networks_go_when_it_is_closed():
    net = a_net()
    end = weakref.ref(net.module)
    count = len(widget._instances)
    explorer = vizkit.explore({"one": net, "other": a_net(1)}, FOUR)
    explorer.controls.method.value = "saliency"
    explorer.wait(60)
    assert len(widget._instances) > count
    explorer.close()
    assert len(widget._instances) == count
    del explorer, net
    gc.collect()
    assert end() is None


def test_what_is_kept_for_good_has_an_end():
    """A cache without a limit is of a function without arguments; others name their limit."""
    # of the pages that come along
    bounded = {"profiling/pages.py: _table"}
    root = Path(vizkit.__file__).parent
    endless = set()
    for path in root.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and _cached_for_good(node) and node.args.args:
                endless.add(f"{path.relative_to(root).as_posix()}: {node.name}")
    assert endless == bounded


def _cached_for_good(function):
    names = [ast.unparse(each) for each in function.decorator_list]
    return any(each in {"cache", "lru_cache", "lru_cache(maxsize=None)"} for each in names)
