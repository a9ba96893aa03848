"""A network as a chain of modules, each fed with what the one before it gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vizkit.hooks import in_this_thread, version_of

# classes whose code is known: they compute what their name says
_TORCH = "torch.nn.modules."
_TIMM = "timm.layers.norm_act"


def is_known(module: nn.Module) -> bool:
    """Tell whether a module does what its class does, without anybody's hooks or own ``forward``.

    Parameters
    ----------
    module : nn.Module
        Any.

    Returns
    -------
    bool
        False where it could do anything.
    """
    home = type(module).__module__
    simple = home.startswith(_TORCH) and next(module.children(), None) is None
    changed = any(
        part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part)  # noqa: SLF001
        for part in module.modules()
    )
    return (simple or home == _TIMM) and not changed


@dataclass(frozen=True)
class Link:
    """One step of a chain.

    Attributes
    ----------
    path : str
        Dotted path of the module; ``""`` for the network itself and for a flattening.
    module : nn.Module
        What is run.
    """

    path: str
    module: nn.Module

    def __call__(self, inputs: Tensor) -> Tensor:
        """Run the step; its input stays as it was."""
        in_place = getattr(self.module, "inplace", False) is True or not is_known(self.module)
        output: Tensor = self.module(inputs.clone() if in_place else inputs)
        return output


@dataclass(frozen=True)
class Chain:
    """Steps that, one after the other, compute what the network computes, to the bit.

    Attributes
    ----------
    links : tuple of Link
        Never empty: a network that is no chain is one link.
    once : frozenset of str
        Paths of modules that run once, as a link or inside one.
    """

    links: tuple[Link, ...]
    once: frozenset[str] = frozenset()

    def run(self, inputs: Tensor, start: int = 0) -> Tensor:
        """Run the steps from one of them on."""
        for link in self.links[start:]:
            inputs = link(inputs)
        return inputs

    def after(self, path: str) -> int | None:
        """Find the step after a module; None if the module is inside a step or runs twice."""
        found = (n + 1 for n, link in enumerate(self.links) if link.path == path)
        return next(found, None) if path in self.once else None


@dataclass
class _Frame:
    """One module's run, and those of the modules that it called."""

    path: str
    module: nn.Module
    before: Tensor | None
    version: int
    after: Any = None
    version_after: int = 0
    calls: list[_Frame] = field(default_factory=list)


def unroll(module: nn.Module, inputs: Tensor) -> Chain:
    """Take a network apart into a chain; use inside `vizkit.hooks.evaluating`.

    One forward pass shows which module was fed with exactly what another gave, with nothing but
    a flattening in between. What is no such chain, a residual block for example, stays one link.
    The result is run and must give the network's own output to the bit.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode; its hooks are removed again.
    inputs : Tensor of shape (N, 3, H, W)
        The chain holds for inputs of this size.

    Returns
    -------
    Chain
        At worst one link, the network itself.
    """
    with torch.no_grad():
        top = _followed(module, inputs)
        runs = Counter(_paths(top))
        chain = Chain(tuple(_links(top)), frozenset(path for path in runs if runs[path] == 1))
        if len(chain.links) > 1 and torch.equal(chain.run(inputs), top.after):
            return chain
    return Chain((Link("", module),))


def _followed(module: nn.Module, inputs: Tensor) -> _Frame:
    root = _Frame("", module, None, 0)
    open_frames = [root]

    def enter(path: str) -> Callable[..., None]:
        def hook(submodule: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            single = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
            before = args[0] if single else None
            version = version_of(before) if before is not None else 0
            frame = _Frame(path, submodule, before, version)
            open_frames[-1].calls.append(frame)
            open_frames.append(frame)

        return hook

    def leave(_module: nn.Module, _args: object, output: Any) -> None:
        frame = open_frames.pop()
        frame.after = output
        frame.version_after = version_of(output) if isinstance(output, Tensor) else 0

    handles, left = [], in_this_thread(leave)
    try:
        for path, submodule in module.named_modules():
            entered = in_this_thread(enter(path))
            handles.append(submodule.register_forward_pre_hook(entered, with_kwargs=True))
            handles.append(submodule.register_forward_hook(left))
        module(inputs.clone())
    finally:
        for handle in handles:
            handle.remove()
    return root.calls[0]


def _paths(frame: _Frame) -> Iterator[str]:
    """Give the path of every module that ran, once for each run."""
    yield frame.path
    for call in frame.calls:
        yield from _paths(call)


def _links(frame: _Frame) -> list[Link]:
    """List the steps of one module's run: those of its parts if they are a chain, else itself."""
    whole = [Link(frame.path, frame.module)]
    current, version = frame.before, frame.version
    links: list[Link] = []
    for call in frame.calls:
        step = _step(current, version, call.before, call.version)
        if step is None:
            return whole
        links += [*step, *_links(call)]
        current, version = call.after, call.version_after
    if not links:
        return whole
    last = _step(current, version, frame.after, frame.version_after)
    return whole if last is None else [*links, *last]


def _step(given: Any, version: int, taken: Any, version_taken: int) -> list[Link] | None:
    """Tell what lies between an output and an input: nothing, a flattening, or (None) more."""
    if not isinstance(given, Tensor) or not isinstance(taken, Tensor):
        return None
    if given is taken and version == version_taken:
        return []
    same = given.untyped_storage().data_ptr() == taken.untyped_storage().data_ptr()
    flat = given.ndim == 4 and taken.ndim == 2 and given.numel() == taken.numel()
    if same and flat and version == version_taken and taken.shape[0] == given.shape[0]:
        return [Link("", nn.Flatten(1))]
    return None
