"""One forward pass over some images, with every tapped feature map kept as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from vizkit.errors import InputError, VizkitError
from vizkit.hooks import (
    OverwrittenError,
    Recorder,
    consuming,
    evaluating,
    recording,
    version_of,
)
from vizkit.images import Images, as_images, prepare
from vizkit.models import Classifier, as_classifier
from vizkit.results import FeatureMaps, Seen, Tap
from vizkit.stages import find_stages

BATCH_SIZE = 16

# taps whose output the network's own code overwrites: learnt once, then read through a copy
_OVERWRITTEN: WeakKeyDictionary[nn.Module, frozenset[Tap]] = WeakKeyDictionary()


def capture(
    model: str | nn.Module | Classifier,
    images: object,
    at: str | Sequence[str | Tap] = "stages",
) -> FeatureMaps:
    """Capture the feature maps of a network for some images.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        One network. It is left exactly as it was.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Photos pass through the network's own transform; tensors are taken as they are.
    at : "stages", "layers", or a list of names, paths or taps
        Where to read; see `find_stages`.

    Returns
    -------
    FeatureMaps
        Mapping from tap to Tensor of shape (N, C, h, w), raw, on the network's device. What a
        tap holds is what its module produced, also where the next one works in place.

    Raises
    ------
    InputError
        If an image cannot be read or a tap is unknown.
    """
    classifier = as_classifier(model)
    taps = find_stages(classifier, at)
    return merged(list(captured_batches(classifier, as_images(images), taps)))


def merged(parts: Sequence[FeatureMaps]) -> FeatureMaps:
    """Put the feature maps of several batches of images one behind the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return FeatureMaps(
        model=first.model,
        _values={tap: torch.cat([part[tap] for part in parts]) for tap in first},
        logits=torch.cat([part.logits for part in parts]),
        inputs=torch.cat([part.inputs for part in parts]),
        seen=joined(tuple(part.seen for part in parts)),
        classes=first.classes,
    )


def captured_batches(
    classifier: Classifier, images: Images, taps: Sequence[Tap], size: int = BATCH_SIZE
) -> Iterator[FeatureMaps]:
    """Capture batch after batch, so that a folder of any size fits in memory.

    Parameters
    ----------
    classifier : Classifier
        The network.
    images : Images
        What to feed it.
    taps : sequence of Tap
        What to record.
    size : int
        Images per forward pass.

    Yields
    ------
    FeatureMaps
        Of one batch.
    """
    for batch in images.batches(size):
        inputs, seen = prepare(batch, classifier.transform)
        inputs = to_network(inputs, classifier)
        with recorded(classifier.module, taps, inputs) as (recorder, logits):
            outputs = {tap: recorder.outputs[tap] for tap in ran(taps, recorder)}
        yield FeatureMaps(
            model=classifier.name,
            _values=outputs,
            logits=logits,
            inputs=inputs,
            seen=seen,
            classes=classifier.classes,
        )


@contextmanager
def recorded(
    module: nn.Module,
    taps: Sequence[Tap],
    inputs: Tensor,
    *,
    detach: bool = True,
    cut: bool = False,
) -> Iterator[tuple[Recorder, Tensor]]:
    """Run a network once and hold it, unchanged for others, while its outputs are used.

    Parameters
    ----------
    module : nn.Module
        The network.
    taps : sequence of Tap
        What to record.
    inputs : Tensor of shape (N, 3, H, W)
        What to feed it.
    detach : bool
        Plain values, without a graph; False keeps the autograd graph.
    cut : bool
        Begin the graph at the first tap.

    Yields
    ------
    recorder : Recorder
        With its outputs.
    logits : Tensor of shape (N, K)
        The network's output.
    """
    with evaluating(module), torch.set_grad_enabled(not detach):
        cloned = _OVERWRITTEN.get(module, frozenset())
        while True:
            with recording(module, taps, detach=detach, always_clone=cloned, cut=cut) as recorder:
                # a copy, because the network may change its input too
                logits = _logits(module(inputs.clone()))
            try:
                recorder.check()
            except OverwrittenError as error:
                if error.taps <= cloned:
                    raise
                cloned = _OVERWRITTEN[module] = cloned | error.taps
                continue
            break
        yield recorder, logits


