"""Feature maps: what it costs to keep them, and whether they are what the modules produced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache, cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from vizkit.benchmarks.peers import has
from vizkit.benchmarks.registry import Effort, suite
from vizkit.benchmarks.rounds import timed
from vizkit.benchmarks.subject import Subject
from vizkit.benchmarks.tasks import FORWARD, OWN, Check, Goal, Outcome, Task
from vizkit.benchmarks.truth import count_wrong, true_maps
from vizkit.forward import capture
from vizkit.linear import LinearHeads
from vizkit.models import Classifier
from vizkit.stages import find_stages

_NO_HEAD = "stops before the head: no logits"
_FLAT_HEAD = "logits to rounding, so capture itself does not do it; attributions do"


@suite("capture", label="Feature maps", peers=("torchlens",))
def capture_suite(subject: Subject, effort: Effort) -> list[Outcome]:
    """Keep the feature maps of one image: of all stages, and of all layers.

    The error counts the values that differ from those of a copy of the network in which no layer
    works in place.
    """
    inputs = subject.photos()
    stages, layers = (Places(subject, inputs, at) for at in ("stages", "layers"))
    tasks = [
        Task(FORWARD, "PyTorch", partial(subject.forward, inputs)),
        stages.own_task(Goal("ratio", 1.03)),
        *_peers(stages),
        *_features_only_task(stages),
    ]
    if _has_wide_head(subject.classifier.module):
        tasks.append(_flat_headed(stages))
    tasks += [layers.own_task(), *_peers(layers), _hooks(layers, clone=False)]
    return timed(tasks, subject.device, effort)


class Places:
    """Where a network is read, and the maps that it has there.

    Parameters
    ----------
    subject : Subject
        The network.
    inputs : Tensor of shape (N, 3, H, W)
        What goes in.
    at : "stages" or "layers"
        Where.
    """

    def __init__(self, subject: Subject, inputs: Tensor, at: str) -> None:
        self.subject, self.inputs, self.at = subject, inputs, at
        self.taps = find_stages(subject.classifier, at)
        self.paths = [tap.module for tap in self.taps]
        self.name = f"capture, all {at}"

    @cached_property
    def truth(self) -> list[Tensor]:
        """The maps as they should be."""
        return true_maps(self.subject.classifier.module, self.taps, self.inputs)

    @cached_property
    def check(self) -> Check:
        """Count wrong values."""
        total = sum(each.numel() for each in self.truth)
        return Check(
            f"wrong values, of {total:,}", 0.0, lambda found: count_wrong(found, self.truth)
        )

    def own(self) -> list[Tensor]:
        """Capture as vizkit does."""
        return list(capture(self.subject.classifier, self.inputs, self.at).values())

    def own_task(self, goal: Goal | None = None) -> Task:
        """Time that."""
        return Task(self.name, OWN, self.own, check=self.check, goal=goal)

    def peer(self, tool: str, run: Callable[[], Any], note: str = "") -> Task:
        """Time another tool, without gradients as vizkit is."""

        def quiet() -> Any:
            with torch.no_grad():
                return run()

        return Task(self.name, tool, quiet, check=self.check, note=note)


def _peers(places: Places) -> list[Task]:
    """List the peers that read stages as well as layers."""
    # a copy of its own: where torchvision fails, it leaves the network in training mode
    graph = cache(lambda: _traced(deepcopy(places.subject.network), places.paths))

    def extract() -> list[Tensor]:
        found = graph()(places.inputs)
        return [found[path] for path in places.paths]

    tasks = [_hooks(places, clone=True), places.peer("torchvision extractor", extract)]
    return [*tasks, _torchlens(places)] if has("torchlens") else tasks


def _hooks(places: Places, *, clone: bool) -> Task:
    """Write what one writes first."""
    module = places.subject.classifier.module
    modules = {path: module.get_submodule(path) for path in places.paths}

    def run() -> list[Tensor]:
        found: dict[str, Tensor] = {}

        def keeper(path: str) -> Callable[[Any, Any, Tensor], None]:
            return lambda _module, _inputs, output: found.update(
                {path: output.clone() if clone else output}
            )

        handles = [each.register_forward_hook(keeper(path)) for path, each in modules.items()]
        try:
            module(places.inputs)
        finally:
            for handle in handles:
                handle.remove()
        return [found[path] for path in places.paths]

    return places.peer("hooks with clone()" if clone else "hooks without clone()", run)


def _torchlens(places: Places) -> Task:
    from dataclasses import replace

    import torchlens
    from torchlens.backends.torch.wrappers import unwrap_torch, wrap_torch

    wanted = {str(n): path for n, path in enumerate(places.paths)}

    def run() -> list[Tensor]:
        found = torchlens.extract(places.subject.network, places.inputs, wanted)
        return [found[name] for name in wanted]

    task = places.peer("torchlens", run, "not timed: that it wraps torch's functions")
    # it leaves all of torch wrapped, and others shall not run so
    return replace(task, before=wrap_torch, after=unwrap_torch)


def _traced(network: nn.Module, paths: Sequence[str]) -> nn.Module:
    """Have torchvision cut the network's graph, to the end: logits are wanted, too."""
    from timm.models import get_notrace_functions, get_notrace_modules
    from torchvision.models.feature_extraction import (
        create_feature_extractor,
        get_graph_node_names,
    )

    options = {
        # timm's own list of what cannot be traced
        "leaf_modules": list(get_notrace_modules()),
        "autowrap_functions": list(get_notrace_functions()),
    }
    _, names = get_graph_node_names(network, tracer_kwargs=options)
    wanted = list(dict.fromkeys([*paths, names[-1]]))
    found: nn.Module = create_feature_extractor(network, wanted, tracer_kwargs=options)
    return found


def _features_only_task(places: Places) -> list[Task]:
    """Let timm do it, if the network is timm's."""
    classifier = places.subject.classifier
    source, _, short = str((classifier.recipe or {}).get("name", "/")).rpartition("/")
    if source not in {"", "timm"} or not short:
        return []
    network = cache(partial(_features_only, short, classifier, len(places.taps)))
    return [places.peer("timm features_only", lambda: network()(places.inputs), _NO_HEAD)]


def _features_only(name: str, classifier: Classifier, count: int) -> nn.Module:
    """Build timm's feature network, with the classifier's weights."""
    import timm

    network: nn.Module = timm.create_model(
        name, pretrained=False, features_only=True, out_indices=tuple(range(count))
    )
    # it names weights as timm does elsewhere, but for some dots
    weights = {
        key.replace(".", "_"): value for key, value in classifier.module.state_dict().items()
    }
    network.load_state_dict({key: weights[key.replace(".", "_")] for key in network.state_dict()})
    return network.to(classifier.device, classifier.dtype).eval()


def _has_wide_head(module: nn.Module) -> bool:
    """Tell whether a convolution is large enough to cover its whole input."""
    return any(
        isinstance(each, nn.Conv2d) and min(each.kernel_size) > 3 and each.padding == (0, 0)
        for each in module.modules()
    )


def _flat_headed(places: Places) -> Task:
    def run() -> list[Tensor]:
        with LinearHeads(gates=False):
            return places.own()

    name = f"{places.name}, head as a linear layer"
    return Task(name, OWN, run, check=places.check, goal=Goal("ratio", 0.6), note=_FLAT_HEAD)
