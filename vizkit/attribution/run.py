"""Run attribution methods: all stage-level ones share one forward pass, one backward a class."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.attribution.cam import missing_head
from vizkit.attribution.linear import LinearHeads
from vizkit.attribution.memory import classes_at_once, out_of_memory
from vizkit.attribution.query import Probe, Query, probes
from vizkit.attribution.registry import METHODS, Method
from vizkit.attribution.targets import Targets, index_of, resolve, rows_of
from vizkit.errors import ConvergenceWarning, InputError, unknown
from vizkit.forward import BATCH_SIZE, joined, ran, recorded, to_network
from vizkit.images import Images, as_images, prepare
from vizkit.models import Classifier, as_classifier
from vizkit.results import Attributions, Tap
from vizkit.stages import find_stages

INPUT = "input"
TOLERANCE = 0.05


def attribute(
    model: str | nn.Module | Classifier,
    images: object,
    methods: str | Sequence[str] = "grad_cam",
    targets: Targets = None,
    stages: str | Sequence[str | Tap] | None = None,
    *,
    against: int | str | None = None,
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
        Names in `METHODS`: ``"grad_cam"``, ``"integrated_gradients"``, ``"occlusion"``, ...
    targets : None, int, str, list, or Tensor
        The classes explained: None for the predicted one, an index, a class name, ``"top5"``,
        a list of indices or names (each for every image), or a tensor (N,) or (N, T).
    stages : list of str or Tap, optional
        Where stage-level methods look, as in `find_stages`; by default at every stage.
    against : int or str, optional
        A class whose score is subtracted first, so that the maps say why the target and not this.
    **options
        Options of the methods; see ``METHODS[name].options``.

    Returns
    -------
    Attributions
        ``values[method][tap name or "input"]``: (N, T, h, w), float32, raw and signed.

    Raises
    ------
    InputError
        If a method, target, stage or option is unknown, or a method cannot explain this network.

    Warns
    -----
    ConvergenceWarning
        If a map that should sum to a difference in score is off by more than 5 % of it.
    """
    classifier = as_classifier(model)
    chosen = _methods(methods, options)
    taps = find_stages(classifier, "stages" if stages is None else stages)
    if not taps and any(method.level == "stage" for method in chosen):
        raise InputError(f"no stages of {classifier.name} to look at: the list is empty")
    everything = as_images(images)
    if isinstance(targets, Tensor):
        targets = rows_of(targets, len(everything))
    job = _Job(classifier, chosen, taps, against, options)
    parts: list[Attributions] = []
    batches = list(everything.batches(BATCH_SIZE))
    for batch in tqdm(batches, desc=classifier.name, disable=len(batches) == 1):
        done = sum(len(part.seen) for part in parts)
        own = targets[done : done + len(batch)] if isinstance(targets, Tensor) else targets
        parts += job.run(batch, own)
    return parts[0] if len(parts) == 1 else _joined(parts)


