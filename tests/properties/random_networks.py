"""Small random networks: a sketch that prints itself, and two networks made of it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from hypothesis import strategies as st
from random_steps import (
    ACTIVATIONS,
    CODE,
    HEADS,
    JOINS,
    WITHOUT_IN_PLACE,
    Act,
    Branch,
    Code,
    Conv,
    Drop,
    Gate,
    Head,
    Kit,
    Ledger,
    Norm,
    Pool,
    Restless,
    Shape,
    Shared,
    Step,
    Steps,
    Twice,
    after_all,
)
from torch import Tensor, nn

import vizkit
from vizkit.images import Transform
from vizkit.results import Tap

LINEAR = Head()
HOOKS = ("looks", "looks before", "doubles", "keywords", "backward")


class Random(nn.Module):
    """A network of random steps; its `steps` describe it."""

    def __init__(self, sketch: Sketch, in_place: bool) -> None:
        super().__init__()
        self.ledger = Ledger(in_place)
        kit = Kit(self.ledger, nn.ReLU(inplace=in_place and sketch.shared_in_place))
        self.body = Steps(sketch.steps, (3, *sketch.size), kit)
        self.head = sketch.head.make(after_all(sketch.steps, (3, *sketch.size)), kit)

    def forward(self, x: Tensor) -> Tensor:
        self.ledger.newer.clear()
        return self.head(self.body(x))


@dataclass(frozen=True)
class Sketch:
    """Everything that a random network is made from, and what it is fed.

    Attributes
    ----------
    steps : tuple of Step
        From the input to the last map.
    precise : bool
        Whether it is float64, not float32.
    shared_in_place : bool
        Whether the ReLU that stands in several places works in place.
    flags : str
        Which modules are in training mode: ``"train"``, ``"eval"`` or ``"mixed"``.
    frozen, graded : bool
        Whether some parameters are frozen, and whether some have a gradient.
    hooks : tuple of str
        The user's own, on some of the modules.
    """

    size: tuple[int, int]
    steps: tuple[Step, ...]
    head: Head = LINEAR
    images: int = 1
    seed: int = 0
    precise: bool = False
    shared_in_place: bool = False
    flags: str = "eval"
    frozen: bool = False
    graded: bool = False
    hooks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = [f"size={self.size}"]
        shown += ["steps=(", *(f"    {step!r}," for step in self.steps), ")"]
        shown += [
            f"{each.name}={value!r}"
            for each in fields(self)[2:]
            if (value := getattr(self, each.name)) != each.default
        ]
        return "Sketch(\n  " + "\n  ".join(shown) + "\n)"

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.precise else torch.float32

    def network(self) -> Random:
        """Make the network, in the state that it was drawn in."""
        return self._made(in_place=True)

    def out_of_place(self) -> Random:
        """Make the same network without any in-place operation, in evaluation mode."""
        return self._made(in_place=False).eval()

    def classifier(self, network: nn.Module | None = None) -> vizkit.Classifier:
        """Wrap the network, or another, with its last map as the only stage."""
        channels, height, _ = after_all(self.steps, (3, *self.size))
        last = Tap("last", "body", "block", 2 ** round(math.log2(self.size[0] / height)), channels)
        return vizkit.wrap(network or self.network(), transform=self.transform, stages=[last])

    def searched(self) -> vizkit.Classifier:
        """Wrap the network, and have its stages found."""
        return vizkit.wrap(self.network(), transform=self.transform)

    @property
    def transform(self) -> Transform:
        return Transform(self.size, self.size)

    def inputs(self, count: int | None = None) -> Tensor:
        """Make random inputs."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        shape = count or self.images, 3, *self.size
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(self.dtype)

    def _made(self, in_place: bool) -> Random:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = Random(self, in_place).to(self.dtype)
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
                    _randomise(module)
        self._set_state(network)
        return network

    def _set_state(self, network: nn.Module) -> None:
        """Training flags, frozen parameters, gradients and hooks: by seed, alike in both."""
        chance = random.Random(self.seed)
        for module in network.modules():
            mixed = chance.random() < 0.5
            module.training = mixed if self.flags == "mixed" else self.flags == "train"
        for parameter in network.parameters():
            freeze, grade = chance.random() < 0.5, chance.random() < 0.5
            if self.graded and grade:
                parameter.grad = torch.full_like(parameter, 0.5)
            parameter.requires_grad_(not (self.frozen and freeze))
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        for name in self.hooks:
            USER_HOOKS[name](chance.choice(convolutions), network)


