"""Where a network can be read: its stages and layers, found without running real arithmetic.

A stage is everything computed at one stride. timm models say where theirs end
(``feature_info``); for any other network the calls of one forward pass on the meta device are
followed. A family that has its own names for layers is one decorated function here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from vizkit.errors import InputError, VizkitError, listed, shown, unknown
from vizkit.hooks import blank, dry_run, evaluating, in_this_thread
from vizkit.networks import network_of
from vizkit.results import Tap

CONVOLUTIONS = (nn.Conv2d,)
NORMS = (
    nn.modules.batchnorm._NormBase,  # noqa: SLF001
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.FractionalMaxPool2d, nn.LPPool2d)
ADAPTIVE_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True)
class Call:
    """One module's run in a forward pass.

    Attributes
    ----------
    path : str
        Dotted path of the module.
    module : nn.Module
        The module.
    number : int
        Which call of this module, from 0.
    before, after : tuple of int
        Shapes of its first input, if that is a tensor, and of its output.
    leaf : bool
        Whether it has no submodules.
    size : tuple of (int, int)
        Height and width of the network's input.
    device : torch.device
        Where it ran: ``meta`` if the network can do without arithmetic.
    given_last, channels_last : bool
        Whether its first input, and its output, is (N, h, w, C).
    """

    path: str
    module: nn.Module
    number: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    leaf: bool
    size: tuple[int, int]
    device: torch.device
    given_last: bool = False
    channels_last: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """Which module, and which call of it."""
        return self.path, self.number

    @property
    def is_map(self) -> bool:
        """Whether the output is a batch of two-dimensional maps of more than one place."""
        return len(self.after) == 4 and self.map_size != (1, 1)

    @property
    def channels(self) -> int:
        """Number of maps in the output."""
        return _axes(self.after, self.channels_last)[2]

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the output's maps."""
        return _axes(self.after, self.channels_last)[:2]

    @property
    def stride(self) -> int:
        """Input pixels per step of the output, as the nearest power of two."""
        return self._stride_of(self.after, self.channels_last)

    @property
    def stride_before(self) -> int:
        """The same of the input."""
        return self._stride_of(self.before, self.given_last)

    def tap(self, name: str, role: str) -> Tap:
        """Describe the output as a tap."""
        return Tap(
            name, self.path, role, self.stride, self.channels, self.number, self.channels_last
        )

    def _stride_of(self, shape: tuple[int, ...], last: bool) -> int:
        if len(shape) != 4:
            return 1
        return int(2 ** round(math.log2(self.size[0] / max(_axes(shape, last)[0], 1))))


def _axes(shape: tuple[int, ...], last: bool) -> tuple[int, int, int]:
    """Height, width and channels of a batch of maps."""
    return (shape[1], shape[2], shape[3]) if last else (shape[2], shape[3], shape[1])


Family = Callable[[nn.Module, Sequence[Tap]], dict[str, str] | None]
FAMILIES: dict[str, Family] = {}


def family(function: Family) -> Family:
    """Register a model family's own names for its layers.

    Parameters
    ----------
    function : callable
        Takes a network and its layer taps; returns a dict from module path to layer name, or
        None if the network is not of the family.

    Returns
    -------
    callable
        The function, unchanged.
    """
    FAMILIES[function.__name__] = function
    return function


@family
def vgg(module: nn.Module, taps: Sequence[Tap]) -> dict[str, str] | None:
    """Name VGG's layers as the paper does: ``conv1_1`` ... ``conv5_4``, ``pool1`` ... ``pool5``."""
    features = getattr(module, "features", None)
    if not type(module).__name__.startswith("VGG") or not isinstance(features, nn.Sequential):
        return None
    names, block, unit = {}, 1, 0
    for index, layer in features.named_children():
        if isinstance(layer, nn.Conv2d):
            unit += 1
        pool = isinstance(layer, nn.MaxPool2d)
        names[f"features.{index}"] = f"pool{block}" if pool else f"conv{block}_{unit}"
        if pool:
            block, unit = block + 1, 0
    return {tap.module: names[tap.module] for tap in taps if tap.module in names}


