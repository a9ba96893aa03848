"""Start a network from a trained one, layer by layer name, where their shapes agree.

As the VGG paper trained its deeper networks (arXiv:1409.1556, section 3.1): layers that the
shallower network has are copied, the others keep their random initialisation.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from vizkit.errors import WeightsError
from vizkit.stages import find_stages


def inherit(module: nn.Module, donor: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Copy weights from a donor's state into a network, by layer name.

    Parameters
    ----------
    module : nn.Module
        The network to start; changed in place.
    donor : nn.Module
        A network of the donor's architecture, which says how its layers are called.
    state : mapping of str to Tensor
        The donor's weights.

    Returns
    -------
    list of str
        Keys of ``module``'s state that were filled.

    Raises
    ------
    WeightsError
        If nothing fits.
    """
    theirs = {path: name for name, path in _layer_paths(donor).items()}
    ours = _layer_paths(module)
    wanted = module.state_dict()
    filled = {}
    for key, value in state.items():
        path, _, kind = key.rpartition(".")
        target = f"{ours.get(theirs[path])}.{kind}" if path in theirs else key
        if target in wanted and wanted[target].shape == value.shape:
            filled[target] = value.to(wanted[target].dtype)
    if not filled:
        raise WeightsError("none of the donor's layers fits the network")
    module.load_state_dict({**wanted, **filled})
    return list(filled)


def _layer_paths(module: nn.Module) -> dict[str, str]:
    return {tap.label: tap.module for tap in find_stages(module, "layers")}
