"""One call from models and images to a picture: run, then draw."""

from vizkit.show.comparisons import show_comparison, show_disagreement, show_neighbours
from vizkit.show.explanations import (
    show_agreement,
    show_attributions,
    show_faithfulness,
    show_randomisation,
)
from vizkit.show.maps import show_feature_maps, show_receptive_fields, show_top_patches
from vizkit.show.measures import (
    show_distributions,
    show_linear_probe,
    show_similarity,
    show_statistics,
)

__all__ = [
    "show_agreement",
    "show_attributions",
    "show_comparison",
    "show_disagreement",
    "show_distributions",
    "show_faithfulness",
    "show_feature_maps",
    "show_linear_probe",
    "show_neighbours",
    "show_randomisation",
    "show_receptive_fields",
    "show_similarity",
    "show_statistics",
    "show_top_patches",
]
