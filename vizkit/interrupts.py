"""Context managers that are always left once they are entered, wherever Ctrl-C falls.

Python calls a signal's handler between two steps of its own code: where a function begins, after
a function in C has returned, where a loop goes round. The managers of `contextlib` and PyTorch
are such code. A Ctrl-C may fall after one has changed something and before its block begins, or
at the first step of its ``__exit__``: then nobody leaves it, and a traceback that is kept, as
notebooks do, keeps the hooks, the lock or the half-written file. Here,

- what raises while it is entered is left at once, also if the last thing was its ``yield``;
- a Ctrl-C that falls at the first step of leaving, or later, is raised when all is put back;
- managers of `contextlib` inside, which others wrote, are left no later.

Only the main thread is interrupted, so that other threads take no part in this.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    _GeneratorContextManager,
    contextmanager,
    suppress,
)
from functools import partial, wraps
from traceback import walk_tb
from types import FrameType, TracebackType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


def managed(
    function: Callable[P, Iterator[T]],
) -> Callable[P, AbstractContextManager[T, bool | None]]:
    """Make a context manager of a generator function, as `contextlib.contextmanager` does.

    Entering may take long and can be interrupted: what the function entered itself is left.

    Parameters
    ----------
    function : callable
        Yields once.

    Returns
    -------
    callable
        Gives the context manager.
    """
    make = contextmanager(function)

    @wraps(function)
    def manager(*args: P.args, **kwargs: P.kwargs) -> _Managed[T]:
        return _Managed(make(*args, **kwargs))

    return manager


def undivided(
    function: Callable[P, Iterator[T]],
) -> Callable[P, AbstractContextManager[T, bool | None]]:
    """Do the same for one that is entered in a moment: until then, Ctrl-C waits.

    The function may change one thing after the other without minding what lies between.

    Parameters
    ----------
    function : callable
        Yields once; waits for nobody before.

    Returns
    -------
    callable
        Gives the context manager.
    """
    make = contextmanager(function)

    @wraps(function)
    def manager(*args: P.args, **kwargs: P.kwargs) -> _Managed[T]:
        return _Managed(make(*args, **kwargs), waiting=True)

    return manager


@undivided
def surely(manager: AbstractContextManager[T, bool | None]) -> Iterator[T]:
    """Enter and leave somebody else's context manager, whatever happens.

    Parameters
    ----------
    manager : context manager
        Entered in a moment.

    Yields
    ------
    object
        What it gives.
    """
    with manager as value:
        yield value


@managed
def nested(managers: Sequence[AbstractContextManager[T, bool | None]]) -> Iterator[list[T]]:
    """Enter any number of context managers, each inside the one before.

    Parameters
    ----------
    managers : sequence of context manager
        Made by `managed`, `undivided` or `surely`.

    Yields
    ------
    list
        What they give.
    """
    if not managers:
        yield []
        return
    with managers[0] as first, nested(managers[1:]) as others:
        yield [first, *others]


class _Managed(AbstractContextManager[T, bool | None]):
    """A manager of `contextlib`, with the places closed where a Ctrl-C would break it."""

    def __init__(self, manager: _GeneratorContextManager[T], *, waiting: bool = False) -> None:
        self._manager = manager
        self._before: Callable[[int, FrameType | None], Any] | None = None
        # whether Ctrl-C has to wait, and one does
        self._waiting = waiting
        self._missed = False

    def __enter__(self) -> T:
        try:
            self._watch()
            value = self._manager.__enter__()
            self._waiting = False
            self._make_up()
            return value
        except BaseException as error:
            # an assignment is one step: no Ctrl-C falls before it
            self._waiting = True
            self._left(self._manager.gen.close, error)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        # of a Ctrl-C that falls before this, `_handle` sees that it fell in this function
        self._waiting = True
        return self._left(partial(self._manager.__exit__, kind, error, trace), error)

    def _watch(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        if callable(before) and threading.current_thread() is threading.main_thread():
            # in this order, for what was there is put back also if the next step fails
            self._before = before
            signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._waiting or (frame is not None and frame.f_code is _LEAVING):
            self._missed = True
        elif self._before is not None:
            self._before(number, frame)

    def _left(self, leave: Callable[[], R], error: BaseException | None) -> R:
        try:
            try:
                _close_abandoned(error)
            finally:
                left = leave()
            return left
        finally:
            self._hand_back()

    def _hand_back(self) -> None:
        if self._before is not None:
            try:
                signal.signal(signal.SIGINT, self._before)
            finally:
                # should one that was entered later be left later, too, it puts this handler back
                self._waiting = False
            self._make_up()

    def _make_up(self) -> None:
        if self._missed and self._before is not None:
            self._missed = False
            self._before(signal.SIGINT, None)


_LEAVING = _Managed.__exit__.__code__
_CONTEXTLIB = contextmanager.__code__.co_filename


def _close_abandoned(error: BaseException | None) -> None:
    """Close the generators of managers that Ctrl-C kept `contextlib` from leaving.

    They hang on what it left in the traceback. Later, with that, they would put back what by then
    has long been something else.
    """
    while error is not None:
        for frame, _ in walk_tb(error.__traceback__):
            if frame.f_code.co_filename == _CONTEXTLIB:
                # it may still be at work
                with suppress(RuntimeError):
                    frame.clear()
        error = error.__context__
