"""Slow work: results arrive where they were asked for, and what is unwanted stops."""

import asyncio
import threading
import time

import pytest
import torch
from torch import nn

from vizkit.errors import InputError
from vizkit.hooks import evaluating
from vizkit.widgets.work import Cancelled, Events, Work


class Told:
    """Everything that a piece of work tells, and in which thread."""

    def __init__(self):
        self.steps, self.failures, self.finished, self.threads = [], [], 0, set()
        self.work = Work(Events(self.step, self.failed, self.done))

    def step(self, text, share):
        self.threads.add(threading.current_thread())
        self.steps.append((text, share))

    def failed(self, words):
        self.threads.add(threading.current_thread())
        self.failures.append(words)

    def done(self):
        self.finished += 1


@pytest.fixture
def told():
    return Told()


def forever(stopped):
    """Run a layer until nobody wants it, and note where it stopped."""

    def run(step):
        layer, pixels = nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2)
        try:
            while True:
                layer(pixels)
                time.sleep(0.001)
        except Cancelled:
            stopped.set()
            raise

    return run


def test_the_result_arrives_in_the_thread_that_waits(told):
    results = []

    def run(step):
        step("half", 0.5)
        return threading.current_thread()

    told.work.start(run, lambda result: results.append((result, threading.current_thread())))
    assert told.work.busy
    told.work.wait(10)
    ((worker, here),) = results
    assert worker is not here is threading.current_thread()
    assert told.steps == [("half", 0.5)]
    assert told.threads == {threading.current_thread()}
    assert told.finished == 1
    assert not told.work.busy


def test_the_result_arrives_in_the_loop_that_asked(told):
    results = []

    async def ask():
        told.work.start(lambda _step: 1, lambda _: results.append(threading.current_thread()))
        while told.work.busy:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(ask(), 10))
    assert results == [threading.current_thread()]


def test_a_closed_loop_does_not_lose_the_result(told):
    go, results = threading.Event(), []

    async def ask():
        told.work.start(lambda _step: go.wait(10), results.append)

    asyncio.run(ask())
    go.set()
    told.work.wait(10)
    assert results == [True]


def test_a_newer_request_replaces_an_older(told):
    stopped, results = threading.Event(), []
    told.work.start(forever(stopped), results.append)
    told.work.start(lambda _step: "newer", results.append)
    told.work.wait(10)
    assert results == ["newer"]
    assert stopped.wait(10)
    assert told.failures == []


def test_an_older_result_that_is_ready_already_is_dropped(told):
    ready, results = threading.Event(), []

    def run(_step):
        ready.set()
        return "older"

    told.work.start(run, results.append)
    assert ready.wait(10)
    time.sleep(0.05)
    told.work.start(lambda _step: "newer", results.append)
    told.work.wait(10)
    assert results == ["newer"]


def test_cancel_stops_at_the_next_layer(told):
    stopped, results = threading.Event(), []
    told.work.start(forever(stopped), results.append)
    assert told.work.cancel()
    assert stopped.wait(10)
    assert not told.work.busy
    assert not told.work.cancel()
    assert (results, told.failures, told.finished) == ([], [], 1)


def test_steps_stop_work_without_layers(told):
    stopped = threading.Event()

    def run(step):
        try:
            while True:
                step("on", 0.0)
                time.sleep(0.001)
        except Cancelled:
            stopped.set()
            raise

    told.work.start(run, pytest.fail)
    told.work.cancel()
    assert stopped.wait(10)


def test_errors_are_told_in_words(told):
    def refuse(_step):
        raise InputError("unknown class 'x'")

    def break_down(_step):
        raise KeyError("gone")

    for run in (refuse, break_down):
        told.work.start(run, pytest.fail)
        told.work.wait(10)
    assert told.failures == ["unknown class 'x'", "KeyError: 'gone'"]
    assert told.finished == 2


def test_a_result_that_cannot_be_shown_is_told_too(told):
    def show(_result):
        raise ValueError("no room")

    told.work.start(lambda _step: 1, show)
    told.work.wait(10)
    assert told.failures == ["ValueError: no room"]
    assert not told.work.busy


def test_waiting_has_a_limit(told):
    stopped = threading.Event()
    told.work.start(forever(stopped), pytest.fail)
    with pytest.raises(TimeoutError, match="still busy"):
        told.work.wait(0.1)
    told.work.cancel()
    assert stopped.wait(10)


def test_a_stopped_network_is_as_it_was(told, unchanged):
    stopped, started = threading.Event(), threading.Event()
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).train()

    def run(step):
        with evaluating(network):
            started.set()
            forever(stopped)(step)

    with unchanged(network):
        told.work.start(run, pytest.fail)
        assert started.wait(10)
        told.work.cancel()
        assert stopped.wait(10)
        with evaluating(network):
            pass
