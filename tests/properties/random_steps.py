"""The steps that random networks are made of: each prints itself, and knows its shapes by hand.

A step that works in place says so. The same description gives two networks: one that overwrites
tensors, and its double, which computes new ones. There, whoever kept the old tensor finds the new
one in a `Ledger`, as everyone who holds an overwritten tensor sees the new values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Shape = tuple[int, int, int]
Pair = tuple[int, int]


class Ledger:
    """What was overwritten, in a network that overwrites nothing."""

    def __init__(self, in_place: bool) -> None:
        self.in_place = in_place
        self.newer: dict[int, tuple[Tensor, Tensor]] = {}

    def now(self, x: Tensor) -> Tensor:
        """Values that a tensor would hold by now."""
        while id(x) in self.newer:
            x = self.newer[id(x)][1]
        return x

    def write(self, old: Tensor, new: Tensor) -> Tensor:
        """Note that an in-place step made new values of old ones."""
        if not self.in_place and new is not old:
            # both are kept, so that no other tensor gets the id
            self.newer[id(old)] = old, new
        return new


@dataclass(frozen=True)
class Kit:
    """What a network hands to its steps when they make their modules."""

    ledger: Ledger
    shared: nn.ReLU


class Step:
    """One step of a network; it leaves the shape as it is, unless it says otherwise."""

    in_place: bool = False
    # whether what comes out is memory of its own
    fresh: ClassVar[bool] = True

    def after(self, shape: Shape) -> Shape:
        return shape

    def make(self, shape: Shape, kit: Kit) -> nn.Module | None:
        return None

    def __repr__(self) -> str:
        shown = [
            f"{each.name}={value!r}"
            for each in fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, each.name)) != each.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class Conv(Step):
    out: int
    kernel: Pair = (3, 3)
    stride: int = 1
    padding: Pair = (0, 0)
    dilation: int = 1
    groups: int = 1
    bias: bool = True
    mode: str = "zeros"

    def after(self, shape: Shape) -> Shape:
        size = [
            (length + 2 * padding - self.dilation * (kernel - 1) - 1) // self.stride + 1
            for length, kernel, padding in zip(shape[1:], self.kernel, self.padding, strict=True)
        ]
        return self.out, size[0], size[1]

    def make(self, shape: Shape, kit: Kit) -> nn.Module:
        return nn.Conv2d(
            shape[0], self.out, self.kernel, self.stride, self.padding, self.dilation,
            self.groups, self.bias, self.mode,
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class Norm(Step):
    """Batch normalisation, or that of groups of channels."""

    groups: int = 0
    affine: bool = True

    def make(self, shape: Shape, kit: Kit) -> nn.Module:
        if self.groups:
            return nn.GroupNorm(self.groups, shape[0], affine=self.affine)
        return nn.BatchNorm2d(shape[0], affine=self.affine)


ACTIVATIONS: dict[str, Callable[[bool], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky": lambda in_place: nn.LeakyReLU(0.2, in_place),
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "gelu": lambda _: nn.GELU(),
    "tanh": lambda _: nn.Tanh(),
}
WITHOUT_IN_PLACE = {"gelu", "tanh"}


@dataclass(frozen=True, repr=False)
class Act(Step):
    kind: str = "relu"
    in_place: bool = False

    @property
    def fresh(self) -> bool:  # type: ignore[override]
        return not self.in_place

    def make(self, shape: Shape, kit: Kit) -> nn.Module:
        return ACTIVATIONS[self.kind](self.in_place and kit.ledger.in_place)


@dataclass(frozen=True, repr=False)
class Shared(Step):
    """The network's one ReLU module, which stands in several places."""

    in_place: bool = False

    @property
    def fresh(self) -> bool:  # type: ignore[override]
        return not self.in_place

    def make(self, shape: Shape, kit: Kit) -> nn.Module:
        return kit.shared


@dataclass(frozen=True, repr=False)
class Drop(Step):
    """Passes on the very same tensor in evaluation mode."""

    fresh: ClassVar[bool] = False
    maps: bool = False
    in_place: bool = False

    def make(self, shape: Shape, kit: Kit) -> nn.Module:
        kind = nn.Dropout2d if self.maps else nn.Dropout
        return kind(0.5, self.in_place and kit.ledger.in_place)


@dataclass(frozen=True, repr=False)
class Restless(Step):
    """Counts its runs in a buffer and draws random numbers, and gives the same values."""

    def make(self, shape: Shape, kit: Kit) -> nn.Module:
        return _Restless()


