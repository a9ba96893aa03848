"""What a method is given to work with: a network to ask, its inputs and the classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn

from vizkit.attribution.memory import automatic
from vizkit.memory import in_batches
from vizkit.results import Tap
from vizkit.running import run_classifier


@dataclass(frozen=True)
class Query:
    """A network, N inputs, and T classes for each.

    A method may run the network as often as it likes, through the functions here.

    Attributes
    ----------
    module : nn.Module
        In evaluation mode, parameters frozen.
    inputs : Tensor of shape (N, 3, H, W)
        Detached.
    targets : Tensor of shape (N, T), int64
        The classes explained.
    against : int or None
        The class whose score is subtracted: "why this and not that".
    stages : tuple of Tap
        The network's stages, in forward order.
    transform : callable
        The network's own, which knows what a black pixel is.
    """

    module: nn.Module
    inputs: Tensor
    targets: Tensor
    against: int | None
    stages: tuple[Tap, ...]
    transform: Callable[..., Tensor]

    @property
    def batch_size(self) -> int:
        """Inputs to run at a time where a method runs many."""
        return automatic(self.inputs)

    def margins(self, logits: Tensor) -> Tensor:
        """Subtract the score of the class that is explained against, if there is one.

        Parameters
        ----------
        logits : Tensor of shape (B, K)
            Or probabilities.

        Returns
        -------
        Tensor of shape (B, K)
            As they are, or what each class has more than the other.
        """
        if self.against is None:
            return logits
        return logits - logits[:, self.against : self.against + 1]

    def outputs(self, inputs: Tensor) -> Tensor:
        """Run the network: scores (B, K) of inputs (B, 3, H, W), with a graph if one is wanted."""
        return self.margins(run_classifier(self.module, self._laid(inputs)))

    def scores(self, inputs: Tensor) -> Tensor:
        """Scores of any number of inputs, without a graph, batch after batch; (B, K)."""
        with torch.no_grad():
            return in_batches(self.outputs, inputs, self.batch_size)

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Return the same after softmax, in [0, 1] (in [-1, 1] against another class); (B, K)."""

        def shares(some: Tensor) -> Tensor:
            logits = run_classifier(self.module, self._laid(some))
            return self.margins(logits.float().softmax(dim=1))

        with torch.no_grad():
            return in_batches(shares, inputs, self.batch_size)

    def _laid(self, inputs: Tensor) -> Tensor:
        """Lay inputs out as CPUs convolve best."""
        last = inputs.device.type == "cpu"
        layout = torch.channels_last if last else torch.preserve_format
        return inputs.to(self.inputs.dtype, memory_format=layout)

    @cached_property
    def gradients(self) -> Tensor:
        """Derivative of each class's score by the inputs, (N, T, 3, H, W); one forward pass."""
        pixels = self.inputs.clone().requires_grad_()
        (gradients,) = by_class(self.outputs(pixels), [pixels], self.targets)
        return gradients

    def split(self, count: int) -> Iterator[Query]:
        """Ask the same about some of the classes at a time."""
        for start in range(0, self.targets.shape[1], count):
            yield replace(self, targets=self.targets[:, start : start + count])

    def images(self) -> Iterator[Query]:
        """Ask the same of each image alone, so that no result depends on its neighbours."""
        for n in range(len(self.inputs)):
            keep = slice(n, n + 1)
            yield replace(self, inputs=self.inputs[keep], targets=self.targets[keep])


@dataclass(frozen=True)
class Probe:
    """What a stage-level method sees of one stage.

    Attributes
    ----------
    query : Query
        The network, the inputs and the classes.
    tap : Tap
        The stage.
    activations : Tensor of shape (N, 1, C, h, w), float32
        The stage's feature maps.
    """

    query: Query
    tap: Tap
    activations: Tensor
    _gradients: Callable[[], Mapping[Tap, Tensor]]

    @cached_property
    def gradients(self) -> Tensor:
        """Derivative of each class's score by the feature maps, (N, T, C, h, w), float32.

        The first method that asks for it has the backward passes run, for all stages at once.
        """
        return self._gradients()[self.tap].float()


def probes(query: Query, maps: Mapping[Tap, Tensor], logits: Tensor) -> dict[Tap, Probe]:
    """Make the probes of a forward pass.

    Parameters
    ----------
    query : Query
        What was asked.
    maps : mapping of Tap to Tensor
        Nodes of the pass's graph.
    logits : Tensor of shape (N, K)
        Its output.

    Returns
    -------
    dict of Tap to Probe
        They share one backward pass a class, which runs when first needed.
    """

    @cache
    def gradients() -> dict[Tap, Tensor]:
        found = by_class(query.margins(logits), list(maps.values()), query.targets, keep=True)
        return dict(zip(maps, found, strict=True))

    return {
        tap: Probe(query, tap, each.detach().float().unsqueeze(1), gradients)
        for tap, each in maps.items()
    }


def by_class(
    scores: Tensor, nodes: Sequence[Tensor], targets: Tensor, *, keep: bool = False
) -> list[Tensor]:
    """Differentiate the score of each class, one backward pass a class.

    Parameters
    ----------
    scores : Tensor of shape (N, K)
        With a graph.
    nodes : sequence of Tensor of shape (N, ...)
        Nodes of that graph.
    targets : Tensor of shape (N, T), int64
        The classes.
    keep : bool
        Whether the graph will be asked about other classes.

    Returns
    -------
    list of Tensor of shape (N, T, ...)
        One per node; zero where the score does not depend on it.
    """
    # one backward pass a class: batched gradients double the memory and gain nothing on a CPU
    wanted = scores.gather(1, targets).sum(dim=0)
    last = len(wanted) - 1
    found: list[Any] = [
        torch.autograd.grad(score, nodes, retain_graph=keep or t < last, materialize_grads=True)
        for t, score in enumerate(wanted)
    ]
    return [torch.stack([each[i] for each in found], dim=1) for i in range(len(nodes))]
