"""Which places matter for a class: one decorated function per method, one pass for all stages."""

from vizkit.attribution import cam, pixel  # noqa: F401  (importing a file registers its methods)
from vizkit.attribution.registry import METHODS, Method, Probe, method
from vizkit.attribution.run import attribute

__all__ = ["METHODS", "Method", "Probe", "attribute", "method"]
