"""What decides the outcome of a training run, apart from the photos."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from math import inf
from typing import Any

from vizkit.errors import InputError, choice, shown

AUGMENTATIONS = ("none", "randaugment", "autoaugment", "trivialaugment", "augmix")
SCHEDULES = ("warm_cosine", "cosine", "step", "multistep", "poly", "tanh")
PRECISIONS = ("float32", "bfloat16", "float16")
DRAWS = ("order", "photo")
SAVED = ("float16", "float32")
# whole numbers up to here are also written with a point
_MOST = 2**53
_WORDS = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false",
    tuple: "a list", dict: "a table",
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run produces, apart from the photos.

    The defaults are those of the bundled demo family.

    Attributes
    ----------
    arch : str
        Any name that `vizkit.load` knows: ``demo/...``, timm's, ``torchvision/...``.
    weights : str
        What to start from: ``"none"`` (random), ``"default"`` (pretrained) or a file.
    start : str
        ``"ARCH=FILE"``: copy what fits, layer by layer name, from these safetensors weights of
        another architecture (or the same); empty for none.
    freeze : tuple of str
        Stages (``"stride1"``) that stay as they are, or ``"backbone"``: all but the last layer.
    phases : tuple of (int, int)
        Image size in pixels (0: the model's own) and number of epochs, in order (progressive
        resizing).
    batch_size : int
        Photos per step, over all processes.
    accumulate : int
        Parts in which a step's photos pass through the network; saves memory.
    optimizer : str
        timm's name: ``"adamw"``, ``"sgd"`` (with Nesterov's momentum), ``"momentum"`` (without),
        ``"rmsproptf"``, ...
    optimizer_options : dict
        More arguments of it, such as ``{"eps": 0.001}``.
    momentum : float
        Of optimisers that have one.
    learning_rate : float
        Peak of the schedule.
    weight_decay : float
        On weight matrices and kernels.
    decay_all : bool
        On biases and normalisation, too.
    clip : float
        Largest norm of all gradients together; 0 for any.
    schedule : str
        timm's ``"cosine"``, ``"step"``, ``"multistep"``, ``"poly"``, ``"tanh"``; or
        ``"warm_cosine"``, the demo family's: linear warm-up times cosine.
    warmup_epochs : float
        Length of the linear warm-up.
    warmup_rate : float
        Where timm's warm-ups begin.
    min_rate : float
        Where cosine, poly and tanh end.
    milestones : tuple of int
        Epochs at which ``"multistep"`` decays.
    decay_epochs : float
        Epochs between the decays of ``"step"``.
    decay_rate : float
        Factor of a decay; power of ``"poly"``.
    label_smoothing : float
        Share of the target spread over the other classes, in [0, 1).
    mixup, cutmix : float
        Their alpha; 0 for none. With both, each step draws one.
    min_crop : float
        Smallest share of the photo's area that a random crop keeps, in (0, 1].
    flip : float
        Share of photos that are mirrored.
    augment : str
        ``"none"``, ``"randaugment"``, ``"autoaugment"``, ``"trivialaugment"`` or ``"augmix"``.
    magnitude : int
        Strength of RandAugment, from 0 to 30.
    erase : float
        Share of photos with a random patch of the mean colour.
    ema : float
        Decay of the moving average of the weights, which is then measured and kept; 0 for none.
    ema_warmup : bool
        Begin with a shorter average, for runs from random weights.
    precision : str
        Of the forward pass: ``"float32"``, ``"bfloat16"`` or ``"float16"`` (CUDA only).
    sync_bn : bool
        Normalise over the photos of all processes (CUDA only).
    draws : str
        Where a crop's random numbers come from: ``"photo"``, the same with any number of
        processes and workers; or ``"order"``, the order in which a worker reads the photos, as
        the demo family was trained.
    save_as : str
        Type of the numbers in ``model.safetensors``: ``"float16"`` or ``"float32"``.
    seed : int
        Seed of initialisation, order and crops.
    """

    arch: str
    weights: str = "none"
    start: str = ""
    freeze: tuple[str, ...] = ()
    phases: tuple[tuple[int, int], ...] = ((64, 8), (96, 6), (128, 4))
    batch_size: int = 64
    accumulate: int = 1
    optimizer: str = "adamw"
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    momentum: float = 0.9
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    decay_all: bool = False
    clip: float = 1.0
    schedule: str = "warm_cosine"
    warmup_epochs: float = 1.0
    warmup_rate: float = 1e-6
    min_rate: float = 0.0
    milestones: tuple[int, ...] = ()
    decay_epochs: float = 30.0
    decay_rate: float = 0.1
    label_smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    min_crop: float = 0.35
    flip: float = 0.5
    augment: str = "none"
    magnitude: int = 9
    erase: float = 0.0
    ema: float = 0.0
    ema_warmup: bool = False
    precision: str = "bfloat16"
    sync_bn: bool = False
    draws: str = "order"
    save_as: str = "float16"
    seed: int = 0

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            object.__setattr__(self, each.name, _as_kind(each, getattr(self, each.name)))
        self._check_choices()
        self._check_numbers()

    @property
    def epochs(self) -> int:
        """Number of epochs over all phases."""
        return sum(epochs for _, epochs in self.phases)

    def size(self, epoch: int) -> int:
        """Image size, in pixels, of an epoch counted from zero."""
        for size, epochs in self.phases:
            if epoch < epochs:
                return size
            epoch -= epochs
        return self.phases[-1][0]

    def _check_choices(self) -> None:
        choices = {
            "schedule": SCHEDULES,
            "augment": AUGMENTATIONS,
            "precision": PRECISIONS,
            "draws": DRAWS,
            "save_as": SAVED,
        }
        for name, known in choices.items():
            choice(name, getattr(self, name), known)
        if self.start and self.weights != "none":
            start, weights = shown(self.start), shown(self.weights)
            raise InputError(f"start={start} and weights={weights}: give one")

    def _check_numbers(self) -> None:
        limits = {
            "phases": (_are_phases(self.phases), "sizes and epochs such as ((64, 8), (96, 6))"),
            "milestones": (all(type(m) is int and m > 0 for m in self.milestones), "epochs"),
            "learning_rate": (0 < self.learning_rate < inf, "above 0"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "in [0, 1)"),
            "min_crop": (0 < self.min_crop <= 1, "in (0, 1]"),
            "ema": (0 <= self.ema < 1, "in [0, 1)"),
            "magnitude": (0 <= self.magnitude <= 30, "from 0 to 30"),
            "decay_epochs": (0 < self.decay_epochs < inf, "above 0"),
            "decay_rate": (0 < self.decay_rate < inf, "above 0"),
            **{k: (1 <= getattr(self, k) < 2**31, "at least 1") for k in _COUNTS},
            **{k: (0 <= getattr(self, k) <= 1, "in [0, 1]") for k in ("flip", "erase")},
            **{k: (0 <= getattr(self, k) < inf, "0 or more") for k in _NOT_NEGATIVE},
            "freeze": (all(isinstance(stage, str) for stage in self.freeze), "names of stages"),
            # each epoch draws its own seeds from it, and PyTorch takes 64 bits
            "seed": (0 <= self.seed < 2**32, "from 0 to 2^32 - 1"),
        }
        for name, (fine, words) in limits.items():
            if not fine:
                raise InputError(f"{name} cannot be {shown(getattr(self, name))}: {words}")


