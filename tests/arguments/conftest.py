"""What the tests of arguments share: small good calls, and a limit for whatever does not return."""

import signal

import pytest
from good_calls import World

# seconds that one test may take: a wrong argument must not keep anybody waiting
_LIMIT = 120


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def _no_waiting():
    if not hasattr(signal, "setitimer"):
        yield
        return

    def late(*_args):
        raise TimeoutError(f"still busy after {_LIMIT} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _LIMIT)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
