"""Wherever Ctrl-C falls, what was entered is left, once, and the Ctrl-C is heard.

No torch here: these are the context managers alone, struck at every single instruction.
"""

import contextlib
import os
import signal
import threading
import time

import pytest
from striking import ctrl_c, steps_of, struck

from vizkit import interrupts
from vizkit.interrupts import managed, nested, surely, undivided

EVERY = os.environ.get("VIZKIT_EVERY_LINE") == "1"
FILES = [contextlib.__file__, interrupts.__file__, __file__]
held, left = [], []


@pytest.fixture(autouse=True)
def handler():
    held.clear()
    left.clear()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def take(name):
    held.append(name)


def give_back(name):
    # once and no more: a second time raises
    held.remove(name)
    left.append(name)


@undivided
def changing(name):
    """One thing after the other, without a ``try`` for each step between."""
    take(name)
    try:
        yield name
    finally:
        give_back(name)


class Foreign:
    """Somebody else's manager, all in Python, as PyTorch's are."""

    def __enter__(self):
        take("foreign")
        return self

    def __exit__(self, *error):
        give_back("foreign")


@contextlib.contextmanager
def usual(name):
    """What is written everywhere: safe in itself, and used by `contextlib`, which is not."""
    try:
        held.append(name)
        yield name
    finally:
        held.remove(name)


@managed
def long(name):
    """Changes something, then works before its block begins."""
    with changing(name), surely(Foreign()):
        for _ in range(3):
            len(name)
        yield name


def a_block():
    with changing("a") as name:
        assert held == [name]


def a_block_that_fails():
    try:
        with changing("a"):
            raise ValueError
    except ValueError:
        assert not held


def a_long_one():
    with long("b"):
        assert held == ["b", "foreign"]


def one_in_another():
    with changing("a"), long("b") as name, changing(name + "c"):
        assert len(held) == 4


def a_usual_one_inside():
    with changing("a"), usual("b") as name:
        assert held == ["a", name]


def any_number():
    with nested([changing("a"), long("b"), changing("c")]) as names:
        assert names == ["a", "b", "c"]


def a_return():
    with changing("a"):
        return len(held)


def a_loop():
    for name in "ab":
        with changing(name):
            continue


def a_generator():
    def numbers():
        with changing("a"):
            yield 1
            yield 2

    # one that is not used up is closed when nobody holds it: there, Python drops what is raised
    assert list(numbers()) == [1, 2]


WORK = [
    a_block, a_block_that_fails, a_long_one, one_in_another,
    a_usual_one_inside, any_number, a_return, a_loop, a_generator,
]  # fmt: skip


@pytest.mark.parametrize("work", WORK)
def test_one_at_every_instruction(work):
    work()
    steps = steps_of(work, [], FILES)
    assert len(steps) > 200
    for step in steps:
        held.clear()
        error, _ = struck(work, step, [], FILES)
        assert isinstance(error, KeyboardInterrupt), step
        assert not held, step


@pytest.mark.parametrize("work", WORK[:4])
def test_a_second_one_at_any_instruction_after(work):
    work()
    steps = steps_of(work, [], FILES)
    for n, step in enumerate(steps):
        for later in range(n % 97, 400, 1 if EVERY else 97):
            held.clear()
            error, strikes = struck(work, step, [], FILES, again=later)
            assert isinstance(error, KeyboardInterrupt), (step, later)
            assert not held, (step, later)
            if strikes == 1:
                break


def test_leaving_is_complete_before_ctrl_c_is_heard():
    def work():
        left.clear()
        with changing("a"):
            pass

    steps = steps_of(work, [], FILES)
    entered = 0
    for step in steps:
        struck(work, step, [], FILES)
        entered += left == ["a"]
        assert left in ([], ["a"]), step
    assert entered > len(steps) / 2


def test_a_long_enter_can_be_interrupted():
    @managed
    def slow():
        with changing("a"):
            time.sleep(10)
            yield

    started = time.monotonic()
    threading.Timer(0.1, ctrl_c).start()
    with pytest.raises(KeyboardInterrupt), slow():
        pytest.fail("never entered")
    assert time.monotonic() - started < 5
    assert left == ["a"]


def test_an_undivided_enter_is_completed_first():
    done = []

    @undivided
    def quick():
        ctrl_c()
        time.sleep(0.01)
        done.append("changed")
        try:
            yield
        finally:
            done.append("put back")

    with pytest.raises(KeyboardInterrupt), quick():
        done.append("block")
    assert done == ["changed", "put back"]


def test_ctrl_c_while_leaving_waits():
    @managed
    def manager():
        try:
            yield
        finally:
            ctrl_c()
            time.sleep(0.01)
            left.append("all")

    with pytest.raises(KeyboardInterrupt), manager():
        pass
    assert left == ["all"]


def test_an_error_while_leaving_does_not_hide_ctrl_c():
    @managed
    def manager():
        try:
            yield
        finally:
            ctrl_c()
            raise ValueError("leaving failed")

    with pytest.raises(KeyboardInterrupt) as caught, manager():
        pass
    assert isinstance(caught.value.__context__, ValueError)


def test_a_handler_that_does_not_raise_lets_the_work_go_on():
    calls = []
    signal.signal(signal.SIGINT, lambda *_: calls.append(len(held)))
    try:
        with changing("a"), long("b"):
            ctrl_c()
            ctrl_c()
        assert calls == [3, 3]
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert not held


@pytest.mark.parametrize("disposition", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_process_that_does_not_hear_ctrl_c_at_all(disposition):
    signal.signal(signal.SIGINT, disposition)
    with changing("a"):
        assert signal.getsignal(signal.SIGINT) is disposition
    assert signal.signal(signal.SIGINT, signal.default_int_handler) is disposition


def test_other_threads_leave_signals_alone():
    seen = []

    def work():
        with long("b"):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
    assert not held


def test_errors_pass_and_can_be_kept_from_passing():
    @managed
    def forgiving():
        with contextlib.suppress(ValueError):
            yield

    with forgiving():
        raise ValueError
    with pytest.raises(KeyError) as caught, forgiving():
        raise KeyError("passes")
    assert caught.value.__context__ is None


def test_what_fails_while_it_is_entered_is_left():
    @managed
    def failing():
        with changing("a"):
            raise ValueError("at once")
        yield

    with pytest.raises(ValueError, match="at once"), failing():
        pass
    assert left == ["a"]


def test_a_name_and_a_docstring():
    assert changing.__name__ == "changing"
    assert changing.__doc__.startswith("One thing")
