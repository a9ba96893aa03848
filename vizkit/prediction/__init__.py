"""What a network says about images, the embedding it says it from, and what lies near in it."""

from vizkit.prediction.embedding import embed, embeddings
from vizkit.prediction.nearest import neighbours
from vizkit.prediction.predicting import predict, predictions
from vizkit.prediction.ranking import top

__all__ = ["embed", "embeddings", "neighbours", "predict", "predictions", "top"]
