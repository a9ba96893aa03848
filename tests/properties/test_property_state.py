"""Whatever the network and whatever fails: it is left exactly as it was."""

from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from network_oracles import chosen, differentiable, maps_of
from property_settings import examples
from random_networks import looks_turned, sketches
from random_steps import Step
from torch import nn

import vizkit
from vizkit.forward import consumed, recorded
from vizkit.hooks import evaluating

OPTIONS = {
    "occlusion": {"window": 5},
    "smooth_grad": {"n_samples": 2},
    "rise": {"n_masks": 4},
    "integrated_gradients": {"n_steps": 2},
}


def attributed(method):
    return lambda c, x: vizkit.attribute(c, x, method, [0, 1], **OPTIONS.get(method, {}))


# what is done to a network, given its classifier and some inputs, and whether it needs gradients
ACTIONS = {
    "predict": (vizkit.predict, False),
    "embed": (vizkit.embed, False),
    "embed maps": (lambda c, x: vizkit.embed(c, x, pool=False), False),
    "capture stages": (vizkit.capture, False),
    "capture layers": (lambda c, x: vizkit.capture(c, x, "layers"), False),
    "describe": (vizkit.describe, False),
    "describe all": (lambda c, x: vizkit.describe(c, x, "all", "layers", places=9), True),
    "similarity": (lambda c, x: vizkit.similarity(c, [x, x.flip(3), x.flip(2), -x]), False),
    "fold": (lambda c, _: vizkit.fold_batch_norm(c), False),
    **{name: (attributed(name), False) for name in ("eigen_cam", "score_cam", "ablation_cam")},
    **{name: (attributed(name), False) for name in ("occlusion", "rise")},
    **{name: (attributed(name), True) for name in ("grad_cam", "saliency", "smooth_grad")},
}
# these look at shapes only
WITHOUT_IMAGES = {
    "wrap": (lambda c, _: vizkit.wrap(c.module, transform=c.transform), False),
    "find layers": (lambda c, _: vizkit.find_stages(c, "layers"), False),
    "profile": (lambda c, _: vizkit.profile(c), False),
}


def mistakes(action, sketch):
    """Whether layers are searched for in a network whose maps can be mistaken."""
    return action in {"wrap", "find layers", "capture layers", "describe all"} and looks_turned(
        sketch
    )


@examples(6)
@given(sketches(most=4))
@pytest.mark.parametrize("action", ACTIONS | WITHOUT_IMAGES)
def test_a_network_and_its_input_are_as_they_were(action, unchanged, sketch):
    act, needs_gradients = (ACTIONS | WITHOUT_IMAGES)[action]
    assume(not needs_gradients or differentiable(sketch))
    assume(not mistakes(action, sketch))
    network, inputs = sketch.network(), sketch.inputs()
    classifier = sketch.classifier(network)
    with unchanged(network):
        act(classifier, inputs)
    assert torch.equal(inputs, sketch.inputs())
    with torch.no_grad():
        assert torch.equal(network.eval()(inputs.clone()), maps_of(sketch)[1])


class BlownError(Exception):
    """What a fuse raises."""


class BlownRuntimeError(RuntimeError):
    """The same, of the kind that PyTorch's own layers raise."""


@dataclass
class Fuse:
    """Counts calls with real values, and raises at one of them."""

    error: type[BaseException]
    at: int = 0
    count: int = 0

    def __call__(self, *args):
        """Count; also as a hook of any kind."""
        tensors = [each for arg in args for each in (arg if isinstance(arg, tuple) else (arg,))]
        if any(isinstance(each, torch.Tensor) and each.is_meta for each in tensors):
            return
        self.count += 1
        if self.count == self.at:
            raise self.error("blown")

    def __deepcopy__(self, memo):
        """A copy of a network blows the same fuse."""
        return self


class Blowing(nn.Module):
    def __init__(self, fuse):
        super().__init__()
        self.fuse = fuse

    def forward(self, x):
        self.fuse(x)
        return x


