"""Ctrl-C at a chosen step of a piece of work, as the interpreter delivers a real one.

A signal is not handled when it comes but at the interpreter's next look: where a function begins,
after a call of one in C, where a loop goes round. A trace function written in Python looks, too,
and would take the signal itself. So the last step of striking is a function in C, which the
interpreter calls as a trace function just before a chosen instruction: it turns tracing off,
marks SIGINT as arrived, and returns. What happens next is what happens after a Ctrl-C.
"""

import ctypes
import gc
import os
import signal
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# asked in C for a key that it lacks, it calls sys.settrace(None)
_SWITCH = defaultdict(partial(sys.settrace, None))


class _TracingOff:
    # ctypes makes a number of the second argument, the kind of the event, by this: 0 of None
    from_param = _SWITCH.__getitem__


_STRIKE = ctypes.pythonapi["PyErr_SetInterrupt"]
_STRIKE.argtypes = [ctypes.py_object, _TracingOff, ctypes.py_object]
_STRIKE.restype = None


@dataclass(frozen=True)
class Step:
    """A moment of a piece of work: just before a line, or within one."""

    number: int
    file: str
    line: int
    instruction: int | None

    @property
    def place(self):
        """Where it is, however often the work comes there."""
        return self.file, self.line, self.instruction

    def __str__(self):
        within = "" if self.instruction is None else f"+{self.instruction}"
        return f"{Path(self.file).name}:{self.line}{within}"


class Steps:
    """Follows the lines of some files, and the instructions of some others.

    Attributes
    ----------
    taken : list of Step
        Those at which Ctrl-C can be sent.
    """

    def __init__(self, lines, instructions=(), strike_at=None):
        self.taken, self.strikes = [], 0
        self._lines = tuple(map(str, lines))
        self._instructions = frozenset(map(str, instructions))
        self._strike_at, self._number = strike_at, 0
        self._kinds, self._frame = {}, None
        self._process = os.getpid()

    def enter(self, frame, event, arg):
        """Trace function for calls."""
        name = frame.f_code.co_filename
        kind = self._kinds.get(name)
        if kind is None:
            inside = "opcode" if name in self._instructions else "line"
            kind = self._kinds[name] = inside if self._wanted(name) else ""
        # a process that was started on the way follows nothing
        if not kind or os.getpid() != self._process:
            return None
        if kind == "opcode":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self.step

    def _wanted(self, name):
        return name in self._instructions or name.startswith(self._lines)

    def step(self, frame, event, arg):
        """Trace function for what happens within a call."""
        if event not in {"line", "opcode"}:
            return self.step
        if self._number == self._strike_at:
            return self._strike(frame)
        if self._strike_at is None:
            within = frame.f_lasti if event == "opcode" else None
            step = Step(self._number, frame.f_code.co_filename, frame.f_lineno, within)
            self.taken.append(step)
        self._number += 1
        return self.step

    def _strike(self, frame):
        """Strike at the next event in this frame: the same instruction, or the next one."""
        _SWITCH.clear()
        self.strikes += 1
        self._frame = frame
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        frame.f_trace = _STRIKE

    def heard(self, again):
        """Let go of what was struck; if wanted, go on, to strike so many steps later once more."""
        frame, self._frame = self._frame, None
        if frame is not None and again is not None:
            self._strike_at, frame.f_trace = self._number + again, self.step
            sys.settrace(self.enter)


def steps_of(work, lines, instructions=()):
    """Do a piece of work, and list its steps in order."""
    # from Python 3.12 on, instructions are followed only after that was wished for once
    for _ in range(1 if sys.version_info < (3, 12) else 2):
        steps = Steps(lines, instructions)
        _traced(work, steps)
    return steps.taken


def struck(work, at, lines, instructions=(), again=None):
    """Do a piece of work with a Ctrl-C at one of its steps.

    Python itself drops whatever is raised in the ``__del__`` of an object that nobody needs any
    more, and the interpreter may look first there: what it drops is returned, too.

    Parameters
    ----------
    work : callable
        Does the same every time.
    at : Step
        From `steps_of`, with the same files.
    lines, instructions
        As for `steps_of`.
    again : int, optional
        Strike once more, so many steps after the first Ctrl-C has been raised.

    Returns
    -------
    error : KeyboardInterrupt or None
        What was raised.
    strikes : int
        How many there were.
    """
    if sys.version_info >= (3, 13):
        # where tracing was turned off on the way, some steps are not followed the next time
        _traced(work, Steps(lines, instructions))
    steps = Steps(lines, instructions, at.number)
    dropped = []

    def interrupt(number, frame):
        steps.heard(again if steps.strikes == 1 else None)
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGINT, interrupt)
    hook, sys.unraisablehook = sys.unraisablehook, lambda each: dropped.append(each.exc_value)
    caught = None
    try:
        _traced(work, steps)
    except KeyboardInterrupt as error:
        caught = error
    finally:
        sys.unraisablehook = hook
    kept = signal.signal(signal.SIGINT, handler)
    if kept is not interrupt:
        raise RuntimeError(f"another handler of SIGINT is left: {kept}")
    if not steps.strikes:
        raise RuntimeError(f"never came to {at}")
    if caught is None and len(dropped) == 1 and _in_a_finaliser(dropped[0]):
        caught = dropped[0]
    try:
        return caught, steps.strikes
    finally:
        # its traceback holds this call: so that nothing but the caller holds it
        del caught
        dropped.clear()


def _in_a_finaliser(error):
    """Whether it was raised in somebody's ``__del__``."""
    return error.__traceback__.tb_frame.f_code.co_name == "__del__"


def _traced(work, steps):
    """Do a piece of work while its steps are followed."""
    # what is left of other work shall not be cleared away in the middle of this one
    gc.disable()
    before = sys.gettrace()
    sys.settrace(steps.enter)
    try:
        work()
        # here the interpreter looks, should it not have done so since a strike
        for _ in range(3):
            pass
    finally:
        sys.settrace(before)
        gc.enable()


def ctrl_c():
    """Send a real one."""
    os.kill(os.getpid(), signal.SIGINT)
