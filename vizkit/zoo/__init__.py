"""The demo family: small, trained, bundled models for trying things offline.

Eight VGGs at a quarter of the paper's widths and one half-width VoVNet-v2, all for 128 px
input. They are timm's own classes with other numbers in them, so that module paths, taps and
layer names are those of the full-size models. ``MODEL_CARD.md`` beside this file says what
they were trained on, how, and what they are (and are not) for.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.layers.classifier import ClassifierHead
from timm.models.vgg import VGG, ConvMlp, cfgs
from timm.models.vovnet import VovNet
from torch import nn

VGG_LAYERS = cfgs
WIDTH_DIVISOR = 4
HEAD_WIDTH = 128
INPUT_SIZE = 128
VOVNET_LAYERS = {
    "stem_chs": [32, 32, 32],
    "stage_conv_chs": [64, 80, 96, 112],
    "stage_out_chs": [128, 256, 384, 512],
    "layer_per_block": 3,
    "block_per_stage": [1, 1, 1, 1],
    "residual": True,
    "depthwise": True,
    "attn": "ese",
}
CONFIG: dict[str, Any] = {
    "input_size": (3, INPUT_SIZE, INPUT_SIZE),
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bilinear",
    "crop_pct": 0.875,
    "crop_mode": "center",
}
NAMES = (
    *(f"{depth}{suffix}" for depth in VGG_LAYERS for suffix in ("", "_bn")),
    "vovnet19b",
)


@cache
def recipes() -> dict[str, Any]:
    """Read how each bundled model was trained.

    Returns
    -------
    dict
        ``classes`` (list of str) and ``models`` (name -> training options), as in
        ``recipes.json``.
    """
    text = (files(__name__) / "recipes.json").read_text(encoding="utf-8")
    recipe: dict[str, Any] = json.loads(text)
    return recipe


def results() -> list[dict[str, Any]]:
    """Return the bundled models' measured accuracies, in the columns of the model table.

    Returns
    -------
    list of dict
        name, params, top1, top5 (percent), input_size (pixels), reference.
    """
    return [
        {
            "name": f"demo/{name}",
            "params": entry["params"],
            "top1": entry["top1"],
            "top5": entry["top5"],
            "input_size": INPUT_SIZE,
            "reference": "Imagenette validation photos",
        }
        for name, entry in recipes()["models"].items()
    ]


def weights_path(name: str) -> Path:
    """Return the path of a demo model's bundled weights.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Returns
    -------
    Path
        A float16 safetensors file.
    """
    return Path(str(files(__name__) / "weights" / f"{name}.safetensors"))


def build(name: str, num_classes: int = 10) -> nn.Module:
    """Build one demo architecture, freshly initialised.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    num_classes : int
        Width of the last layer.

    Returns
    -------
    nn.Module
        A timm ``VGG`` or ``VovNet`` in training mode.
    """
    model: nn.Module
    if name == "vovnet19b":
        model = VovNet(VOVNET_LAYERS, num_classes=num_classes)
    else:
        model = _build_vgg(name, num_classes)
    config = {**CONFIG, "architecture": name, "num_classes": num_classes}
    model.pretrained_cfg = config  # type: ignore[assignment]
    return model


def load(name: str) -> nn.Module:
    """Build one demo model and fill in its bundled weights.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Returns
    -------
    nn.Module
        In evaluation mode, float32.
    """
    model = build(name)
    state = {
        key: value.float() if value.is_floating_point() else value
        for key, value in load_file(weights_path(name)).items()
    }
    model.load_state_dict(state, strict=True)
    return model.eval()


def _build_vgg(name: str, num_classes: int) -> VGG:
    depth, _, norm = name.partition("_")
    layers = [v if v == "M" else int(v) // WIDTH_DIVISOR for v in VGG_LAYERS[depth]]
    # timm fixes the head at 4096 wide and 7x7; on the meta device that costs nothing to replace
    meta = torch.device("meta")
    model = VGG(layers, num_classes, norm_layer=nn.BatchNorm2d if norm else None, device=meta)
    last_map = INPUT_SIZE // 32
    model.head_hidden_size = HEAD_WIDTH
    model.pre_logits = ConvMlp(model.num_features, HEAD_WIDTH, last_map, drop_rate=0.0, device=meta)
    model.head = ClassifierHead(HEAD_WIDTH, num_classes, device=meta)
    model.to_empty(device="cpu")
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    model._initialize_weights()  # noqa: SLF001  (the paper's initialisation, as timm applies it)
    return model
