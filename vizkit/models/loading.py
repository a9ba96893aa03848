"""Load a classifier by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vizkit.checkpoints import read_checkpoint
from vizkit.errors import InputError, flags, instance, path_of, shown, unknown
from vizkit.interrupts import surely
from vizkit.models.classifier import Classifier, classifier_of
from vizkit.models.devices import device_of
from vizkit.models.names import given_names, one_spelling
from vizkit.models.sources import DEFAULT, SOURCES, Wanted


def load(
    name: str,
    *,
    weights: str | Path | None = DEFAULT,
    device: str = "auto",
    classes: Sequence[str] | None = None,
    use_test_size: bool = False,
    ema: bool = True,
) -> Classifier:
    """Load a classifier in evaluation mode.

    Parameters
    ----------
    name : str
        ``"demo/vgg16_bn"`` (bundled, offline), a timm name (``"vgg16_bn"``,
        ``"vgg19.tv_in1k"``, ``"ese_vovnet19b_dw"``), ``"torchvision/vgg16_bn"``, or
        ``"mmpretrain/vgg16_bn"``.
    weights : "default", None, or a path
        The pretrained weights, none (random), or a ``.pth`` or ``.safetensors`` file: a state
        dict, or a checkpoint of timm's, torchvision's, mmpretrain's (mmcls') or vizkit's
        training. Files are recognised by their keys, loaded strictly, and never run code.
    device : str
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    classes : sequence of str, optional
        Names of the outputs; by default those in the file, or those of the weights
        (ImageNet-1k, or the demo's ten). Their number sets the width of an untrained or
        file-loaded model's last layer.
    use_test_size : bool
        See photos at the size at which the weights were tested, where timm knows one:
        ``"ese_vovnet19b_dw"`` at 288 px and crop 0.95.
    ema : bool
        Where a file holds the moving average of the weights beside them: load the average.

    Returns
    -------
    Classifier
        In evaluation mode.

    Raises
    ------
    InputError
        If the name or device is unknown, or there is no test size.
    WeightsError
        If weights do not fit, or are neither cached nor reachable; the message says what to do.
    """
    instance("name", name, str)
    flags(use_test_size=use_test_size, ema=ema)
    own, path = given_names(classes), _file(weights)
    family, _, short = name.rpartition("/")
    if family not in SOURCES:
        raise unknown("source", family, [key for key in SOURCES if key])
    target = device_of(device)
    # weights made in the user's inference mode could never take part in a gradient
    with surely(torch.inference_mode(mode=False)):
        given = None if path is None else read_checkpoint(path, ema=ema)
        names = own or (one_spelling(given.classes) if given else ())
        wanted = Wanted(short, weights == DEFAULT, given, str(path or ""), names, use_test_size)
        parts = SOURCES[family](wanted)
    module = parts.module.to(target).eval()
    found = classifier_of(name, module, parts.transform, parts.classes, None, parts.source)
    recipe: dict[str, Any] = {"name": name, "weights": weights if path is None else str(path)}
    recipe["classes"] = list(own) or None
    # what is not asked for is not said
    recipe |= {"use_test_size": True} if use_test_size else {}
    recipe |= {} if ema else {"ema": False}
    return replace(found, recipe=recipe)


def _file(weights: str | Path | None) -> Path | None:
    """Where weights are read from; None for those of the source, and for none at all."""
    if weights is None or (isinstance(weights, str) and weights == DEFAULT):
        return None
    if not isinstance(weights, str | Path) or not str(weights):
        raise InputError(f"weights are 'default', None or a file, not {shown(weights)}")
    return path_of("weights", weights).resolve()
