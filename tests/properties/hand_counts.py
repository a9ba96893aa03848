"""Parameters, multiply-accumulates and activations of a sketch, counted by hand from its words."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from random_networks import Sketch
from random_steps import Branch, Conv, Gate, Head, Norm, Shape, Step, Twice, after_all


@dataclass(frozen=True)
class Cost:
    """What a step costs; activations are the elements that convolutions and linear layers give."""

    params: int = 0
    macs: int = 0
    activations: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def cost_of(sketch: Sketch) -> Cost:
    """All of a network, for one image."""
    shape = 3, *sketch.size
    return steps_cost(sketch.steps, shape) + head_cost(sketch.head, after_all(sketch.steps, shape))


def steps_cost(steps: tuple[Step, ...], shape: Shape) -> Cost:
    """Steps one after the other."""
    total = Cost()
    for step in steps:
        total += step_cost(step, shape)
        shape = step.after(shape)
    return total


def step_cost(step: Step, shape: Shape) -> Cost:
    """One step that is given maps of a shape."""
    channels = shape[0]
    if isinstance(step, Conv):
        out, height, width = step.after(shape)
        weights = out * (channels // step.groups) * step.kernel[0] * step.kernel[1]
        places = height * width
        return Cost(weights + step.bias * out, weights * places, out * places)
    if isinstance(step, Norm):
        return Cost(2 * channels * step.affine)
    if isinstance(step, Twice):
        once = step_cost(step.conv, shape)
        return once + Cost(0, once.macs, once.activations) + step_cost(step.between, shape)
    if isinstance(step, Gate):
        hidden = step.hidden
        params = channels * hidden + hidden + hidden * channels + channels
        return Cost(params, 2 * channels * hidden, hidden + channels)
    if isinstance(step, Branch):
        return steps_cost(step.left, shape) + steps_cost(step.right, shape)
    return Cost()


def linear(given: int, made: int, places: int = 1) -> Cost:
    """A linear layer, or a 1x1 convolution of several places."""
    return Cost((given + 1) * made, given * made * places, made * places)


def head_cost(head: Head, shape: Shape) -> Cost:
    """The head, behind maps of a shape."""
    channels, height, width = shape
    if head.kind == "flatten, linear":
        return linear(channels * height * width, head.classes)
    if head.kind == "mlp":
        return linear(4 * channels, head.hidden) + linear(head.hidden, head.classes)
    if head.kind == "covering conv":
        return linear(channels * height * width, head.hidden) + linear(head.hidden, head.classes)
    if head.kind == "conv, pool":
        return linear(channels, head.classes, height * width)
    return linear(channels, head.classes)
