"""Interactive explorers for notebooks: fields and layout here, drawing in the browser."""

from vizkit.widgets.atlas import AtlasCanvas
from vizkit.widgets.canvas import StageCanvas
from vizkit.widgets.explorer import Explorer, explore
from vizkit.widgets.similarity import SimilarityExplorer, explore_similarity

__all__ = [
    "AtlasCanvas",
    "Explorer",
    "SimilarityExplorer",
    "StageCanvas",
    "explore",
    "explore_similarity",
]
