"""One forward pass, held open: classes may be chosen once its logits are known."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vizkit.attribution.cam import missing_head
from vizkit.attribution.memory import classes_at_once
from vizkit.attribution.query import Probe, Query, probes
from vizkit.attribution.registry import METHODS, Method
from vizkit.attribution.targets import Targets, index_of, resolve
from vizkit.errors import ConvergenceWarning, InputError, chosen, shown, unknown
from vizkit.forward import ran, recorded, to_network
from vizkit.images import Images, prepare
from vizkit.interrupts import managed
from vizkit.linear import LinearHeads
from vizkit.models import Classifier
from vizkit.modes import active
from vizkit.results import Attributions, FeatureMaps, Seen, Tap
from vizkit.stages import find_stages

INPUT = "input"
TOLERANCE = 0.05
_MADE_IN_INFERENCE = (
    "was made in torch.inference_mode(): its weights can take no part in gradients. Make or load "
    "it outside"
)
# what PyTorch's errors say, and what it means for a network
_NO_GRADIENTS = {
    "Inference tensors": _MADE_IN_INFERENCE,
    "does not require grad": (
        "gives no gradients: something in its forward runs under torch.no_grad(), is detached or "
        "is no differentiable operation"
    ),
}


@dataclass(frozen=True)
class Explainer:
    """A network, and how it is to be explained; see `explainer`.

    Attributes
    ----------
    classifier : Classifier
        The network.
    methods : tuple of Method
        What to compute.
    taps : tuple of Tap
        Where stage-level methods look.
    against : int or None
        The class whose score is subtracted.
    options : dict of str to Any
        Of the methods.
    """

    classifier: Classifier
    methods: tuple[Method, ...]
    taps: tuple[Tap, ...]
    against: int | None
    options: dict[str, Any]

    @managed
    def opened(self, images: Images) -> Iterator[Pass]:
        """Run the network on some images, and hold it until they are explained.

        Parameters
        ----------
        images : Images
            Seen through the network's own transform.

        Yields
        ------
        Pass
            With its logits.
        """
        inputs, seen = prepare(images, self.classifier.transform)
        with self.opened_on(to_network(inputs, self.classifier), seen) as found:
            yield found

    @managed
    def opened_on(self, inputs: Tensor, seen: Seen) -> Iterator[Pass]:
        """Do the same with inputs that are prepared already.

        Parameters
        ----------
        inputs : Tensor of shape (N, 3, H, W)
            On the network's device.
        seen : Seen
            The same as pixels.

        Yields
        ------
        Pass
            With its logits.

        Raises
        ------
        InputError
            If the network's weights can take no part in gradients.
        """
        staged = any(method.level == "stage" for method in self.methods)
        module = self.classifier.module
        if staged and any(parameter.is_inference() for parameter in module.parameters()):
            raise InputError(f"{self.classifier.name} {_MADE_IN_INFERENCE}")
        with (
            active(LinearHeads()),
            recorded(module, self.taps, inputs, detach=not staged, cut=True) as (recorder, logits),
            torch.enable_grad(),
        ):
            maps = {tap: recorder.outputs[tap] for tap in ran(self.taps, recorder)}
            yield Pass(self, inputs, seen, maps, logits)


@dataclass(frozen=True, eq=False)
class Pass:
    """A forward pass with its graph; of use only while it is open.

    Attributes
    ----------
    explainer : Explainer
        What is asked.
    inputs : Tensor of shape (N, 3, H, W)
        What went into the network.
    seen : Seen
        The same as pixels.
    maps : dict of Tap to Tensor
        Nodes of the graph, in forward order.
    logits : Tensor of shape (N, K)
        The network's output.
    """

    explainer: Explainer
    inputs: Tensor
    seen: Seen
    maps: dict[Tap, Tensor]
    logits: Tensor

    def feature_maps(self) -> FeatureMaps:
        """Give the feature maps, off the graph."""
        classifier = self.explainer.classifier
        return FeatureMaps(
            model=classifier.name,
            _values={tap: maps.detach() for tap, maps in self.maps.items()},
            logits=self.logits.detach(),
            inputs=self.inputs,
            seen=self.seen,
            classes=classifier.classes,
        )

    def explain(self, targets: Targets) -> Attributions:
        """Attribute the scores of classes to places.

        Parameters
        ----------
        targets : None, int, str, list, or Tensor
            The classes; see `vizkit.attribute`.

        Returns
        -------
        Attributions
            By every method.

        Raises
        ------
        InputError
            If a target is unknown, or a method cannot explain this network.
        """
        asked, classifier = self.explainer, self.explainer.classifier
        indices = resolve(targets, self.logits, classifier)
        self._check_against()
        query = Query(
            classifier.module,
            self.inputs,
            indices,
            asked.against,
            classifier.stages,
            classifier.transform,
        )
        with _differentiable(classifier.name):
            values = self._at_stages(query)
            found, errors = self._at_input(query)
        values |= found
        shares = self.logits.detach().float().softmax(dim=1)
        return Attributions(
            model=classifier.name,
            values={method.name: values[method.name] for method in asked.methods},
            targets=indices,
            probabilities=shares.gather(1, indices),
            inputs=self.inputs,
            seen=self.seen,
            taps=tuple(self.maps),
            classes=classifier.classes,
            against=asked.against,
            errors=errors,
            options=asked.options,
            labels={method.name: method.label for method in asked.methods},
        )

    def _check_against(self) -> None:
        against, classes = self.explainer.against, self.logits.shape[1]
        if against is not None and not 0 <= against < classes:
            raise InputError(f"unknown target {shown(against)}: choose from 0 to {classes - 1}")

    def _at_stages(self, query: Query) -> dict[str, dict[str, Tensor]]:
        """Run the stage-level methods; those with gradients for some classes at a time."""
        staged = [method for method in self.explainer.methods if method.level == "stage"]
        values = self._on(
            probes(query, self.maps, self.logits), [m for m in staged if not m.gradients]
        )
        graded = [method for method in staged if method.gradients]
        parts = [
            self._on(probes(part, self.maps, self.logits), graded)
            for part in query.split(classes_at_once(self.maps.values()))
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
                raise missing_head(self.explainer.classifier.name)
        return values

    def _at_input(self, query: Query) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
        """Run the input-level methods: maps, and errors of those that know theirs."""
        values, errors = {}, {}
        for method in self.explainer.methods:
            if method.level != "input":
                continue
            result = method.function(query, **self._options(method))
            if isinstance(result, tuple):
                result, error = result
                errors[method.name] = error.float()
                _warn(method, result, error, self.explainer.classifier.name)
            values[method.name] = {INPUT: result.detach().float()}
        return values, errors

    def _options(self, method: Method) -> dict[str, Any]:
        return {
            key: value for key, value in self.explainer.options.items() if key in method.options
        }


@contextmanager
def _differentiable(name: str) -> Iterator[None]:
    """Say what is wrong with a network that gives no gradients, as PyTorch says it in passing."""
    try:
        yield
    except RuntimeError as error:
        reasons = [reason for words, reason in _NO_GRADIENTS.items() if words in str(error)]
        if not reasons:
            raise
        raise InputError(f"{name} {reasons[0]}") from error


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


def explainer(
    classifier: Classifier,
    methods: str | Sequence[str] = "grad_cam",
    stages: str | Sequence[str | Tap] | None = None,
    against: int | str | None = None,
    **options: Any,
) -> Explainer:
    """Check what is asked of a network, before it runs.

    Parameters
    ----------
    classifier : Classifier
        The network.
    methods, stages, against, **options
        As for `vizkit.attribute`.

    Returns
    -------
    Explainer
        Ready for images.

    Raises
    ------
    InputError
        If a method, stage, class or option is unknown.
    """
    wanted = _methods(methods, options)
    taps = find_stages(classifier, "stages" if stages is None else stages)
    staged = any(method.level == "stage" for method in wanted)
    if staged and not taps:
        raise InputError(f"no stages of {classifier.name} to look at: the list is empty")
    # without a method that looks there, nothing need be recorded
    taps = taps if staged else []
    other = None if against is None else index_of(against, classifier)
    return Explainer(classifier, tuple(wanted), tuple(taps), other, options)


def _key(tap: Tap, found: dict[Tap, Probe]) -> str:
    """Return a tap's name, or its label where several roles of one layer are asked for."""
    return tap.label if sum(other.name == tap.name for other in found) > 1 else tap.name


def _methods(names: str | Sequence[str], options: dict[str, Any]) -> list[Method]:
    wanted = chosen("method", names, METHODS)
    methods = [METHODS[name] for name in wanted]
    known = {option for method in methods for option in method.options}
    for option in options:
        if option not in known:
            raise unknown(f"option of {', '.join(wanted)}", option, sorted(known) or ("(none)",))
    return methods
