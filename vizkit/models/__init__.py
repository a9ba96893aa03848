"""Networks by name, from a file, or the user's own, each with its transform, classes and stages."""

from vizkit.models.accepting import Models, as_classifier, as_classifiers, wrap
from vizkit.models.classifier import Classifier
from vizkit.models.devices import device_of
from vizkit.models.listing import list_models
from vizkit.models.loading import load
from vizkit.models.names import imagenet_classes
from vizkit.models.reach import reachable
from vizkit.models.sources import DEFAULT
from vizkit.models.sources.timm_models import timm_transform

__all__ = [
    "DEFAULT",
    "Classifier",
    "Models",
    "as_classifier",
    "as_classifiers",
    "device_of",
    "imagenet_classes",
    "list_models",
    "load",
    "reachable",
    "timm_transform",
    "wrap",
]
