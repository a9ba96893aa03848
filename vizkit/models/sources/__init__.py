"""Where networks come from: one file a library, each with a function that builds one by name."""

from vizkit.models.sources.demo import demo_model
from vizkit.models.sources.mmpretrain_models import mmpretrain_model
from vizkit.models.sources.timm_models import timm_model
from vizkit.models.sources.torchvision_models import torchvision_model
from vizkit.models.sources.wanted import DEFAULT, Parts, Wanted

# by what stands before the slash of a name
SOURCES = {
    "": timm_model,
    "timm": timm_model,
    "torchvision": torchvision_model,
    "mmpretrain": mmpretrain_model,
    "demo": demo_model,
}

__all__ = ["DEFAULT", "SOURCES", "Parts", "Wanted"]
