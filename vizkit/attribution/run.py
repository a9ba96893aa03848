"""Run attribution methods: all stage-level ones share one forward pass, one backward a class."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vizkit.attribution.registry import METHODS, Method, Probe, Query
from vizkit.errors import InputError, unknown
from vizkit.forward import BATCH_SIZE, joined, ran, recorded, to_network
from vizkit.hooks import evaluating
from vizkit.images import Images, as_images, prepare
from vizkit.models import Classifier, as_classifier
from vizkit.results import Attributions, Tap
from vizkit.stages import find_stages

Targets = None | int | str | Sequence[int | str] | Tensor


def attribute(
    model: str | nn.Module | Classifier,
    images: object,
    methods: str | Sequence[str] = "grad_cam",
    targets: Targets = None,
    stages: str | Sequence[str | Tap] | None = None,
    **options: Any,
) -> Attributions:
    """Attribute class scores to places.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        One network. It is left exactly as it was.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        What to explain the network's output on.
    methods : str or list of str
        Names in `METHODS`: ``"grad_cam"``, ``"saliency"``, ...
    targets : None, int, str, list, or Tensor
        The classes explained: None for the predicted one, an index, a class name, ``"top5"``,
        a list of indices or names (each for every image), or a tensor (N,) or (N, T).
    stages : list of str or Tap, optional
        Where stage-level methods look, as in `find_stages`; by default at every stage.
    **options
        Options of the methods; see ``METHODS[name].options``.

    Returns
    -------
    Attributions
        ``values[method][tap name or "input"]``: (N, T, h, w), float32, raw and signed.

    Raises
    ------
    InputError
        If a method, target, stage or option is unknown.
    """
    classifier = as_classifier(model)
    chosen = _methods(methods, options)
    taps = find_stages(classifier, "stages" if stages is None else stages)
    everything = as_images(images)
    if isinstance(targets, Tensor):
        targets = _rows(targets, len(everything))
    parts = [
        _attribute_batch(classifier, batch, chosen, targets, taps, start * BATCH_SIZE, options)
        for start, batch in enumerate(everything.batches(BATCH_SIZE))
    ]
    first = parts[0]
    if len(parts) == 1:
        return first
    return Attributions(
        model=first.model,
        values={
            name: {key: torch.cat([p.values[name][key] for p in parts]) for key in stage_maps}
            for name, stage_maps in first.values.items()
        },
        targets=torch.cat([p.targets for p in parts]),
        probabilities=torch.cat([p.probabilities for p in parts]),
        inputs=torch.cat([p.inputs for p in parts]),
        seen=joined(tuple(p.seen for p in parts)),
        taps=first.taps,
        classes=first.classes,
    )


def _attribute_batch(
    classifier: Classifier,
    images: Images,
    methods: list[Method],
    targets: Targets,
    taps: list[Tap],
    start: int,
    options: dict[str, Any],
) -> Attributions:
    inputs, seen = prepare(images, classifier.transform)
    inputs = to_network(inputs, classifier)
    if any(method.level == "stage" for method in methods):
        logits, indices, probes = _probe(classifier, inputs, taps, targets, start)
    else:
        with recorded(classifier.module, (), inputs) as (_, logits):
            indices, probes = _resolve(targets, logits, classifier, start), {}
    values = {}
    for method in methods:
        own = {key: value for key, value in options.items() if key in method.options}
        if method.level == "stage":
            values[method.name] = {
                _key(tap, probes): method.function(probe, **own).float()
                for tap, probe in probes.items()
            }
        else:
            values[method.name] = {"input": _at_input(method, classifier, inputs, indices, own)}
    probabilities = logits.detach().float().softmax(dim=1).gather(1, indices)
    return Attributions(
        model=classifier.name,
        values=values,
        targets=indices,
        probabilities=probabilities,
        inputs=inputs,
        seen=seen,
        taps=tuple(probes),
        classes=classifier.classes,
    )


def _probe(
    classifier: Classifier, inputs: Tensor, taps: list[Tap], targets: Targets, start: int
) -> tuple[Tensor, Tensor, dict[Tap, Probe]]:
    """One forward pass and one backward pass per class, which give every stage its probe."""
    with recorded(classifier.module, taps, inputs, detach=False, cut=True) as (recorder, logits):
        indices = _resolve(targets, logits, classifier, start)
        taps = ran(taps, recorder)
        maps = [recorder.outputs[tap] for tap in taps]
        scores = logits.gather(1, indices).sum(dim=0)
        last = len(scores) - 1
        # one backward pass a class: batched gradients double the memory and gain nothing on CPU
        gradients = [
            torch.autograd.grad(score, maps, retain_graph=t < last, materialize_grads=True)
            for t, score in enumerate(scores)
        ]
    probes = {
        tap: Probe(
            activations=recorder.outputs[tap].detach().unsqueeze(1),
            gradients=torch.stack([by_class[i] for by_class in gradients], dim=1),
        )
        for i, tap in enumerate(taps)
    }
    return logits.detach(), indices, probes


def _at_input(
    method: Method,
    classifier: Classifier,
    inputs: Tensor,
    indices: Tensor,
    options: dict[str, Any],
) -> Tensor:
    module = classifier.module
    with evaluating(module), torch.enable_grad():
        # a copy, because the network may change its input, and methods ask for its gradient
        module.register_forward_pre_hook(lambda _module, args: args[0].clone())
        maps = [
            method.function(Query(module, inputs, target), **options)
            for target in indices.unbind(dim=1)
        ]
    return torch.stack(maps, dim=1).detach().float()


def _key(tap: Tap, probes: dict[Tap, Probe]) -> str:
    """Return a tap's name, or its label where several roles of one layer are asked for."""
    return tap.label if sum(other.name == tap.name for other in probes) > 1 else tap.name


