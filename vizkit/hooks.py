"""Reading a network without changing it: the only file that touches one.

`evaluating` puts a network in evaluation mode and restores everything afterwards;
`recording` keeps the outputs of chosen modules, true even when the next layer works in place;
`consuming` only looks at them.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from vizkit.errors import InputError, VizkitError
from vizkit.interrupts import managed, nested, undivided
from vizkit.modes import same_modes
from vizkit.results import Tap


@dataclass(frozen=True, order=True)
class _Lock:
    """A lock, with a number: who needs several takes them in this order."""

    number: int
    lock: threading.RLock = field(default_factory=threading.RLock, compare=False)


# one of each network, by all its modules: networks that share some are looked at in turn, too
_LOCKS: WeakKeyDictionary[nn.Module, _Lock] = WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()
_NUMBERS = count()
# whether hooks shall see nothing now, of each thread
_UNHEARD = threading.local()
# what is otherwise while a network is looked at: what `nn.Module.compile` runs instead of a module,
# which hooks would have made anew; and what has maps computed again for a backward pass, by when
# nobody looks any more
_PREPARED = {
    "training": False,
    "_compiled_call_impl": None,
    "grad_checkpointing": False,
    "memory_efficient": False,
}


class OverwrittenError(VizkitError, RuntimeError):
    """An output was overwritten in place by code that no hook sees; `taps` says which."""

    def __init__(self, taps: set[Tap]) -> None:
        self.taps = taps
        names = ", ".join(sorted(tap.label for tap in taps))
        super().__init__(f"overwritten in place by the network's own code: {names}")


@managed
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode and give it back as it was.

    Training flags, ``requires_grad``, ``.grad``, buffers, hooks and the random number
    generators are restored, also after an exception or Ctrl-C. Parameters are frozen inside:
    gradients flow to activations only. One thread at a time may hold a network.

    Parameters
    ----------
    module : nn.Module
        The network.

    Yields
    ------
    None
        Inside, the network is in evaluation mode.
    """
    with _held(module), _as_it_was(module):
        yield


def in_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Have a hook see the runs of this thread alone.

    Others may run the network as well, without vizkit, and know of no lock.

    Parameters
    ----------
    hook : callable
        For any kind of hook.

    Returns
    -------
    callable
        Does nothing in other threads, nor in this one while it is `unheard`.
    """
    thread = threading.get_ident()

    def of_this_thread(*args: Any) -> Any:
        heard = threading.get_ident() == thread and not getattr(_UNHEARD, "now", False)
        return hook(*args) if heard else None

    return of_this_thread


@managed
def unheard() -> Iterator[None]:
    """Have vizkit's hooks see nothing of what this thread runs meanwhile."""
    before = getattr(_UNHEARD, "now", False)
    _UNHEARD.now = True
    try:
        yield
    finally:
        _UNHEARD.now = before