def consumed(
    module: nn.Module,
    taps: Sequence[Tap],
    inputs: Tensor,
    consume: Callable[[Tap, Tensor], None],
) -> Tensor:
    """Run a network once and look at each map when it is made, without keeping any.

    Parameters
    ----------
    module : nn.Module
        The network.
    taps : sequence of Tap
        What to look at.
    inputs : Tensor of shape (N, 3, H, W)
        What to feed it.
    consume : callable
        Given each tap and its map, without a graph; must not change it.

    Returns
    -------
    Tensor of shape (N, K)
        The logits.

    Raises
    ------
    InputError
        If the network did not run one of the taps.
    """
    with evaluating(module), torch.no_grad(), consuming(module, taps, consume) as seen:
        # a copy, because the network may change its input too
        logits = _logits(module(inputs.clone()))
    _require([tap for tap in taps if tap not in seen])
    return logits


def ran(taps: Sequence[Tap], recorder: Recorder) -> list[Tap]:
    """Return the taps in forward order.

    Raises
    ------
    InputError
        If the network did not run one of them.
    """
    _require([tap for tap in taps if tap not in recorder.outputs])
    return list(recorder.outputs)


def to_network(inputs: Tensor, classifier: Classifier) -> Tensor:
    """Move inputs to a network's device and type, off any graph that they are part of."""
    return inputs.detach().to(device=classifier.device, dtype=classifier.dtype)


def last_layer(module: nn.Module, inputs: Tensor) -> tuple[nn.Linear | nn.Conv2d, Tensor]:
    """Find the last layer with weights that runs: linear, or a 1x1 convolution.

    Parameters
    ----------
    module : nn.Module
        The network.
    inputs : Tensor of shape (N, 3, H, W)
        What to feed it.

    Returns
    -------
    layer : nn.Linear or nn.Conv2d
        The classifier proper.
    read : Tensor of shape (N, F) or (N, F, h, w)
        Its input.

    Raises
    ------
    VizkitError
        If there is no such layer, or its input is overwritten.
    """
    seen: list[tuple[nn.Linear | nn.Conv2d, Tensor, int]] = []

    def keep(layer: nn.Module, args: tuple[Any, ...]) -> None:
        seen[:] = [(layer, args[0], version_of(args[0]))]  # type: ignore[list-item]

    name = type(module).__name__
    with evaluating(module), torch.no_grad():
        for submodule in module.modules():
            if isinstance(submodule, nn.Linear | nn.Conv2d):
                submodule.register_forward_pre_hook(keep)
        # a copy, because the network may change its input too
        module(inputs.clone())
    if not seen:
        raise VizkitError(f"{name} has no linear layer or convolution to read before")
    layer, read, version = seen[0]
    if version_of(read) != version:
        raise VizkitError(f"{name} overwrites the input of its last layer")
    return layer, read


def joined(parts: tuple[Seen, ...]) -> Seen:
    """Put the seen pixels of several batches one behind the other."""
    import numpy as np

    return Seen(
        names=tuple(name for part in parts for name in part.names),
        pixels=np.concatenate([part.pixels for part in parts]),
        boxes=tuple(box for part in parts for box in part.boxes),
        originals=tuple(original for part in parts for original in part.originals),
        transform=parts[0].transform,
    )


def _require(missing: list[Tap]) -> None:
    if missing:
        labels = ", ".join(tap.label for tap in missing)
        raise InputError(f"the network did not run {labels}")


def _logits(output: object) -> Tensor:
    if isinstance(output, Tensor) and output.ndim == 2:
        return output
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InputError(f"a classifier must return logits of shape (N, K), this one returns {shape}")
