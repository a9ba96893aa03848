"""Load weights into a network; every key must find its place, or nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vizkit.checkpoints.layouts import translate, vgg_name
from vizkit.checkpoints.wording import few
from vizkit.errors import WeightsError

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def fit(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a network, translating VGG layouts; every key must find its place.

    Only the batch counters of BatchNorm may be absent, all of them together: files from before
    PyTorch 0.4.1 have none, and the network keeps its own.

    Parameters
    ----------
    module : nn.Module
        The network; unchanged if the weights do not fit.
    state : mapping of str to Tensor
        Weights in torchvision's or timm's layout.
    source : str
        Where they come from, for messages.

    Raises
    ------
    WeightsError
        If keys are missing or left over, shapes or kinds of number differ, or a number is not
        finite; the message names the first few.
    """
    wanted = module.state_dict()
    given = translate(state, wanted)
    spared = _absent_counters(module, given)
    missing = [key for key in wanted if key not in given and key not in spared]
    extra = [key for key in given if key not in wanted]
    both = [key for key in wanted if key in given]
    other = {key: wanted[key] for key in both if given[key].shape != wanted[key].shape}
    kinds = [key for key in both if _kind(given[key]) != _kind(wanted[key])]
    # others may be of any size, and are refused anyway
    alike = [key for key in both if key not in other and key not in kinds]
    endless = [key for key in alike if not given[key].to(wanted[key].dtype).isfinite().all()]
    shapes = [f"{key} is {tuple(given[key].shape)}, not {tuple(other[key].shape)}" for key in other]
    problems = [
        *([f"missing {few(missing)}"] if missing else []),
        *([f"left over {few(extra)}"] if extra else []),
        *([f"other shapes: {few(shapes)}"] if shapes else []),
        *([f"another kind of number: {few(kinds)}"] if kinds else []),
        *([f"NaN or infinity in {few(endless)}"] if endless else []),
    ]
    if problems:
        hint = _hint(given, wanted, [*missing, *extra], list(other))
        raise WeightsError(
            f"{source} does not fit {type(module).__name__}: {'; '.join(problems)}{hint}"
        )
    module.load_state_dict({key: given.get(key, wanted[key]) for key in wanted}, strict=True)


def _hint(
    given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], keys: list[str], shapes: list[str]
) -> str:
    """Say what to do, where it can be told from what differs."""
    theirs, ours = vgg_name(given), vgg_name(wanted)
    if theirs != ours and theirs:
        return f". These are weights of {theirs}"
    if any(key.startswith("backbone.") for key in given.keys() - wanted.keys()):
        return ". Of mmpretrain's networks only VGGs are converted"
    part = list(wanted)[-1].rpartition(".")[0]
    if keys or {key.rpartition(".")[0] for key in shapes} != {part}:
        return ""
    file, network = (len(each[f"{part}.weight"]) for each in (given, wanted))
    return f". The file has {file} classes, the network {network}: give the {file} names as classes"


def _kind(value: Tensor) -> str:
    if value.is_floating_point():
        return "float"
    return "bool" if value.dtype == torch.bool else "integer"


def _absent_counters(module: nn.Module, given: Mapping[str, Tensor]) -> set[str]:
    counters = {
        f"{name}.num_batches_tracked".removeprefix(".")
        for name, part in module.named_modules(remove_duplicate=False)
        if isinstance(part, _BATCH_NORMS)
    }
    return set() if counters & given.keys() else counters