@undivided
def _as_it_was(module: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode, and everything back, each thing also if another fails."""
    with ExitStack() as undo, same_modes(), torch.inference_mode(mode=False):
        modules = list(module.modules())
        parameters = _tensors_of(modules, "_parameters")
        undo.callback(_restore_attributes, [(m, dict(vars(m))) for m in modules])
        undo.callback(_restore_gradients, [(p, p.requires_grad, p.grad) for p in parameters])
        undo.callback(
            _restore_buffer_values,
            [(b, b.detach().clone(), version_of(b)) for b in _tensors_of(modules, "_buffers")],
        )
        undo.callback(_restore_tables, [(m, _tables(m)) for m in modules])
        undo.callback(_restore_random, _random_state())
        for submodule in modules:
            _prepare(vars(submodule))
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield


@dataclass
class Recorder:
    """What was recorded during the forward passes inside `recording`.

    Attributes
    ----------
    outputs : dict of Tap to Tensor
        In forward order. With gradients on, these are nodes of the graph.
    """

    taps: Sequence[Tap]
    detach: bool
    always_clone: frozenset[Tap] = frozenset()
    cut: bool = False
    outputs: dict[Tap, Tensor] = field(default_factory=dict)
    _versions: dict[Tap, int] = field(default_factory=dict)
    _calls: dict[str, int] = field(default_factory=dict)
    _given: dict[str, list[tuple[Tensor, int]]] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget the outputs, before another forward pass."""
        self.outputs.clear()
        self._versions.clear()
        self._calls.clear()

    def check(self) -> None:
        """Raise `OverwrittenError` if any output has been changed since it was recorded."""
        changed = {
            tap for tap, out in self.outputs.items() if version_of(out) != self._versions[tap]
        }
        if changed:
            raise OverwrittenError(changed)

    def note(self, path: str, inputs: tuple[Any, ...]) -> None:
        """Note what a module is given, to tell what it passes on as it is."""
        self._given[path] = [
            (each, version_of(each)) for each in inputs if isinstance(each, Tensor)
        ]

    def keep(self, path: str, output: Any) -> Any:
        """Record a module's output; return what the network shall go on with instead, if any."""
        call = self._calls.get(path, 0)
        self._calls[path] = call + 1
        made = output
        given = self._given.pop(path, [])
        passed = any(output is each and version_of(each) == before for each, before in given)
        for tap in self.taps:
            if tap.module == path and tap.call == call:
                if passed:
                    # what is passed on as it is shall be a node of its own, apart from its input's
                    output = output.view_as(output)
                output = self._record(tap, output)
        return None if output is made else output

    def save(self, inputs: tuple[Any, ...]) -> None:
        """Keep copies of what was recorded, if a module is about to overwrite it."""
        if not inputs or not isinstance(inputs[0], Tensor):
            return
        storage = inputs[0].untyped_storage().data_ptr()
        for tap, output in self.outputs.items():
            # what has been overwritten already is for `check` to find
            fresh = version_of(output) == self._versions[tap]
            if fresh and output.untyped_storage().data_ptr() == storage:
                self.outputs[tap] = copy = output.clone()
                self._versions[tap] = version_of(copy)

    def _record(self, tap: Tap, output: Any) -> Any:
        """Record one tap; return what the network goes on with."""
        maps = _as_maps(output, tap)
        if self.cut and not maps.requires_grad:
            # the graph starts here: what lies before needs no gradient
            maps = maps.detach().requires_grad_()
        self.outputs[tap] = maps.detach() if self.detach else maps
        self._versions[tap] = version_of(maps)
        # a leaf of the graph may not be worked on in place, and a transposed view is no node of it
        leaf = maps.is_leaf and maps.requires_grad
        view = tap.channels_last and not self.detach
        if not (leaf or view or tap in self.always_clone):
            return output
        copy = maps.clone()
        return copy.movedim(1, -1) if tap.channels_last else copy


@contextmanager
def recording(
    module: nn.Module,
    taps: Sequence[Tap],
    *,
    detach: bool = True,
    always_clone: frozenset[Tap] = frozenset(),
    cut: bool = False,
) -> Iterator[Recorder]:
    """Record the outputs of chosen modules during forward passes.

    Outputs are kept by reference, and the network computes what it would without. Only before a
    module works in place (``inplace=True``) is what it overwrites copied, so that the record
    stays what the tapped module produced. In-place operations in the network's own code, and with
    a graph all of them, are noticed afterwards by `Recorder.check`.

    Parameters
    ----------
    module : nn.Module
        The network; use inside `evaluating`, which removes the hooks whatever happens.
    taps : sequence of Tap
        What to record.
    detach : bool
        Keep plain values; False keeps nodes of the autograd graph.
    always_clone : frozenset of Tap
        Taps after which the network goes on with a copy.
    cut : bool
        Begin the autograd graph at the first tap: what lies before it needs no gradient.

    Yields
    ------
    Recorder
        Its ``outputs`` fill as the network runs.
    """
    recorder = Recorder(tuple(taps), detach, always_clone, cut)
    modules = dict(module.named_modules())
    handles = ExitStack()

    def keeper(path: str) -> Callable[..., Tensor | None]:
        return in_this_thread(lambda _module, _inputs, output: recorder.keep(path, output))

    def noter(path: str) -> Callable[..., None]:
        return in_this_thread(lambda _module, inputs: recorder.note(path, inputs))

    with handles:
        for path in dict.fromkeys(tap.module for tap in taps):
            handles.enter_context(modules[path].register_forward_hook(keeper(path)))
            if not detach:
                handles.enter_context(modules[path].register_forward_pre_hook(noter(path)))
        saver = in_this_thread(lambda _module, inputs: recorder.save(inputs))
        for submodule in modules.values():
            # a node of a graph cannot be saved so: the copy would be no part of the graph
            if detach and getattr(submodule, "inplace", False) is True:
                handles.enter_context(submodule.register_forward_pre_hook(saver))
        yield recorder


@contextmanager
def consuming(
    module: nn.Module, taps: Sequence[Tap], consume: Callable[[Tap, Tensor], None]
) -> Iterator[set[Tap]]:
    """Look at the outputs of chosen modules while a network runs, and keep none.

    Parameters
    ----------
    module : nn.Module
        The network; use inside `evaluating`.
    taps : sequence of Tap
        What to look at.
    consume : callable
        Given a tap and its map (N, C, h, w), right after the module made it and before anything
        can overwrite it; must not change it.

    Yields
    ------
    set of Tap
        Fills with those that were seen.
    """
    seen: set[Tap] = set()
    calls: dict[str, int] = {}

    def looker(path: str) -> Callable[..., None]:
        here = [tap for tap in taps if tap.module == path]

        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            call = calls[path] = calls.get(path, -1) + 1
            for tap in here:
                if tap.call == call:
                    seen.add(tap)
                    consume(tap, _as_maps(output, tap).detach())

        return in_this_thread(look)

    with ExitStack() as handles:
        for path in dict.fromkeys(tap.module for tap in taps):
            hook = module.get_submodule(path).register_forward_hook(looker(path))
            handles.enter_context(hook)
        yield seen


@contextmanager
def replacing(module: nn.Module, tap: Tap, maps: Tensor) -> Iterator[None]:
    """Have a network go on with other maps than it computed; use inside `evaluating`.

    Parameters
    ----------
    module : nn.Module
        The network.
    tap : Tap
        Whose output is replaced.
    maps : Tensor of shape (N, C, h, w)
        What it is replaced by.

    Yields
    ------
    None
        Inside, the network runs so.
    """
    calls = iter(range(1 << 30))

    def give(_module: nn.Module, _inputs: tuple[Any, ...], _output: Any) -> Tensor | None:
        if next(calls) != tap.call:
            return None
        return maps.movedim(1, -1) if tap.channels_last else maps

    handle = module.get_submodule(tap.module).register_forward_hook(in_this_thread(give))
    try:
        yield
    finally:
        handle.remove()


def blank(
    module: nn.Module, size: tuple[int, int], device: torch.device | str | None = None
) -> Tensor:
    """Make a black input.

    Parameters
    ----------
    module : nn.Module
        The network whose type, and device unless another is given, the input shall have.
    size : tuple of (int, int)
        Height and width, in pixels.
    device : torch.device or str, optional
        ``"meta"`` for `dry_run` without arithmetic.

    Returns
    -------
    Tensor of shape (1, 3, H, W)
        Zeros.
    """
    first = next((t for t in _tensors(module).values() if t.is_floating_point()), torch.empty(0))
    return torch.zeros(1, 3, *size, dtype=first.dtype, device=device or first.device)


def dry_run(module: nn.Module, pixels: Tensor) -> None:
    """Run a network only for what its hooks see; use inside `evaluating`.

    Parameters
    ----------
    module : nn.Module
        The network.
    pixels : Tensor of shape (1, 3, H, W)
        From `blank`. On the meta device, the network runs there too: shapes, no arithmetic.
    """
    with torch.no_grad():
        if pixels.is_meta:
            moved = {name: tensor.to("meta") for name, tensor in _tensors(module).items()}
            functional_call(module, moved, (pixels,))
        else:
            module(pixels)


def version_of(tensor: Tensor) -> int:
    """Count the in-place changes that a tensor has seen; inference tensors do not count."""
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001  (it has no public name)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _as_maps(output: Any, tap: Tap) -> Tensor:
    if isinstance(output, Tensor) and output.ndim == 4:
        return output.movedim(-1, 1) if tap.channels_last else output
    kind = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InputError(f"{tap.module!r} returns {kind}, not feature maps (N, C, h, w)")


def first_parameter(module: nn.Module) -> Tensor | None:
    """Give a network's first parameter, if it has any, as it is while no other thread runs it.

    A thread that counts what a network costs has it on the meta device meanwhile.
    """
    lock = _LOCKS.get(module)
    if lock is not None:
        with _taken(lock):
            owned = (
                (each, own) for each in module.modules() for own in each.parameters(recurse=False)
            )
            owner, first = next(owned, (None, None))
            # to walk through all of it takes time, and is needed only if a part of another network
            # has been put in since
            if owner is not None and _LOCKS.get(owner) is lock:
                return first
    with _held(module):
        return next(module.parameters(), None)


def parameters_of(module: nn.Module) -> list[Tensor]:
    """List a network's parameters, each once, in one quick walk."""
    return _tensors_of(list(module.modules()), "_parameters")


@managed
def _held(module: nn.Module) -> Iterator[None]:
    """Keep other threads away from a network, and from those that share modules with it."""
    with nested([_taken(each) for each in _locks_of(module)]):
        yield


@managed
def _taken(lock: _Lock) -> Iterator[None]:
    # taken and given back by single steps in C, which no Ctrl-C divides
    with lock.lock:
        yield


def _locks_of(module: nn.Module) -> list[_Lock]:
    """List the locks of a network's modules; from now on they have one together."""
    with _LOCKS_LOCK:
        modules = list(module.modules())
        known = {_LOCKS.get(each) for each in modules}
        locks = sorted(lock for lock in known if lock) or [_Lock(next(_NUMBERS))]
        if len(known) > 1 or None in known:
            others = [each for each, lock in _LOCKS.items() if lock in locks[1:]]
            for each in (*modules, *others):
                _LOCKS[each] = locks[0]
        return locks


def _tensors_of(modules: Sequence[nn.Module], table: str) -> list[Tensor]:
    """List the parameters or buffers that modules have themselves, each once."""
    each = (value for module in modules for value in getattr(module, table).values())
    return list({id(value): value for value in each if value is not None}.values())


def _prepare(attributes: dict[str, Any]) -> None:
    """Set a module's own attributes, past `nn.Module`, which looks for parameters first."""
    for name, wanted in _PREPARED.items():
        if attributes.get(name):
            attributes[name] = wanted


def _restore_attributes(saved: list[tuple[nn.Module, dict[str, Any]]]) -> None:
    """Put back what a pass may have kept in a module, such as a constant on the meta device."""
    for module, before in saved:
        now = vars(module)
        if len(now) == len(before) and all(map(is_, now.values(), before.values())):
            continue
        for name in now.keys() - before.keys():
            del now[name]
        now.update(before)


def _restore_gradients(saved: list[tuple[Tensor, bool, Tensor | None]]) -> None:
    for parameter, requires_grad, gradient in saved:
        if parameter.requires_grad is not requires_grad:
            with torch.inference_mode(parameter.is_inference()):
                parameter.requires_grad_(requires_grad)
        if parameter.grad is not gradient:
            parameter.grad = gradient


def _restore_buffer_values(saved: list[tuple[Tensor, Tensor, int]]) -> None:
    for buffer, value, version in saved:
        # what is written through `.data` counts no version
        if version_of(buffer) != version or not (buffer.is_meta or torch.equal(buffer, value)):
            with torch.no_grad(), torch.inference_mode(buffer.is_inference()):
                buffer.copy_(value)


# what a forward pass may add to, take from or put another object into. Parameters are among it,
# for `functional_call` exchanges them, and Ctrl-C may keep it from exchanging them back
_TABLES = (
    "_parameters",
    "_buffers",
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)
# what most tables of most modules are
_EMPTY: dict[Any, Any] = {}


def _tables(module: nn.Module) -> dict[str, dict[Any, Any]]:
    return {
        name: dict(table) if table else _EMPTY
        for name in _TABLES
        if (table := getattr(module, name, None)) is not None
    }


def _restore_tables(saved: list[tuple[nn.Module, dict[str, dict[Any, Any]]]]) -> None:
    for module, tables in saved:
        for name, table in tables.items():
            current = getattr(module, name)
            if not current and not table:
                continue
            if list(current) != list(table):
                # their order counts, too
                current.clear()
            current.update(table)


def _random_state() -> tuple[Any, ...]:
    used = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if used else None
    return torch.get_rng_state(), cuda, random.getstate(), np.random.get_state()  # noqa: NPY002


def _restore_random(saved: tuple[Any, ...]) -> None:
    cpu, cuda, python, numpy = saved
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state_all(cuda)
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002