def _randomise(norm: nn.BatchNorm2d | nn.GroupNorm) -> None:
    """As after a training: scales of both signs, some nearly zero, and statistics of its own."""
    if norm.weight is not None:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    if isinstance(norm, nn.BatchNorm2d):
        nn.init.normal_(norm.running_mean, std=0.3)
        nn.init.uniform_(norm.running_var, 0.3, 2)


def looks(*_: Any) -> None:
    """A hook that only looks."""


def looks_with_keywords(_module: nn.Module, _args: Any, _kwargs: Any, _output: Any) -> None:
    """The same, of the kind that is given keywords, too."""


def doubles(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    """A hook that changes what its module gives."""
    return output * 2


USER_HOOKS: dict[str, Callable[[nn.Module, Any], Any]] = {
    "looks": lambda conv, _: conv.register_forward_hook(looks),
    "looks before": lambda conv, _: conv.register_forward_pre_hook(looks, prepend=True),
    "doubles": lambda conv, _: conv.register_forward_hook(doubles),
    "keywords": lambda conv, _: conv.register_forward_hook(
        looks_with_keywords, with_kwargs=True, always_call=True, prepend=True
    ),
    "backward": lambda _, network: network.head.register_full_backward_hook(looks),
}

# ---------------------------------------------------------------------------- strategies

FLAGS = st.sampled_from(["eval", "train", "mixed"])
SEEDS = st.integers(0, 2**16)


@dataclass(frozen=True)
class Wishes:
    """What may be drawn.

    Attributes
    ----------
    overwriting : bool
        Whether steps may work in place.
    reused : bool
        Whether they may overwrite what another way through the network still reads.
    code : bool
        Whether the network's own code may do something, beside its modules.
    branches : bool
        Whether it may be more than a chain.
    shared : bool
        Whether one ReLU module may stand in several places.
    local : bool
        Whether all layers shall be such that look through plain windows or at single places.
    """

    overwriting: bool = True
    reused: bool = False
    code: bool = True
    branches: bool = True
    shared: bool = True
    local: bool = False


def sketches(
    wishes: Wishes = Wishes(),
    *,
    most: int = 6,
    precise: bool | None = None,
    heads: tuple[str, ...] = tuple(HEADS),
    hooks: tuple[str, ...] = HOOKS,
    clear: bool = False,
) -> st.SearchStrategy[Sketch]:
    """Draw networks.

    Parameters
    ----------
    wishes : Wishes
        What they may consist of.
    most : int
        Steps, those inside branches not counted.
    precise : bool, optional
        Whether they are float64; by default drawn.
    heads, hooks : tuple of str
        Kinds of these to draw from.
    clear : bool
        Leave out networks with maps that look as if they had their channels behind the places.
    """
    kinds = st.booleans() if precise is None else st.just(precise)
    drawn = _sketch(wishes, most, kinds, heads, hooks)
    return drawn.filter(lambda sketch: not looks_turned(sketch)) if clear else drawn


def looks_turned(sketch: Sketch) -> bool:
    """Whether some shape (C, h, w) has the proportions of the input rather as (h, w, C).

    Of few channels on few places nobody can tell; vizkit looks at inputs a quarter wider, too.
    """
    height, width = sketch.size
    last = after_all(sketch.steps, (3, height, width))
    shapes = [*shapes_of(sketch.steps, (3, height, width)), (last[0], 2, 2), (last[0], 1, 1)]
    shapes += [(each, *last[1:]) for each in (sketch.head.classes, sketch.head.hidden)]
    shapes += [(each, 1, 1) for each in (sketch.head.classes, sketch.head.hidden)]
    wanted = [math.log(height / width), math.log(height / (width + width // 4))]
    for channels, rows, columns in shapes:
        for proportion in wanted:
            turned = abs(math.log(channels / rows) - proportion)
            if turned < min(0.25, abs(math.log(rows / columns) - proportion)):
                return True
    return False


def shapes_of(steps: tuple[Step, ...], shape: Shape) -> Iterator[Shape]:
    """Every shape on the way through some steps."""
    for step in steps:
        if isinstance(step, Branch):
            yield from shapes_of(step.left, shape)
            yield from shapes_of(step.right, shape)
        if isinstance(step, Gate):
            yield from ((shape[0], 1, 1), (step.hidden, 1, 1))
        shape = step.after(shape)
        yield shape


@st.composite
def _sketch(draw: Any, wishes: Wishes, most: int, precise: Any, heads: Any, hooks: Any) -> Sketch:
    size = draw(st.tuples(st.integers(7, 37), st.integers(7, 37)))
    shared_in_place = wishes.overwriting and draw(st.booleans())
    drawing = Drawing(draw, wishes, shared_in_place)
    steps = drawing.trunk((3, *size), draw(st.integers(1, most)))
    head = Head(
        draw(st.sampled_from(heads)), draw(st.integers(2, 5)), draw(st.integers(1, 6)),
        wishes.overwriting and draw(st.booleans()),
    )  # fmt: skip
    return Sketch(
        size,
        steps,
        head,
        images=draw(st.integers(1, 4)),
        seed=draw(SEEDS),
        precise=draw(precise),
        shared_in_place=shared_in_place,
        flags=draw(FLAGS),
        frozen=draw(st.booleans()),
        graded=draw(st.booleans()),
        hooks=tuple(draw(st.lists(st.sampled_from(hooks), max_size=2))) if hooks else (),
    )


class Drawing:
    """Draws steps that fit behind each other."""

    def __init__(self, draw: Any, wishes: Wishes, shared_in_place: bool) -> None:
        self.draw, self.wishes, self.shared_in_place = draw, wishes, shared_in_place

    def trunk(self, shape: Shape, count: int) -> tuple[Step, ...]:
        """Steps from an input to a map: a convolution first, then anything."""
        steps: list[Step] = []
        if self.wishes.code and self.draw(st.integers(0, 7)) == 7:
            steps.append(self.code(fresh=True))
        steps.append(self.conv(shape, first=True))
        shape = after_all(tuple(steps), shape)
        for _ in range(count - 1):
            steps.append(self.step(shape))
            shape = steps[-1].after(shape)
        return tuple(steps)

    def step(self, shape: Shape) -> Step:
        """Anything; it may make maps smaller."""
        kinds = ["conv", "norm", "act", "pool", "drop"] + ["restless"] * self.wishes.code
        kinds += ["branch", "branch", "twice", "gate"] * self.wishes.branches
        kinds += ["code"] * self.wishes.code + ["shared"] * self.wishes.shared
        kind = self.draw(st.sampled_from(kinds))
        if kind == "branch":
            return self.branch(shape, depth=1)
        if kind == "conv":
            return self.conv(shape)
        return self.keeping(kind, shape, fresh=True, same=False)

    def keeping(self, kind: str, shape: Shape, *, fresh: bool, same: bool = True) -> Step:
        """A step of a kind; ``same`` keeps the shape, ``fresh`` allows to work in place."""
        in_place = fresh and self.wishes.overwriting and self.draw(st.booleans())
        if kind == "norm":
            return self.norm(shape)
        if kind == "pool":
            return Pool(self.draw(st.sampled_from(["max", "avg"])), 3, 1, 1) if same else (
                self.pool(shape)
            )  # fmt: skip
        if kind == "shared":
            usable = fresh or not self.shared_in_place
            return Shared(self.shared_in_place) if usable else Act("relu")
        if kind == "code":
            return self.code(fresh=fresh)
        if kind == "twice":
            between = self.keeping(self.draw(st.sampled_from(["act", "norm"])), shape, fresh=True)
            return Twice(self.conv(shape, same=True), between)
        made = {
            "restless": Restless,
            "drop": lambda: Drop(self.draw(st.booleans()), in_place),
            "gate": lambda: Gate(self.draw(st.integers(1, 3)), in_place),
            "act": lambda: self.act(in_place),
            "conv": lambda: self.conv(shape, same=True),
        }
        return made[kind]()

    def way(self, shape: Shape, *, fresh: bool, depth: int) -> tuple[Step, ...]:
        """One way of a branch; nothing in it changes the shape."""
        kinds = ["conv", "norm", "act", "drop", "pool", "gate", "twice"]
        kinds += ["code"] * self.wishes.code + ["shared"] * self.wishes.shared
        kinds += ["branch"] * (depth < 2)
        steps: list[Step] = []
        for _ in range(self.draw(st.integers(1, 3))):
            kind = self.draw(st.sampled_from(kinds))
            step = (
                self.branch(shape, depth=depth + 1, fresh=fresh, keep=True)
                if kind == "branch"
                else self.keeping(kind, shape, fresh=fresh)
            )
            steps.append(step)
            fresh = fresh or step.fresh
        # what is joined in place must not be the map that both ways began with
        return tuple(steps) if fresh else (*steps, self.norm(shape))

    def branch(self, shape: Shape, *, depth: int, fresh: bool = True, keep: bool = False) -> Step:
        """Two ways; the first step of each reads the same map."""
        join = self.draw(st.sampled_from(["x + y", "x += y", "x * y", "x *= y", "cat"]))
        if (keep and join == "cat") or (JOINS[join][0] and not self.wishes.overwriting):
            join = "x + y"
        own = fresh and self.wishes.reused
        down: tuple[Step, ...] = ()
        across: tuple[Step, ...] = ()
        if not keep and self.draw(st.booleans()):
            # a stage that begins: both ways make the map smaller, as in residual networks
            stride, out = self.draw(st.integers(1, 2)), self.draw(st.integers(1, 8))
            down = (Conv(out, (3, 3), stride, (1, 1)),)
            across = (Conv(out, (1, 1), stride),)
        inner = after_all(down, shape)
        left = self.way(inner, fresh=own or bool(down), depth=depth)
        right: tuple[Step, ...] = ()
        if across or self.draw(st.booleans()):
            more = self.way(inner, fresh=own or bool(across), depth=depth)
            right = (*across, *(more if self.draw(st.booleans()) or not across else ()))
        return Branch((*down, *left), right, join)

    def conv(self, shape: Shape, *, same: bool = False, first: bool = False) -> Conv:
        """A convolution that fits; the first leaves more than one place of the smallest input."""
        channels = shape[0]
        dilation = self.draw(st.sampled_from([1, 1, 2]))
        kernel = self.draw(st.sampled_from([(3, 3), (1, 1), (5, 5), (3, 1), (1, 5)]))
        padded = same or first or self.draw(st.booleans())
        reach = [dilation * (k - 1) for k in kernel]
        if any(r >= length for r, length in zip(reach, shape[1:], strict=True)):
            padded = True
        stride = 1 if same else self.draw(st.sampled_from([1, 2] if first else [1, 2, 3]))
        kind = self.draw(st.sampled_from(["full", "full", "grouped", "depthwise"]))
        out, groups = channels if same else self.draw(st.integers(1, 8)), 1
        if kind == "depthwise":
            out, groups = channels * (1 if same or channels > 4 else 2), channels
        elif kind == "grouped" and channels % 2 == 0:
            out, groups = out + out % 2, 2
        padding = tuple(r // 2 for r in reach) if padded else (0, 0)
        modes = ["zeros"] if self.wishes.local else ["zeros", "zeros", "replicate"]
        mode = self.draw(st.sampled_from(modes))
        bias = self.draw(st.booleans())
        return Conv(out, kernel, stride, padding, dilation, groups, bias, mode)

    def norm(self, shape: Shape) -> Norm:
        batch = self.wishes.local or self.draw(st.sampled_from([True, True, False]))
        divisors = [n for n in range(1, shape[0] + 1) if shape[0] % n == 0]
        # a group of one value has nothing to be normalised by
        fits = shape[1] * shape[2] > 1
        groups = 0 if batch or not fits else self.draw(st.sampled_from(divisors))
        return Norm(groups, self.draw(st.booleans()))

    def act(self, in_place: bool) -> Act:
        kind = self.draw(st.sampled_from(sorted(ACTIVATIONS)))
        return Act(kind, in_place and kind not in WITHOUT_IN_PLACE)

    def pool(self, shape: Shape) -> Pool:
        kind = self.draw(st.sampled_from(["max", "avg"]))
        stride = self.draw(st.integers(1, 3))
        ceil = not self.wishes.local and self.draw(st.booleans())
        if min(shape[1:]) < 3:
            return Pool(kind, 3, 1, 1)
        kernel = self.draw(st.sampled_from([2, 3]))
        padding = self.draw(st.integers(0, kernel - 2))
        if self.wishes.local and kind == "avg":
            padding = 0
        return Pool(kind, kernel, stride, padding, ceil)

    def code(self, *, fresh: bool) -> Code:
        in_place = fresh and self.wishes.overwriting
        return Code(self.draw(st.sampled_from(sorted(CODE))), in_place)
