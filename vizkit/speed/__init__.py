"""How fast networks run and how much memory they take, on the user's own device."""

from vizkit.speed.measuring import measure, throughput
from vizkit.speed.settings import LAYOUTS, PRECISIONS, Setting
from vizkit.speed.timing import interleaved, thread_limit

__all__ = [
    "LAYOUTS",
    "PRECISIONS",
    "Setting",
    "interleaved",
    "measure",
    "thread_limit",
    "throughput",
]