def _methods(names: str | Sequence[str], options: dict[str, Any]) -> list[Method]:
    wanted = [names] if isinstance(names, str) else list(names)
    if not wanted:
        raise InputError(f"no methods: choose from {', '.join(METHODS)}")
    for name in wanted:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    chosen = [METHODS[name] for name in dict.fromkeys(wanted)]
    known = {option for method in chosen for option in method.options}
    for option in options:
        if option not in known:
            raise unknown(f"option of {', '.join(wanted)}", option, sorted(known) or ("(none)",))
    return chosen


def _rows(targets: Tensor, count: int) -> Tensor:
    """Classes given image by image, as (N, T)."""
    if targets.is_floating_point() or targets.ndim not in {1, 2} or len(targets) != count:
        raise InputError(
            f"a tensor of targets must be whole numbers of shape (N,) or (N, T) for the {count} "
            f"images given, not {targets.dtype} {tuple(targets.shape)}"
        )
    return targets.reshape(count, -1).long()


def _resolve(targets: Targets, logits: Tensor, classifier: Classifier, start: int) -> Tensor:
    """Class indices, (N, T), of what the user asked for; ``start`` is the batch's first image."""
    count, classes = logits.shape
    if isinstance(targets, Tensor):
        return _in_range(targets[start : start + count].to(logits.device), classes)
    ranked = re.fullmatch(r"top(\d+)", targets) if isinstance(targets, str) else None
    if targets is None or ranked:
        k = int(ranked[1]) if ranked else 1
        if not 1 <= k <= classes:
            raise InputError(f"unknown target {targets!r}: the model has {classes} classes")
        return logits.detach().topk(k, dim=1).indices
    if isinstance(targets, str) or not isinstance(targets, Iterable):
        targets = [targets]
    row = [_index(target, classifier) for target in targets]
    if not row:
        raise InputError("no targets: the list is empty")
    return _in_range(torch.tensor([row] * count, device=logits.device), classes)


def _index(target: Any, classifier: Classifier) -> int:
    if isinstance(target, str):
        return classifier.class_index(target)
    try:
        return operator.index(target)
    except TypeError:
        raise InputError(
            f"unknown target {target!r}: give an index, a class name, 'top5' or a list of these"
        ) from None


def _in_range(indices: Tensor, classes: int) -> Tensor:
    outside = indices[(indices < 0) | (indices >= classes)]
    if outside.numel():
        raise InputError(f"unknown target {outside[0].item()}: choose from 0 to {classes - 1}")
    return indices
