"""Pictures of results. Nothing here runs a network."""

from vizkit.plots.attributions import plot_attributions
from vizkit.plots.comparison import plot_comparison
from vizkit.plots.curves import plot_statistics, plot_training
from vizkit.plots.distributions import plot_distributions
from vizkit.plots.fields import plot_receptive_fields
from vizkit.plots.maps import plot_feature_maps
from vizkit.plots.patches import plot_patches
from vizkit.plots.probe import plot_probe
from vizkit.plots.similarity import plot_similarity
from vizkit.plots.style import Picture
from vizkit.plots.tables import plot_predictions, plot_profile
from vizkit.plots.trust import plot_agreement, plot_curves, plot_randomisation

__all__ = [
    "Picture",
    "plot_agreement",
    "plot_attributions",
    "plot_comparison",
    "plot_curves",
    "plot_distributions",
    "plot_feature_maps",
    "plot_patches",
    "plot_predictions",
    "plot_probe",
    "plot_profile",
    "plot_randomisation",
    "plot_receptive_fields",
    "plot_similarity",
    "plot_statistics",
    "plot_training",
]
