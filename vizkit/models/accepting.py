"""What vizkit's functions take as a model: a name, a module, or a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image
from torch import Tensor, nn

from vizkit.errors import InputError, instance, shown
from vizkit.files import distinct
from vizkit.images import Transform
from vizkit.models.classifier import Classifier, classifier_of
from vizkit.models.loading import load
from vizkit.models.names import given_names
from vizkit.models.sources.timm_models import timm_transform
from vizkit.networks import network_of
from vizkit.results import Tap

# what `as_classifiers` accepts
Models = str | nn.Module | Classifier | Sequence[Any] | dict[str, Any]


def wrap(
    module: nn.Module,
    *,
    name: str | None = None,
    transform: Callable[[Image.Image], Tensor] | None = None,
    classes: Sequence[str] | None = None,
    stages: Sequence[str | Tap] | None = None,
) -> Classifier:
    """Make a `Classifier` of any network.

    Parameters
    ----------
    module : nn.Module
        Takes (N, 3, H, W), gives (N, K) logits. It is not changed and not moved. Of one that
        is wrapped (``torch.compile``, ``DataParallel``, …) the network inside is used.
    name : str, optional
        By default the class name.
    transform : callable, optional
        From a PIL image to a (3, H, W) tensor. By default what timm wrote into the module, or
        the usual 224 px, bilinear, ImageNet mean and standard deviation.
    classes : sequence of str, optional
        Names of the K outputs.
    stages : sequence of str or Tap, optional
        Module paths to use as stages; by default found.

    Returns
    -------
    Classifier
        Around the same module.

    Raises
    ------
    InputError
        If ``module`` is no network, or one that cannot be read (scripted, quantised, …), or
        another argument cannot be used.
    """
    if isinstance(module, Classifier):
        return module
    if not isinstance(module, nn.Module):
        raise InputError(f"wrap takes an nn.Module, not {type(module).__name__}")
    module = network_of(module)
    if name is not None:
        instance("name", name, str)
    names = given_names(classes)
    config = getattr(module, "pretrained_cfg", None) or {}
    if transform is None:
        transform = timm_transform(module) if config.get("input_size") else Transform()
    if not callable(transform):
        raise InputError(f"the transform must be a function, not {shown(transform)}")
    label = name or config.get("architecture") or type(module).__name__
    return classifier_of(label, module, transform, names, stages, "given module")


def as_classifier(model: Any) -> Classifier:
    """Accept a name, a module or a classifier.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        What vizkit's functions take as ``model``.

    Returns
    -------
    Classifier
        Loaded or wrapped where needed.
    """
    if isinstance(model, Classifier):
        return model
    if isinstance(model, str):
        return load(model)
    if isinstance(model, nn.Module):
        return wrap(model)
    raise InputError(f"a model is a name, an nn.Module or a Classifier, not {type(model).__name__}")


def as_classifiers(models: Models) -> list[Classifier]:
    """Accept one model or several; names that occur twice are numbered.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        A dict gives the names under which they appear.

    Returns
    -------
    list of Classifier
        With distinct names.

    Raises
    ------
    InputError
        If there is none, or one is no model.
    """
    if isinstance(models, dict):
        found = [_renamed(as_classifier(model), key) for key, model in models.items()]
    elif isinstance(models, Iterable) and not isinstance(models, str | nn.Module | Classifier):
        found = [as_classifier(model) for model in models]
    else:
        found = [as_classifier(models)]
    if not found:
        raise InputError("no models: the list is empty")
    names = distinct([classifier.name for classifier in found])
    return [
        classifier if name == classifier.name else _renamed(classifier, name)
        for classifier, name in zip(found, names, strict=True)
    ]


def _renamed(classifier: Classifier, name: str) -> Classifier:
    return replace(classifier, name=name)