@dataclass(frozen=True, repr=False)
class Fused(Step):
    """A step that does nothing but blow."""

    fuse: Fuse
    fresh = False

    def make(self, shape, kit):
        return Blowing(self.fuse)


# where a fuse sits, given one of the network's modules
PLACES = {
    "hook": lambda module, fuse: module.register_forward_hook(fuse),
    "hook before": lambda module, fuse: module.register_forward_pre_hook(fuse),
    "always": lambda module, fuse: module.register_forward_hook(fuse, always_call=True),
    "backward": lambda module, fuse: module.register_full_backward_hook(fuse),
}
ERRORS = st.sampled_from([BlownError, BlownRuntimeError, KeyboardInterrupt])


@contextmanager
def blown(error):
    """Expect a fuse's error, or one that names it as its cause."""
    with pytest.raises((error, vizkit.VizkitError)) as caught:
        yield
    assert error in {type(caught.value), type(caught.value.__cause__)}


@examples(100)
@given(
    sketches(most=4),
    st.sampled_from(sorted(ACTIONS)),
    st.sampled_from(["module", *PLACES]),
    ERRORS,
    st.integers(0, 99),
    st.integers(0, 99),
)
def test_after_a_failure_anywhere_a_network_is_as_it_was_and_works(
    unchanged, sketch, action, place, error, where, when
):
    act, needs_gradients = ACTIONS[action]
    assume(not needs_gradients or differentiable(sketch))
    assume(not mistakes(action, sketch))
    fuse = Fuse(error)
    if place == "module":
        at = where % (len(sketch.steps) + 1)
        sketch = replace(sketch, steps=(*sketch.steps[:at], Fused(fuse), *sketch.steps[at:]))
    network, inputs = sketch.network(), sketch.inputs()
    if place == "backward":
        # elsewhere PyTorch itself refuses to overwrite what is behind such a hook
        PLACES[place](network.head, fuse)
    elif place != "module":
        modules = list(network.modules())
        PLACES[place](modules[where % len(modules)], fuse)
    classifier = sketch.classifier(network)
    # once for what is learnt of a network that overwrites its maps, and once to count
    act(classifier, inputs)
    fuse.count = 0
    act(classifier, inputs)
    assume(fuse.count)
    fuse.at, fuse.count = 1 + when % fuse.count, 0
    with unchanged(network), blown(error):
        act(classifier, inputs)
    fuse.at = 0
    expected, logits = maps_of(sketch)
    captured = vizkit.capture(classifier, inputs, list(expected))
    assert all(torch.equal(maps, expected[tap]) for tap, maps in captured.items())
    assert torch.equal(captured.logits, logits)


@examples(30)
@given(sketches(most=4), ERRORS, st.integers(0, 99), st.integers(0, 2**16 - 1))
def test_after_a_failure_of_whoever_looks(unchanged, sketch, error, when, bits):
    expected, logits = maps_of(sketch)
    taps = chosen(expected, bits)
    network = sketch.network()
    fuse = Fuse(error, at=1 + when % len(taps))
    with unchanged(network), blown(error):
        consumed(network, taps, sketch.inputs(), fuse)
    fuse = Fuse(error, at=1)
    with unchanged(network), blown(error), recorded(network, taps, sketch.inputs()):
        fuse()
    seen = []
    found = consumed(network, taps, sketch.inputs(), lambda tap, _: seen.append(tap))
    assert torch.equal(found, logits)
    assert seen == taps


@examples(20)
@given(sketches(most=4), ERRORS)
def test_hooks_that_were_added_before_a_failure_are_gone(unchanged, sketch, error):
    network = sketch.network()
    fuse = Fuse(error, at=1)
    with unchanged(network), blown(error), evaluating(network):
        for module in network.modules():
            module.register_forward_hook(fuse)
        network(sketch.inputs())
