"""Slow work beside the kernel's own thread: one thing at a time, which can be stopped."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

from vizkit.errors import BusyError, VizkitError, positive

Step = Callable[[str, float], None]
_POLL = 0.05
# what every network runs often, and what nothing runs that puts a network back as it was
_CHECKED = frozenset({torch.conv2d, F.conv2d, F.linear})


class Cancelled(Exception):  # noqa: N818  (no error: somebody wanted it)
    """The work was stopped because nobody wants its result any more."""


@dataclass(frozen=True)
class Events:
    """Whom to tell; always called in the thread that asked, never in the one that works.

    Attributes
    ----------
    step : callable
        What is done now, and the share that is done before, in [0, 1].
    failed : callable
        What went wrong, in words.
    finished : callable
        Nothing is going on any more.
    """

    step: Step
    failed: Callable[[str], None]
    finished: Callable[[], None]


@dataclass(eq=False)
class Work:
    """One piece of work at a time; a newer one replaces an older.

    Attributes
    ----------
    events : Events
        Whom to tell.
    """

    events: Events
    _news: queue.SimpleQueue[tuple[_Job, Callable[[], None]]] = field(
        default_factory=queue.SimpleQueue
    )
    _job: _Job | None = None
    _telling: threading.RLock = field(default_factory=threading.RLock)

    @property
    def busy(self) -> bool:
        """Whether a result is still to come."""
        return self._job is not None

    def start(self, run: Callable[[Step], Any], done: Callable[[Any], None]) -> None:
        """Begin; what was going on is stopped.

        Parameters
        ----------
        run : callable
            The work, in a thread of its own; told whom to tell what it does.
        done : callable
            Given the result, in the thread that asked.
        """
        self._stop()
        job = self._job = _Job(run, done, _running_loop())
        threading.Thread(target=self._run, args=(job,), name="vizkit", daemon=True).start()

    def cancel(self) -> bool:
        """Stop what is going on, at the next layer of a network; tell whether there was any."""
        busy = self.busy
        self._stop()
        if busy:
            self.events.finished()
        return busy

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is going on, and hand over what there is.

        Parameters
        ----------
        timeout : float, optional
            Seconds.

        Raises
        ------
        BusyError
            If it takes longer.
        """
        timeout = None if timeout is None else positive("timeout", timeout)
        end = None if timeout is None else time.monotonic() + timeout
        while self.busy:
            if end is not None and time.monotonic() > end:
                raise BusyError(f"still busy after {timeout:g} s")
            self._tell(_POLL)

    def _stop(self) -> None:
        if self._job is not None:
            self._job.unwanted.set()
            self._job = None

    def _run(self, job: _Job) -> None:
        """Work, in a thread of its own."""

        def step(text: str, share: float) -> None:
            job.check()
            self._report(job, lambda: self.events.step(text, share))

        try:
            with _Stopping(job):
                result = job.run(step)
        except Cancelled:
            return
        except BaseException as error:
            words = in_words(error)
            self._report(job, lambda: self._end(job, lambda: self.events.failed(words)))
            return
        self._report(job, lambda: self._end(job, lambda: job.done(result)))

    def _end(self, job: _Job, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as error:
            # a result that cannot be shown must be seen, too
            self.events.failed(in_words(error))
        finally:
            if self._job is job:
                self._job = None
            self.events.finished()

    def _report(self, job: _Job, news: Callable[[], None]) -> None:
        """Have news told in the thread that asked: by its event loop, or when it waits."""
        self._news.put((job, news))
        if job.loop is not None:
            # a loop that is closed calls nobody: then whoever waits is told
            with suppress(RuntimeError):
                job.loop.call_soon_threadsafe(self._tell, 0.0)

    def _tell(self, patience: float) -> None:
        with self._telling:
            while True:
                try:
                    job, news = self._news.get(timeout=patience) if patience else self._next()
                except queue.Empty:
                    return
                patience = 0.0
                if job is self._job:
                    news()

    def _next(self) -> tuple[_Job, Callable[[], None]]:
        return self._news.get_nowait()


@dataclass(eq=False)
class _Job:
    run: Callable[[Step], Any]
    done: Callable[[Any], None]
    loop: asyncio.AbstractEventLoop | None
    unwanted: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        if self.unwanted.is_set():
            raise Cancelled


class _Stopping(TorchFunctionMode):
    """Stop a network of this thread at its next layer, once its result is unwanted.

    An exception that may come anywhere would also come while a network is put back as it was.
    """

    def __init__(self, job: _Job) -> None:
        super().__init__()
        self.job = job

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one function of torch, unless it is a layer that nobody wants."""
        if func in _CHECKED:
            self.job.check()
        return func(*args, **(kwargs or {}))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def in_words(error: BaseException) -> str:
    """Say what went wrong: vizkit's own errors are written for readers, others need their kind."""
    if isinstance(error, VizkitError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
