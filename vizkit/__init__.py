"""See inside image classifiers, stage by stage, and compare them fairly.

>>> import vizkit
>>> model = vizkit.load("demo/vgg16_bn")
>>> vizkit.show_feature_maps(model, vizkit.samples()["rocket"])  # doctest: +SKIP

Names are loaded when first used, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Attributions": "results",
    "BusyError": "errors",
    "Classifier": "models",
    "Comparison": "results",
    "ConvergenceWarning": "errors",
    "Disagreement": "results",
    "Embeddings": "results",
    "Evaluation": "results",
    "FeatureMaps": "results",
    "InputError": "errors",
    "NetworkError": "errors",
    "NotFiniteWarning": "errors",
    "OverwrittenError": "hooks",
    "Patches": "results",
    "ReceptiveFields": "results",
    "Recipe": "training",
    "LinearProbe": "results",
    "Similarity": "results",
    "StageStatistics": "results",
    "Tap": "results",
    "Transform": "images",
    "TooLargeError": "errors",
    "UnknownNameError": "errors",
    "UnreadableWarning": "errors",
    "VizkitError": "errors",
    "WeightsError": "errors",
    "WriteError": "errors",
    "agreement": "attribution",
    "attribute": "attribution",
    "capture": "forward",
    "compare": "comparing",
    "describe": "statistics",
    "disagreement": "comparing",
    "embed": "prediction",
    "embeddings": "prediction",
    "evaluate": "evaluation",
    "evaluated": "evaluation",
    "explore": "widgets",
    "explore_similarity": "widgets",
    "export_attributions": "exporting",
    "faithfulness": "attribution",
    "find_stages": "stages",
    "fold_batch_norm": "folding",
    "linear_probe": "statistics",
    "list_models": "models",
    "list_recipes": "training",
    "load": "models",
    "model_table": "profiling",
    "neighbours": "prediction",
    "perturbation_curves": "attribution",
    "predict": "prediction",
    "profile": "profiling",
    "randomisation": "attribution",
    "read_boxes": "boxes",
    "read_recipe": "training",
    "read_statistics": "statistics",
    "rebuild_report": "reports",
    "receptive_fields": "statistics",
    "report": "reports",
    "samples": "images",
    "show_agreement": "show",
    "show_attributions": "show",
    "show_comparison": "show",
    "show_disagreement": "show",
    "show_distributions": "show",
    "show_faithfulness": "show",
    "show_feature_maps": "show",
    "show_linear_probe": "show",
    "show_neighbours": "show",
    "show_randomisation": "show",
    "show_receptive_fields": "show",
    "show_similarity": "show",
    "show_statistics": "show",
    "show_top_patches": "show",
    "similarity": "cka",
    "top_patches": "statistics",
    "train": "training",
    "wrap": "models",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vizkit' has no attribute {name!r}")
    # kept, so that the next look-up does not come here
    value = globals()[name] = getattr(import_module(f"vizkit.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
