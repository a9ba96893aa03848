"""One forward pass over some images, with every tapped feature map kept as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
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
    in_this_thread,
    recording,
    version_of,
)
from vizkit.images import Images, as_images, prepare
from vizkit.interrupts import managed
from vizkit.memory import in_parts, require_room
from vizkit.models import Classifier, as_classifier
from vizkit.results import FeatureMaps, Seen, Tap
from vizkit.running import run, run_classifier
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
    NetworkError
        If the network fails on an image, which may be too small for it.
    TooLargeError
        If the maps do not fit in memory; `vizkit.describe` keeps none.
    """
    classifier = as_classifier(model)
    taps = find_stages(classifier, at)
    photos = as_images(images)
    _require_room(classifier, photos, taps)
    return merged(list(captured_batches(classifier, photos, taps)))


def merged(parts: list[FeatureMaps]) -> FeatureMaps:
    """Put the feature maps of several batches of images one behind the other.

    The list is emptied: maps are let go tap by tap, so that memory need not hold all twice.
    """
    if len(parts) == 1:
        return parts.pop()
    values = [dict(part.items()) for part in parts]
    rest = [replace(part, _values={}) for part in parts]
    parts.clear()
    return replace(
        rest[0],
        _values={tap: torch.cat([own.pop(tap) for own in values]) for tap in list(values[0])},
        logits=torch.cat([part.logits for part in rest]),
        inputs=torch.cat([part.inputs for part in rest]),
        seen=joined(tuple(part.seen for part in rest)),
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
        read = partial(_captured, classifier, taps, to_network(inputs, classifier), seen)
        yield from in_parts(read, len(inputs))


@managed
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
                logits = run_classifier(module, inputs)
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
        logits = run_classifier(module, inputs)
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


def _captured(
    classifier: Classifier, taps: Sequence[Tap], inputs: Tensor, seen: Seen, part: slice
) -> FeatureMaps:
    """Capture some of a batch."""
    with recorded(classifier.module, taps, inputs[part]) as (recorder, logits):
        outputs = {tap: recorder.outputs[tap] for tap in ran(taps, recorder)}
    return FeatureMaps(
        model=classifier.name,
        _values=outputs,
        logits=logits,
        inputs=inputs[part],
        seen=seen.part(part),
        classes=classifier.classes,
    )


def _require_room(classifier: Classifier, images: Images, taps: Sequence[Tap]) -> None:
    """Refuse what cannot fit: channels and strides tell the size of every map beforehand."""
    first = images.photos[0].tensor
    size = getattr(classifier.transform, "size", (224, 224)) if first is None else first.shape[-2:]
    height, width = size
    places = (
        tap.channels * math.ceil(height / tap.stride) * math.ceil(width / tap.stride)
        for tap in taps
    )
    values = 3 * height * width + sum(places)
    require_room(
        values * classifier.dtype.itemsize * len(images),
        classifier.device,
        f"{len(taps)} taps of {classifier.name} for {len(images)} images of {width} x {height} px",
        "give fewer images or taps (at=...), or use describe, which keeps no maps",
    )


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
                submodule.register_forward_pre_hook(in_this_thread(keep))
        run(module, inputs)
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
