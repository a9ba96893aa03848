"""What is passed from step to step: frozen records with lookup and a useful repr."""

from vizkit.results.attributions import Attributions
from vizkit.results.axis import Axis, align
from vizkit.results.comparison import Compared, Comparison
from vizkit.results.disagreement import Disagreement
from vizkit.results.embeddings import Embeddings
from vizkit.results.evaluation import Evaluation
from vizkit.results.fields import ReceptiveFields
from vizkit.results.judged import Judged
from vizkit.results.maps import FeatureMaps
from vizkit.results.patches import Patches
from vizkit.results.probe import LinearProbe
from vizkit.results.similarity import Similarity
from vizkit.results.statistics import StageStatistics
from vizkit.results.taps import Seen, Tap, TapMapping, find_tap

__all__ = [
    "Attributions",
    "Axis",
    "Compared",
    "Comparison",
    "Disagreement",
    "Embeddings",
    "Evaluation",
    "FeatureMaps",
    "Judged",
    "LinearProbe",
    "Patches",
    "ReceptiveFields",
    "Seen",
    "Similarity",
    "StageStatistics",
    "Tap",
    "TapMapping",
    "align",
    "find_tap",
]