def find_stages(model: Any, at: str | Sequence[str | Tap] = "stages") -> list[Tap]:
    """Find where a network can be read.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        The network; a name is loaded first.
    at : "stages", "layers", "gates", or a list of names, paths or taps
        ``"stages"``: the last map at each stride. ``"layers"``: every convolution with its
        normalisation, activation and pooling, where each is read before the next begins.
        ``"gates"``: the factors by which squeeze-and-excitation scales channels, between 0 and
        1, one place each. A list gives exactly the taps named: stages, layers (``"conv3_2"``,
        ``"conv3_2:act"``) or module paths (one tap for each time the module runs).

    Returns
    -------
    list of Tap
        In forward order; for a list, in the order asked for.

    Raises
    ------
    InputError
        If a name is unknown, or the network has no two-dimensional feature maps.
    """
    if isinstance(model, nn.Module):
        model = network_of(model)
    elif not hasattr(model, "module"):
        from vizkit.models import as_classifier

        model = as_classifier(model)
    module, size = _module_and_size(model)
    whole = at if isinstance(at, str) else ""
    if whole in _WHOLE:
        # a classifier knows its own; modules have anything under these names
        known = None if isinstance(model, nn.Module) else getattr(model, whole, None)
        return _WHOLE[whole](module, size) if known is None else list(known)
    wanted = [at] if isinstance(at, str) else listed(at)
    if not wanted or not all(isinstance(each, str | Tap) and each for each in wanted):
        raise InputError(f"no taps to read: at={shown(at)}; give 'stages', 'layers' or names")
    return _named(model, module, size, wanted)


def trace(module: nn.Module, size: tuple[int, int], *, exact: bool = False) -> list[Call]:
    """Follow one forward pass, on the meta device where the network allows it.

    Parameters
    ----------
    module : nn.Module
        The network.
    size : tuple of (int, int)
        Height and width of the input, in pixels.
    exact : bool
        Use this very size; otherwise a wider input, which tells channels from places.

    Returns
    -------
    list of Call
        In the order in which the modules finish.

    Raises
    ------
    VizkitError
        If the network cannot be run on a (1, 3, H, W) input.
    """
    # a wide input tells (N, C, h, w) from (N, h, w, C); some networks accept one size only
    wide = size[0], size[1] + size[1] // 4
    attempts: list[tuple[tuple[int, int], str | None]] = [(size, "meta"), (size, None)]
    if not exact:
        attempts.insert(0, (wide, "meta"))
    failure: Exception | None = None
    for attempt, device in attempts:
        try:
            return _laid_out(_trace_on(module, attempt, device), module)
        except Exception as error:
            failure = error
    raise VizkitError(
        f"{type(module).__name__} does not run on a (1, 3, {size[0]}, {size[1]}) input ({failure})"
        "; for a network that takes another size, wrap(module, transform=Transform(size=…))"
    ) from failure


def _laid_out(calls: list[Call], module: nn.Module) -> list[Call]:
    """Find out where the channels are behind the places."""
    size, device = calls[0].size, calls[0].device
    looks = [(_looks_last(call.before, size), _looks_last(call.after, size)) for call in calls]
    if not any(map(any, looks)):
        return calls
    try:
        # few channels may look like places; but a wider input has no more of them
        wider = _trace_on(module, (size[0], 2 * size[1]), str(device))
    except Exception:
        wider = []
    if [call.key for call in wider] == [call.key for call in calls]:
        looks = [
            (_is_wider(a.before, b.before), _is_wider(a.after, b.after))
            for a, b in zip(calls, wider, strict=True)
        ]
    return [
        replace(call, given_last=given, channels_last=made)
        for call, (given, made) in zip(calls, looks, strict=True)
    ]


