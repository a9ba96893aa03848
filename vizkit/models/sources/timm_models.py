"""timm's models."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from vizkit import zoo
from vizkit.errors import WeightsError, unknown
from vizkit.images import Transform
from vizkit.models.names import imagenet_classes
from vizkit.models.reach import reachable, require_cached, unreachable
from vizkit.models.sources.wanted import Parts, Wanted


def timm_model(wanted: Wanted) -> Parts:
    """Build a model of timm's.

    Parameters
    ----------
    wanted : Wanted
        Which, and with which weights.

    Returns
    -------
    Parts
        Of the network.

    Raises
    ------
    InputError
        If there is none of this name.
    WeightsError
        If weights are not published, not within reach, or do not fit.
    """
    import timm

    name = wanted.name
    if not timm.is_model(name):
        known = [*(f"demo/{each}" for each in zoo.NAMES), *timm.list_models()]
        raise unknown("model", name, known, 12)
    tags = timm.models.get_arch_pretrained_cfgs(name.partition(".")[0])
    if "." in name and name not in tags:
        raise unknown("pretrained weights", name, tags)
    if wanted.pretrained:
        config = timm.get_pretrained_cfg(name)
        if config is None or not (config.hf_hub_id or config.url or config.file):
            raise WeightsError(f"timm has no pretrained weights for {name!r}: use weights=None")
        _require_weights(name, config)
        module = timm.create_model(name, pretrained=True)
        source = f"timm, {config.hf_hub_id or config.url}"
    else:
        module = timm.create_model(name, pretrained=False, **wanted.count)
        source = wanted.fill(module)
    if wanted.use_test_size and not (module.pretrained_cfg or {}).get("test_input_size"):
        wanted.refuse_test_size()
    # other numbers of outputs have no names that are known
    own = imagenet_classes() if module.num_classes == 1000 else ("",) * module.num_classes
    names = wanted.names_of(own)
    transform = timm_transform(module, wanted.use_test_size)
    return Parts(module, transform, names if all(names) else (), source)


def timm_transform(module: nn.Module, use_test_size: bool = False) -> Transform:
    """Read a timm network's own preprocessing from its configuration.

    Parameters
    ----------
    module : nn.Module
        With a ``pretrained_cfg``.
    use_test_size : bool
        The size and crop at which it was tested, where they are not those of training.

    Returns
    -------
    Transform
        Its size, interpolation, crop, mean and standard deviation.
    """
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(module, use_test_size=use_test_size)
    _, height, width = config["input_size"]
    crop = config["crop_pct"]
    return Transform(
        size=(height, width),
        resize=(math.floor(height / crop), math.floor(width / crop)),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"] if config["interpolation"] != "random" else "bicubic",
        squash=config.get("crop_mode") == "squash",
    )


def _require_weights(name: str, config: Any) -> None:
    """Raise at once if weights are neither in the cache nor within reach."""
    from huggingface_hub import constants, try_to_load_from_cache

    if not config.hf_hub_id:
        require_cached(name, config.url)
        return
    files = ("model.safetensors", "pytorch_model.bin")
    if any(isinstance(try_to_load_from_cache(config.hf_hub_id, each), str) for each in files):
        return
    if constants.HF_HUB_OFFLINE or not reachable(constants.ENDPOINT):
        raise unreachable(name, constants.HF_HUB_CACHE)
