"""Damage to files, as hypothesis draws it, and how much of it a test tries."""

import os
import resource
import signal
import struct
import sys
import time

from hypothesis import HealthCheck, configuration, settings
from hypothesis import strategies as st

# how many damaged files each test reads in a long run: VIZKIT_FUZZ=100000 pytest tests/hostile
LONG = int(os.environ.get("VIZKIT_FUZZ", "0"))
# numbers that headers are not made for
NUMBERS = (0, 1, 2, 127, 128, 255, 256, 4095, 30_000, 32_767, 32_768, 65_535, 1 << 20, 99_999_999,
           2**31 - 1, 2**31, 2**32 - 1)  # fmt: skip
FORMS = ("<B", ">H", "<H", ">I", "<I", "<Q")
# seconds of work and bytes that a small file may take, far more than any does and far less than
# there are; and seconds until it is clear that nothing comes
SLOWEST, LARGEST, FOREVER = 20, 1 << 28, 300


def fuzzed(examples):
    """How a test is repeated: the same in every run, or longer and always another."""
    configuration.set_hypothesis_home_dir(os.devnull)
    return settings(
        max_examples=LONG or examples,
        derandomize=not LONG,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw, files):
    """One of some files, changed in a few places; most changes near its beginning."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        limit = draw(st.sampled_from((64, 512, len(data))))
        at = draw(st.integers(0, max(0, min(limit, len(data)) - 1)))
        draw(st.sampled_from(CHANGES))(draw, data, at, files)
    return bytes(data)


def _flip(draw, data, at, _):
    if data:
        data[at] ^= 1 << draw(st.integers(0, 7))


def _cut(draw, data, at, _):
    del data[at : at + draw(st.sampled_from((1, 2, 4, 16, len(data))))]


def _insert(draw, data, at, _):
    data[at:at] = draw(st.binary(min_size=1, max_size=16))


def _splice(draw, data, at, files):
    other = draw(st.sampled_from(files))
    start = draw(st.integers(0, len(other)))
    data[at : at + 64] = other[start : start + draw(st.integers(1, 256))]


def _double(draw, data, at, _):
    part = data[at : at + draw(st.integers(1, 256))]
    data[at:at] = part * draw(st.integers(1, 3))


def _number(draw, data, at, _):
    form = draw(st.sampled_from(FORMS))
    value = draw(st.sampled_from(NUMBERS)) % (1 << 8 * struct.calcsize(form))
    data[at : at + struct.calcsize(form)] = struct.pack(form, value)


CHANGES = (_flip, _flip, _number, _number, _cut, _insert, _splice, _double)


class Watched:
    """Fails if what is done within takes very long, or fills the memory."""

    def __enter__(self):
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(FOREVER)
        self.started, self.peak = time.process_time(), peak()

    def __exit__(self, *_):
        signal.alarm(0)
        assert time.process_time() - self.started < SLOWEST
        assert peak() - self.peak < LARGEST


def _late(*_):
    raise TimeoutError("it still waits")


def peak():
    """The most memory that this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