def _looks_last(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether a shape may be (N, h, w, C), by the proportions of its places."""
    if len(shape) != 4 or 0 in shape or size[0] == size[1]:
        return False
    first, last, wanted = (math.log(a / b) for a, b in (shape[1:3], shape[2:4], size))
    # where both could be, as with as many channels as places, channels come first
    return abs(first - wanted) < 0.2 and abs(first - wanted) + 0.05 < abs(last - wanted)


def _is_wider(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether the third axis is the width: it has grown with the input, and the last has not."""
    return len(shape) == len(other) == 4 and other[2] > shape[2] and other[3] == shape[3]


def _trace_on(module: nn.Module, size: tuple[int, int], device: str | None) -> list[Call]:
    calls: list[Call] = []
    counts: dict[str, int] = {}

    def follow(path: str, submodule: nn.Module) -> Callable[..., None]:
        leaf = next(submodule.children(), None) is None

        def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            number = counts[path] = counts.get(path, -1) + 1
            if not isinstance(output, Tensor):
                return
            first = inputs[0] if inputs and isinstance(inputs[0], Tensor) else torch.empty(0)
            shapes = tuple(first.shape), tuple(output.shape)
            calls.append(Call(path, submodule, number, *shapes, leaf, size, output.device))

        return hook

    with evaluating(module):
        for path, submodule in module.named_modules():
            submodule.register_forward_hook(in_this_thread(follow(path, submodule)))
        dry_run(module, blank(module, size, device))
    return calls


def _stages(module: nn.Module, size: tuple[int, int]) -> list[Tap]:
    info = getattr(module, "feature_info", None)
    modules = dict(module.named_modules())
    # where a network has several blocks at one stride, the last ends the stage
    entries = {entry["reduction"]: entry for entry in getattr(info, "info", info) or ()}
    if entries and all(entry.get("module") in modules for entry in entries.values()):
        return [
            Tap(
                f"stride{stride}",
                entry["module"],
                role_of(modules[entry["module"]]) or "block",
                stride,
                entry["num_chs"],
                channels_last=getattr(module, "output_fmt", "NCHW") == "NHWC",
            )
            for stride, entry in entries.items()
        ]
    calls = trace(module, size)
    steps = [call for call in calls if _is_small_step(call)]
    owners = {call.path for call in steps}
    if not steps:
        raise InputError(f"{type(module).__name__} has no two-dimensional feature maps")
    # a stage ends with the last, outermost module that still works at its stride
    outer = {call.stride: call for call in steps if not owners & set(_parents(call.path))}
    # one module may do the work of several stages: those that no other has are found inside
    inner = {call.stride: call for call in steps if call.stride < max(outer)}
    ends = inner | outer
    return [
        call.tap(f"stride{stride}", role_of(call.module) or "block")
        for stride, call in sorted(ends.items())
    ]


def _layers(module: nn.Module, size: tuple[int, int]) -> list[Tap]:
    taps: dict[str, Tap] = {}
    unit = ""
    calls = trace(module, size)
    for call in calls:
        role = _layer_role(call, calls)
        if role is None or not call.is_map:
            continue
        if role in {"conv", "pool"} or not unit or call.tap(unit, role).label in taps:
            unit = call.path
        tap = call.tap(unit, role)
        taps[tap.label] = tap
        if role == "pool":
            unit = ""
    if not taps:
        raise InputError(f"{type(module).__name__} has no convolutions")
    found = list(taps.values())
    for names in (function(module, found) for function in FAMILIES.values()):
        if names is not None:
            return [replace(tap, name=names[tap.module]) for tap in found if tap.module in names]
    return found


def _gates(module: nn.Module, size: tuple[int, int]) -> list[Tap]:
    """Sigmoids of one place: what a map is multiplied by, named after what holds them."""
    found, stride = [], 1
    for call in trace(module, size):
        if call.is_map:
            stride = call.stride
        elif call.leaf and len(call.after) == 4 and "sigmoid" in type(call.module).__name__.lower():
            owner = call.path.rpartition(".")[0] or call.path
            found.append(Tap(owner, call.path, "gate", stride, call.channels, call.number))
    if not found:
        raise InputError(f"{type(module).__name__} has no gates (squeeze-and-excitation)")
    return found


_WHOLE = {"stages": _stages, "layers": _layers, "gates": _gates}


def _named(
    model: Any, module: nn.Module, size: tuple[int, int], wanted: Sequence[str | Tap]
) -> list[Tap]:
    modules = dict(module.named_modules())
    calls = cache(lambda: trace(module, size))
    stages = cache(lambda: find_stages(model))
    layers = cache(lambda: find_stages(model, "layers"))
    found: list[Tap] = []
    for key in wanted:
        path = key.module if isinstance(key, Tap) else key
        if isinstance(key, Tap) and path in modules:
            found.append(key)
        elif path in modules:
            found += _taps_of(path, calls())
        elif named := _first(path, stages, layers):
            found.append(named)
        else:
            names = [*(tap.name for tap in (*stages(), *layers())), *filter(None, modules)]
            raise unknown("stage, layer or module", path, dict.fromkeys(names))
    return found


def _first(name: str, *sources: Callable[[], list[Tap]]) -> Tap | None:
    """First tap with a name or label; a source is asked only if those before it have none."""
    every = (tap for taps in sources for tap in taps())
    return next((tap for tap in every if name in (tap.name, tap.label)), None)


def _taps_of(path: str, calls: Sequence[Call]) -> list[Tap]:
    """Every call of one module."""
    own = [call for call in calls if call.path == path]
    if not own:
        raise InputError(f"{path!r} does not run, or gives no tensor")
    for call in own:
        if not call.is_map:
            raise InputError(f"{path!r} gives shape {call.after}, not two-dimensional maps")
    return [call.tap(path, role_of(call.module) or "block") for call in own]


def role_of(module: nn.Module) -> str | None:
    """Name what a module computes.

    Parameters
    ----------
    module : nn.Module
        Any module.

    Returns
    -------
    str or None
        ``"conv"``, ``"norm"``, ``"act"``, ``"pool"``, or None for anything else.
    """
    if isinstance(module, CONVOLUTIONS):
        return "conv"
    if isinstance(module, POOLS):
        return "pool"
    if isinstance(module, NORMS):
        # timm's BatchNormAct2d normalises and activates in one
        plain = isinstance(getattr(module, "act", nn.Identity()), nn.Identity)
        return "norm" if plain else "act"
    return "act" if type(module).__module__.startswith(_ACTIVATION_HOMES) else None


_ACTIVATION_HOMES = ("torch.nn.modules.activation", "timm.layers.activations")


def _layer_role(call: Call, calls: Sequence[Call]) -> str | None:
    parent, _, name = call.path.rpartition(".")
    if name == "drop" and isinstance(call.module, nn.Identity):
        # inside timm's BatchNormAct2d the Identity stands between normalisation and activation
        owner = next((c.module for c in calls if c.path == parent), None)
        return "norm" if isinstance(owner, NORMS) else None
    return role_of(call.module) if call.leaf else None


def _parents(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _is_small_step(call: Call) -> bool:
    """Whether a module works at one stride: it shrinks its maps fourfold at most."""
    if not call.path or len(call.before) != 4 or not call.is_map:
        return False
    if isinstance(call.module, ADAPTIVE_POOLS):
        return False
    return call.stride <= 4 * call.stride_before


def _module_and_size(model: Any) -> tuple[nn.Module, tuple[int, int]]:
    module = model if isinstance(model, nn.Module) else model.module
    size = getattr(getattr(model, "transform", None), "size", None)
    if size is None:
        config = getattr(module, "pretrained_cfg", None) or {}
        size = tuple(config.get("input_size", (3, 224, 224)))[1:]
    return module, (int(size[0]), int(size[1]))
