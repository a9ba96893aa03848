"""A VGG's weights in three layouts that hold the same numbers under other names and shapes.

torchvision's has a linear head, timm's the same head as convolutions, mmpretrain's numbers the
convolutions with their normalisation and activation as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# torchvision's name, timm's name
_VGG_HEAD = (
    ("classifier.0", "pre_logits.fc1"),
    ("classifier.3", "pre_logits.fc2"),
    ("classifier.6", "head.fc"),
)
_BLOCK = re.compile(r"backbone\.features\.(\d{1,3})\.(conv|bn)\.(.+)")
_VGG_DEPTHS = {8: 11, 10: 13, 13: 16, 16: 19}


def is_mmpretrain(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the weights of mmpretrain's or mmcls' VGG.

    Parameters
    ----------
    state : mapping of str to Tensor
        What a file holds.

    Returns
    -------
    bool
        By the keys alone.
    """
    return any(_BLOCK.fullmatch(key) for key in state)


def from_mmpretrain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of mmpretrain's VGG as torchvision does.

    mmpretrain counts blocks of convolution, normalisation and activation, and pools, one each;
    torchvision counts every layer.

    Parameters
    ----------
    state : mapping of str to Tensor
        With keys such as ``backbone.features.0.conv.weight``.

    Returns
    -------
    dict of str to Tensor
        With keys such as ``features.0.weight``.
    """
    found = {key: _BLOCK.fullmatch(key) for key in state}
    blocks = sorted({int(match[1]) for match in found.values() if match})
    layers = 3 if any(match and match[2] == "bn" for match in found.values()) else 2
    renamed = {}
    for key, value in state.items():
        name, match = key.removeprefix("backbone."), found[key]
        if match:
            before = blocks.index(int(match[1]))
            pools = int(match[1]) - before
            name = f"features.{layers * before + pools + (match[2] == 'bn')}.{match[3]}"
        renamed[name] = value
    return renamed


def translate(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and reshape a VGG head between torchvision's and timm's layout.

    Parameters
    ----------
    state : mapping of str to Tensor
        What a file holds.
    wanted : mapping of str to Tensor
        The network's own state dict, which decides the layout.

    Returns
    -------
    dict of str to Tensor
        ``state`` itself where nothing needs translating.
    """
    renamed = dict(state)
    for theirs, ours in (*_VGG_HEAD, *((b, a) for a, b in _VGG_HEAD)):
        for kind in ("weight", "bias"):
            old, new = f"{theirs}.{kind}", f"{ours}.{kind}"
            if old in renamed and new in wanted and new not in renamed and old not in wanted:
                value = renamed.pop(old)
                same_size = value.numel() == wanted[new].numel()
                renamed[new] = value.reshape(wanted[new].shape) if same_size else value
    return renamed


def vgg_name(state: Mapping[str, Tensor]) -> str:
    """Recognise a VGG by its keys.

    Parameters
    ----------
    state : mapping of str to Tensor
        In torchvision's or timm's layout.

    Returns
    -------
    str
        Such as ``"vgg16_bn"``; empty for anything else.
    """
    found = [key for key, value in state.items() if re.fullmatch(r"features\.\d+\.weight", key)]
    depth = _VGG_DEPTHS.get(sum(state[key].ndim == 4 for key in found))
    if depth is None:
        return ""
    return f"vgg{depth}_bn" if any(state[key].ndim == 1 for key in found) else f"vgg{depth}"
