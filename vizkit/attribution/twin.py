"""A copy of a network for methods that rewire it, so that the network itself is never touched."""

from __future__ import annotations

from copy import deepcopy

from torch import nn

from vizkit.errors import InputError


def twin(module: nn.Module, *, own_weights: bool = False) -> nn.Module:
    """Copy a network's modules, without in-place work.

    Parameters
    ----------
    module : nn.Module
        The network.
    own_weights : bool
        Whether the copy may change its weights; otherwise it shares the network's.

    Returns
    -------
    nn.Module
        To hook, change and throw away.

    Raises
    ------
    InputError
        If the network's code does not allow copies.
    """
    shared = [] if own_weights else [*module.parameters(), *module.buffers()]
    try:
        copy = deepcopy(module, {id(tensor): tensor for tensor in shared})
    except Exception as error:
        raise InputError(f"{type(module).__name__} cannot be copied: {error}") from error
    for submodule in copy.modules():
        if getattr(submodule, "inplace", False) is True:
            setattr(submodule, "inplace", False)  # noqa: B010  (not every module has it)
    return copy
