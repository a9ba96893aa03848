"""Which places matter for a class: one decorated function per method, one pass for all stages."""

from vizkit.attribution import (  # noqa: F401  (importing a file registers its methods)
    cam,
    channels,
    deeplift,
    guided,
    perturbation,
    pixel,
    relevance,
)
from vizkit.attribution.curves import areas, perturbation_curves
from vizkit.attribution.pairs import agreement
from vizkit.attribution.query import Probe, Query
from vizkit.attribution.registry import METHODS, Method, method
from vizkit.attribution.run import attribute
from vizkit.attribution.sanity import Randomisation, randomisation
from vizkit.attribution.trust import faithfulness

__all__ = [
    "METHODS",
    "Method",
    "Probe",
    "Query",
    "Randomisation",
    "agreement",
    "areas",
    "attribute",
    "faithfulness",
    "method",
    "perturbation_curves",
    "randomisation",
]
