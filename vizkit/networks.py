"""Which modules vizkit can read: wrappers are taken off, and what hides its layers is refused."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

from vizkit.errors import InputError

# what runs another module and adds nothing that can be read
_WRAPPERS = (DataParallel, DistributedDataParallel, AveragedModel)
# by the module of their class: importing them would cost more than asking
_QUANTISED = (
    "torch.ao.nn.quantized",
    "torch.ao.nn.intrinsic.quantized",
    "torch.ao.nn.sparse.quantized",
    "torch.nn.quantized",
)


def network_of(module: nn.Module) -> nn.Module:
    """Take off what is wrapped around a network, and refuse what cannot be read.

    ``torch.compile``, ``DataParallel``, ``DistributedDataParallel`` and ``AveragedModel`` are
    taken off: the network inside has the same weights and gives the same answers.

    Parameters
    ----------
    module : nn.Module
        As the user has it.

    Returns
    -------
    nn.Module
        The network itself.

    Raises
    ------
    InputError
        If its layers cannot be read or run from outside: scripted, traced, exported, quantised,
        sharded, not initialised, or a container that runs nothing. The message says what to
        give instead.
    """
    while True:
        inside = getattr(module, "_orig_mod", None)  # what torch.compile was given
        if isinstance(module, _WRAPPERS):
            inside = module.module
        if not isinstance(inside, nn.Module):
            break
        module = inside
    for reason in _reasons(module):
        raise InputError(f"{type(module).__name__} {reason}")
    return module


def _reasons(module: nn.Module) -> Iterator[str]:
    """Say why a network cannot be read, and what to give instead."""
    # scripted and traced ones: their submodules take no hooks
    if hasattr(module, "_c"):
        yield "is TorchScript, whose layers cannot be read; give the nn.Module it was made from"
    if isinstance(module, GraphModule) and not _calls_modules(module):
        yield "is an exported graph without layers; give the nn.Module it was made from"
    # a forward may also be set on the module itself
    if vars(module).get("forward", type(module).forward) is nn.Module.forward:
        yield "has no forward, so it cannot be run; give the network that it is a part of"
    for path, each in module.named_modules():
        yield from _of_layer(each, f" at {path!r}" if path else "")
    for name, each in chain(module.named_parameters(), module.named_buffers()):
        yield from _of_tensor(each, name)


def _of_layer(layer: nn.Module, where: str) -> Iterator[str]:
    kind = f"{type(layer).__module__}.{type(layer).__name__}"
    if kind.startswith(_QUANTISED):
        yield (
            f"is quantised ({kind}{where}): it has no gradients and no floating-point maps; "
            "give the network it was made from"
        )
    if kind.startswith("torch.distributed.fsdp"):
        yield f"is sharded over processes ({kind}{where}); gather its weights in one network"


def _of_tensor(tensor: Tensor, name: str) -> Iterator[str]:
    if is_lazy(tensor):
        yield f"is not initialised yet ({name!r} has no shape); run it once on an input"
    elif tensor.is_quantized or type(tensor).__module__.startswith("torchao"):
        yield f"is quantised ({name!r}); give the network it was made from"


def _calls_modules(graph: GraphModule) -> bool:
    """Whether a traced network still consists of layers; of an exported one, only guards do."""
    called = (str(node.target) for node in graph.graph.nodes if node.op == "call_module")
    return not all(name.startswith("_guards") for name in called)