@dataclass(frozen=True, repr=False)
class Pool(Step):
    kind: str = "max"
    kernel: int = 2
    stride: int = 2
    padding: int = 0
    ceil: bool = False

    def after(self, shape: Shape) -> Shape:
        return shape[0], self._length(shape[1]), self._length(shape[2])

    def _length(self, length: int) -> int:
        room = length + 2 * self.padding - self.kernel
        count = (-(-room // self.stride) if self.ceil else room // self.stride) + 1
        # a window must begin inside the map or the padding before it
        return count - (self.ceil and (count - 1) * self.stride >= length + self.padding)

    def make(self, shape: Shape, kit: Kit) -> nn.Module:
        kind = nn.MaxPool2d if self.kind == "max" else nn.AvgPool2d
        return kind(self.kernel, self.stride, self.padding, ceil_mode=self.ceil)


def _through_a_view(x: Tensor) -> Tensor:
    x.flatten(2).mul_(2)
    return x


def _by_index(x: Tensor) -> Tensor:
    x[:, 0] = 0
    return x


def _kept_but_first(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:]], dim=1)


# how the network's own code overwrites a tensor, and the same as a function
CODE: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "F.relu_(x)": (F.relu_, F.relu),
    "x.mul_(0.5)": (lambda x: x.mul_(0.5), lambda x: x * 0.5),
    "x += 0.25": (lambda x: x.add_(0.25), lambda x: x + 0.25),
    "x.clamp_(-1, 1)": (lambda x: x.clamp_(-1, 1), lambda x: x.clamp(-1, 1)),
    "x[:, 0] = 0": (_by_index, _kept_but_first),
    "x.flatten(2).mul_(2)": (_through_a_view, lambda x: x * 2),
}


@dataclass(frozen=True, repr=False)
class Code(Step):
    """An operation in the forward of the network itself, which no module shows."""

    code: str = "F.relu_(x)"
    in_place: bool = True

    @property
    def fresh(self) -> bool:  # type: ignore[override]
        return not self.in_place

    def run(self, x: Tensor, ledger: Ledger) -> Tensor:
        overwriting, plain = CODE[self.code]
        return overwriting(x) if self.in_place and ledger.in_place else plain(x)


@dataclass(frozen=True, repr=False)
class Twice(Step):
    """One convolution that runs twice, with a step between."""

    conv: Conv
    between: Step

    def make(self, shape: Shape, kit: Kit) -> nn.Module:
        return _Twice(self, shape, kit)


@dataclass(frozen=True, repr=False)
class Gate(Step):
    """Squeeze and excitation: channels are scaled by what the whole map says."""

    hidden: int = 1
    in_place: bool = False

    @property
    def fresh(self) -> bool:  # type: ignore[override]
        return not self.in_place

    def make(self, shape: Shape, kit: Kit) -> nn.Module:
        return _Gate(self, shape, kit)


@dataclass(frozen=True, repr=False)
class Branch(Step):
    """Two ways from one map, joined; a way without steps is the map itself."""

    left: tuple[Step, ...]
    right: tuple[Step, ...] = ()
    join: str = "x + y"

    def after(self, shape: Shape) -> Shape:
        channels, height, width = after_all(self.left, shape)
        more = after_all(self.right, shape)[0] if self.join == "cat" else 0
        return channels + more, height, width

    def make(self, shape: Shape, kit: Kit) -> nn.Module:
        return _Branch(self, shape, kit)


# how ways are joined: overwriting the left one, or as a function
JOINS: dict[str, tuple[Callable[..., Tensor] | None, Callable[..., Tensor]]] = {
    "x + y": (None, torch.add),
    "x += y": (lambda x, y: x.add_(y), torch.add),
    "x * y": (None, torch.mul),
    "x *= y": (lambda x, y: x.mul_(y), torch.mul),
    "cat": (None, lambda x, y: torch.cat([x, y], dim=1)),
}


def after_all(steps: tuple[Step, ...], shape: Shape) -> Shape:
    """Shape behind several steps."""
    for step in steps:
        shape = step.after(shape)
    return shape


