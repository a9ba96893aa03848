"""What is passed from step to step: frozen records with lookup and a useful repr."""

from vizkit.results.attributions import Attributions
from vizkit.results.maps import FeatureMaps
from vizkit.results.statistics import StageStatistics
from vizkit.results.taps import Seen, Tap, TapMapping, find_tap

__all__ = [
    "Attributions",
    "FeatureMaps",
    "Seen",
    "StageStatistics",
    "Tap",
    "TapMapping",
    "find_tap",
]
