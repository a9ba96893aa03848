"""What is true of a random network, found by plain PyTorch on its out-of-place double."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from random_networks import Sketch
from torch import Tensor, nn

from vizkit.results import Tap

Key = tuple[str, int]


@dataclass(frozen=True)
class Ran:
    """One module's run: what went in and what came out."""

    path: str
    call: int
    module: nn.Module
    given: Tensor
    made: Tensor

    @property
    def passes(self) -> bool:
        """Whether the module gives on the very tensor that it was given."""
        return isinstance(self.module, nn.Dropout | nn.Dropout2d)

    @property
    def tap(self) -> Tap:
        """A tap there, made by hand; name and stride are of no effect."""
        return Tap(self.path, self.path, "block", 1, self.made.shape[1], self.call)


def runs_of(network: nn.Module, inputs: Tensor, *, graph: bool = False) -> tuple[list[Ran], Tensor]:
    """Follow a forward pass by hooks of one's own.

    Parameters
    ----------
    network : nn.Module
        Without in-place operations; its outputs stay what they are.
    inputs : Tensor of shape (N, 3, H, W)
        What it is fed.
    graph : bool
        Whether outputs are nodes of the autograd graph.

    Returns
    -------
    runs : list of Ran
        In the order in which modules finish.
    logits : Tensor of shape (N, K)
        The network's output.
    """
    runs: list[Ran] = []
    counts: dict[str, int] = {}

    def keep(path: str) -> object:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            call = counts[path] = counts.get(path, -1) + 1
            if graph and output is args[0]:
                # what is passed on as it is has a gradient of its own, apart from its input's
                output = output.clone()
            runs.append(Ran(path, call, module, args[0], output))
            return output

        return hook

    handles = [m.register_forward_hook(keep(path)) for path, m in network.named_modules()]
    with torch.set_grad_enabled(graph):
        logits = network(inputs)
    for handle in handles:
        handle.remove()
    return runs, logits


def maps_of(sketch: Sketch, inputs: Tensor | None = None) -> tuple[dict[Tap, Tensor], Tensor]:
    """Every map that the network makes, by tap, and its logits."""
    given = sketch.inputs() if inputs is None else inputs
    runs, logits = runs_of(sketch.out_of_place(), given.clone())
    return {ran.tap: ran.made for ran in runs if ran.made.ndim == 4}, logits


def chosen(maps: dict[Tap, Tensor], bits: int) -> list[Tap]:
    """Some of the taps, by the bits of a number; at least one."""
    taps = list(maps)
    some = [tap for n, tap in enumerate(taps) if bits >> (n % 16) & 1]
    return some or taps[-1:]


def differentiable(sketch: Sketch) -> bool:
    """Whether PyTorch itself can go back through it: some overwrite what a gradient needs."""
    inputs = sketch.inputs().requires_grad_()
    try:
        sketch.network().eval()(inputs.clone()).sum().backward()
    except RuntimeError:
        return False
    return True


def key_of(tap: Tap, taps: list[Tap]) -> str:
    """Where attributions keep the map of a tap."""
    return tap.label if [other.name for other in taps].count(tap.name) > 1 else tap.name