class Steps(nn.Module):
    """Runs steps one after the other."""

    def __init__(self, steps: tuple[Step, ...], shape: Shape, kit: Kit) -> None:
        super().__init__()
        self.steps, self.ledger = steps, kit.ledger
        for n, step in enumerate(steps):
            module = step.make(shape, kit)
            if module is not None:
                self.add_module(f"{type(step).__name__.lower()}{n}", module)
            shape = step.after(shape)

    def forward(self, x: Tensor) -> Tensor:
        for n, step in enumerate(self.steps):
            old = self.ledger.now(x)
            module = getattr(self, f"{type(step).__name__.lower()}{n}", None)
            x = step.run(old, self.ledger) if isinstance(step, Code) else module(old)
            if step.in_place:
                self.ledger.write(old, x)
        return x


class _Restless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("drawn", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.drawn = torch.rand((), device=x.device)
        return x + 0 * self.drawn.to(x.dtype)


class _Twice(nn.Module):
    def __init__(self, step: Twice, shape: Shape, kit: Kit) -> None:
        super().__init__()
        self.conv = step.conv.make(shape, kit)
        self.between = Steps((step.between,), shape, kit)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.between(self.conv(x)))


class _Gate(nn.Module):
    def __init__(self, step: Gate, shape: Shape, kit: Kit) -> None:
        super().__init__()
        self.in_place = step.in_place and kit.ledger.in_place
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.down = nn.Conv2d(shape[0], step.hidden, 1)
        self.act = nn.ReLU(inplace=kit.ledger.in_place)
        self.up = nn.Conv2d(step.hidden, shape[0], 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        gates = self.gate(self.up(self.act(self.down(self.squeeze(x)))))
        return x.mul_(gates) if self.in_place else x * gates


class _Branch(nn.Module):
    def __init__(self, step: Branch, shape: Shape, kit: Kit) -> None:
        super().__init__()
        self.join, self.ledger = step.join, kit.ledger
        self.left = Steps(step.left, shape, kit)
        self.right = Steps(step.right, shape, kit) if step.right else None

    def forward(self, x: Tensor) -> Tensor:
        left = self.left(x)
        right = self.ledger.now(x)
        if self.right is not None:
            right = self.right(right)
        overwriting, plain = JOINS[self.join]
        left = self.ledger.now(left)
        if overwriting is not None and self.ledger.in_place:
            return overwriting(left, right)
        joined = plain(left, right)
        return joined if overwriting is None else self.ledger.write(left, joined)


@dataclass(frozen=True, repr=False)
class Head(Step):
    """From the last map to the logits."""

    kind: str = "pool, linear"
    classes: int = 3
    hidden: int = 4
    in_place: bool = False

    def make(self, shape: Shape, kit: Kit) -> nn.Module:
        return HEADS[self.kind](self, shape, kit)


def _mlp(head: Head, shape: Shape, kit: Kit) -> list[nn.Module]:
    rectified = nn.ReLU(inplace=head.in_place and kit.ledger.in_place)
    inner = nn.Linear(4 * shape[0], head.hidden)
    last = nn.Linear(head.hidden, head.classes)
    return [nn.AdaptiveMaxPool2d(2), nn.Flatten(), inner, rectified, nn.Dropout(0.5), last]


def _covering(head: Head, shape: Shape, kit: Kit) -> list[nn.Module]:
    """As timm's VGG: a convolution as large as the map, where a linear layer would do."""
    rectified = nn.ReLU(inplace=head.in_place and kit.ledger.in_place)
    inner = nn.Conv2d(shape[0], head.hidden, shape[1:])
    last = nn.Conv2d(head.hidden, head.classes, 1)
    return [inner, rectified, nn.Dropout(0.5), last, nn.Flatten()]


class _MeanLinear(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean(dim=(-2, -1)))


def _chain(make: Callable[[Head, Shape, Kit], list[nn.Module]]) -> Callable[..., nn.Module]:
    return lambda head, shape, kit: nn.Sequential(*make(head, shape, kit))


HEADS: dict[str, Callable[[Head, Shape, Kit], Any]] = {
    "pool, linear": _chain(
        lambda h, s, _: [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(s[0], h.classes)]
    ),
    "mean, linear": lambda h, s, _: _MeanLinear(s[0], h.classes),
    "pool, conv": _chain(
        lambda h, s, _: [nn.AdaptiveAvgPool2d(1), nn.Conv2d(s[0], h.classes, 1), nn.Flatten()]
    ),
    "conv, pool": _chain(
        lambda h, s, _: [nn.Conv2d(s[0], h.classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    ),
    "flatten, linear": _chain(
        lambda h, s, _: [nn.Flatten(), nn.Linear(s[0] * s[1] * s[2], h.classes)]
    ),
    "mlp": _chain(_mlp),
    "covering conv": _chain(_covering),
}