class _Job:
    """What is asked of every batch."""

    def __init__(
        self,
        classifier: Classifier,
        methods: list[Method],
        taps: list[Tap],
        against: int | str | None,
        options: dict[str, Any],
    ) -> None:
        self.classifier = classifier
        self.methods = methods
        self.taps = taps
        self.against = None if against is None else index_of(against, classifier)
        self.options = options

    def run(self, images: Images, targets: Targets) -> list[Attributions]:
        """Explain a batch, or halves of it where memory does not suffice."""
        try:
            return [self._explain(images, targets)]
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if "Inference tensors" in str(error):
                raise InputError(
                    f"{self.classifier.name} was made in torch.inference_mode(): its weights can "
                    "take no part in gradients. Make or load it outside"
                ) from error
            if len(images) == 1 or not out_of_memory(error):
                raise
        # outside the handler, so that the failed run's tensors are gone
        half = len(images) // 2
        parts = [Images(images.photos[:half]), Images(images.photos[half:])]
        split = isinstance(targets, Tensor)
        both = [targets[:half], targets[half:]] if split else [targets, targets]  # type: ignore[index]
        return [each for part, own in zip(parts, both, strict=True) for each in self.run(part, own)]

    def _explain(self, images: Images, targets: Targets) -> Attributions:
        classifier = self.classifier
        inputs, seen = prepare(images, classifier.transform)
        inputs = to_network(inputs, classifier)
        staged = any(method.level == "stage" for method in self.methods)
        taps = self.taps if staged else []
        with (
            LinearHeads(),
            recorded(classifier.module, taps, inputs, detach=not staged, cut=True) as (
                recorder,
                logits,
            ),
            torch.enable_grad(),
        ):
            indices = resolve(targets, logits, classifier)
            self._check_against(logits.shape[1])
            query = Query(
                classifier.module,
                inputs,
                indices,
                self.against,
                classifier.stages,
                classifier.transform,
            )
            maps = {tap: recorder.outputs[tap] for tap in ran(taps, recorder)}
            values = self._at_stages(query, maps, logits)
            found, errors = self._at_input(query)
            values |= found
        return Attributions(
            model=classifier.name,
            values={method.name: values[method.name] for method in self.methods},
            targets=indices,
            probabilities=logits.detach().float().softmax(dim=1).gather(1, indices),
            inputs=inputs,
            seen=seen,
            taps=tuple(maps),
            classes=classifier.classes,
            against=self.against,
            errors=errors,
            options=self.options,
            labels={method.name: method.label for method in self.methods},
        )

    def _check_against(self, classes: int) -> None:
        if self.against is not None and not 0 <= self.against < classes:
            raise InputError(f"unknown target {self.against}: choose from 0 to {classes - 1}")

    def _at_stages(
        self, query: Query, maps: dict[Tap, Tensor], logits: Tensor
    ) -> dict[str, dict[str, Tensor]]:
        """Run the stage-level methods; those with gradients for some classes at a time."""
        staged = [method for method in self.methods if method.level == "stage"]
        values = self._on(probes(query, maps, logits), [m for m in staged if not m.gradients])
        graded = [method for method in staged if method.gradients]
        parts = [
            self._on(probes(part, maps, logits), graded)
            for part in query.split(classes_at_once(maps.values()))
            if graded
        ]
        for method in graded:
            pieces = [part[method.name] for part in parts]
            values[method.name] = {
                key: torch.cat([piece[key] for piece in pieces], dim=1) for key in pieces[0]
            }
        return values

    def _on(self, found: dict[Tap, Probe], methods: list[Method]) -> dict[str, dict[str, Tensor]]:
        """Run stage-level methods at every stage where they have a meaning."""
        values = {}
        for method in methods:
            maps = {
                _key(tap, found): method.function(probe, **self._options(method))
                for tap, probe in found.items()
            }
            values[method.name] = {k: each.float() for k, each in maps.items() if each is not None}
            if not values[method.name]:
                raise missing_head(self.classifier.name)
        return values

    def _at_input(self, query: Query) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
        """Run the input-level methods: maps, and errors of those that know theirs."""
        values, errors = {}, {}
        for method in self.methods:
            if method.level != "input":
                continue
            result = method.function(query, **self._options(method))
            if isinstance(result, tuple):
                result, error = result
                errors[method.name] = error.float()
                _warn(method, result, error, self.classifier.name)
            values[method.name] = {INPUT: result.detach().float()}
        return values, errors

    def _options(self, method: Method) -> dict[str, Any]:
        return {key: value for key, value in self.options.items() if key in method.options}


def _warn(method: Method, maps: Tensor, error: Tensor, model: str) -> None:
    gains = (maps.sum(dim=(-2, -1)) - error).abs()
    off = error.abs()
    # below a thousandth of a logit there is nothing to explain
    bad = (off > TOLERANCE * gains) & (off > 1e-3)
    if bad.any():
        share = float((off / gains.clamp(min=1e-9))[bad].max())
        warnings.warn(
            f"{method.name} of {model}: {int(bad.sum())} of {bad.numel()} maps do not sum to the "
            f"difference in score that they explain, by up to {share:.0%}"
            + ("; more n_steps help" if "n_steps" in method.options else ""),
            ConvergenceWarning,
            stacklevel=2,
        )


def _joined(parts: list[Attributions]) -> Attributions:
    first = parts[0]
    return replace(
        first,
        values={
            name: {key: torch.cat([p.values[name][key] for p in parts]) for key in stage_maps}
            for name, stage_maps in first.values.items()
        },
        targets=torch.cat([p.targets for p in parts]),
        probabilities=torch.cat([p.probabilities for p in parts]),
        inputs=torch.cat([p.inputs for p in parts]),
        seen=joined(tuple(p.seen for p in parts)),
        errors={name: torch.cat([p.errors[name] for p in parts]) for name in first.errors},
    )


def _key(tap: Tap, found: dict[Tap, Probe]) -> str:
    """Return a tap's name, or its label where several roles of one layer are asked for."""
    return tap.label if sum(other.name == tap.name for other in found) > 1 else tap.name


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