# no photo is larger
_PIXELS = 2**15
_COUNTS = ("batch_size", "accumulate")
_NOT_NEGATIVE = (
    *("weight_decay", "momentum", "clip", "warmup_epochs", "warmup_rate", "min_rate"),
    *("mixup", "cutmix"),
)


def _are_phases(phases: tuple[Any, ...]) -> bool:
    pairs = [p for p in phases if isinstance(p, tuple) and len(p) == 2]
    whole = all(type(number) is int for pair in pairs for number in pair)
    return (
        bool(pairs)
        and len(pairs) == len(phases)
        and whole
        and all(0 <= size < _PIXELS and 0 < epochs < 2**31 for size, epochs in pairs)
    )


def _as_kind(each: dataclasses.Field[Any], value: Any) -> Any:
    """Take lists for tuples and whole numbers for others; refuse what is of another kind."""
    default: Any = {} if each.name == "optimizer_options" else each.default
    kind: type = str if default is dataclasses.MISSING else type(default)
    if kind is float and type(value) is int and abs(value) < _MOST:
        return float(value)
    if kind is tuple and isinstance(value, list | tuple):
        return tuple(tuple(item) if isinstance(item, list) else item for item in value)
    if type(value) is not kind:
        raise InputError(f"{each.name} must be {_WORDS[kind]}, not {shown(value)}")
    return value
