"""Pictures of results. Nothing here runs a network."""

from vizkit.plots.attributions import plot_attributions
from vizkit.plots.benchmark import plot_benchmark
from vizkit.plots.calibration import plot_calibration
from vizkit.plots.comparison import plot_comparison
from vizkit.plots.confusion import plot_confusion
from vizkit.plots.contrasts import plot_twins
from vizkit.plots.curves import plot_statistics, plot_training
from vizkit.plots.disagreement import plot_disagreement
from vizkit.plots.distributions import plot_distributions
from vizkit.plots.fields import plot_receptive_fields
from vizkit.plots.gallery import plot_gallery
from vizkit.plots.maps import plot_feature_maps
from vizkit.plots.neighbours import plot_neighbours
from vizkit.plots.patches import plot_patches
from vizkit.plots.probe import plot_probe
from vizkit.plots.scores import plot_faithfulness
from vizkit.plots.similarity import plot_similarity
from vizkit.plots.speed import plot_speed
from vizkit.plots.style import Picture
from vizkit.plots.tables import plot_predictions, plot_profile
from vizkit.plots.trust import plot_agreement, plot_curves, plot_randomisation

__all__ = [
    "Picture",
    "plot_agreement",
    "plot_attributions",
    "plot_benchmark",
    "plot_calibration",
    "plot_comparison",
    "plot_confusion",
    "plot_curves",
    "plot_disagreement",
    "plot_distributions",
    "plot_faithfulness",
    "plot_feature_maps",
    "plot_gallery",
    "plot_neighbours",
    "plot_patches",
    "plot_predictions",
    "plot_probe",
    "plot_profile",
    "plot_randomisation",
    "plot_receptive_fields",
    "plot_similarity",
    "plot_speed",
    "plot_statistics",
    "plot_training",
    "plot_twins",
]
