"""Similarity: CKA between all pairs of stages of two networks."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr
from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vizkit.benchmarks.peers import has
from vizkit.benchmarks.registry import Effort, suite
from vizkit.benchmarks.rounds import timed
from vizkit.benchmarks.subject import Subject
from vizkit.benchmarks.tasks import OWN, Goal, Outcome, Reference, Task
from vizkit.cka import similarity
from vizkit.errors import VizkitError
from vizkit.forward import BATCH_SIZE, capture
from vizkit.models import Classifier, load

# as many as are compared with each other at a time by default
IMAGES = 64
# of a side of the input: convolutions and inner products shrink alike
SHRINK = 2
LEAST_SIDE = 32
FLOOR = "both forward passes"
LIMIT = 1e-4
_ERROR = "largest difference from CKA of all maps at once, in float64"


@suite("similarity", label="Similarity", peers=("torch_cka",))
def similarity_suite(subject: Subject, effort: Effort) -> list[Outcome]:
    """Compare all stages of two networks over 64 images, at half the input's size.

    A VGG is compared with its twin with or without batch normalisation, any other network with
    itself in other random weights. The error is the largest difference from CKA computed from
    all maps at once in float64.
    """
    if subject.brief:
        return []
    small = [max(LEAST_SIDE, side // SHRINK) for side in subject.size]
    inputs = F.interpolate(subject.photos(IMAGES), small, mode="bilinear", antialias=True)
    pair = Pair(subject.classifier, _partner(subject.classifier), inputs)
    tasks = [
        Task(FLOOR, "PyTorch", pair.forward, FLOOR),
        pair.task("stored maps, NumPy", pair.dense, keep=True),
        pair.task(OWN, pair.own, Goal("ratio", 1.1)),
    ]
    if has("torch_cka"):
        tasks.append(pair.torch_cka())
    return timed(tasks, subject.device, effort)


@dataclass(eq=False)
class Pair:
    """Two networks on the same images.

    Attributes
    ----------
    one, other : Classifier
        The networks.
    inputs : Tensor of shape (N, 3, H, W)
        What both see, in one batch as far as CKA goes.
    truth : Reference
        CKA of each stage of one and each of the other, once it is known.
    """

    one: Classifier
    other: Classifier
    inputs: Tensor
    truth: Reference = field(default_factory=Reference)

    @property
    def both(self) -> tuple[Classifier, Classifier]:
        """The two networks."""
        return self.one, self.other

    def forward(self) -> None:
        """Run both, a few images at a time."""
        with torch.no_grad():
            for few in torch.split(self.inputs, BATCH_SIZE):
                for each in self.both:
                    each.module(few)

    def own(self) -> np.ndarray:
        """Compute by vizkit: rows of one network, columns of the other."""
        # it shows its progress, and so does torch_cka
        with redirect_stderr(io.StringIO()):
            found = similarity(list(self.both), self.inputs)
        count = len(self.one.stages)
        part: np.ndarray = np.asarray(found.matrix)[:count, count:]
        return part

    def dense(self) -> np.ndarray:
        """Compute from all maps at once, in float64, after the formula."""
        rows, columns = ([_kernel(maps) for maps in self._maps(each)] for each in self.both)
        return np.array([[_cka(row, column) for column in columns] for row in rows])

    def _maps(self, classifier: Classifier) -> list[np.ndarray]:
        found = capture(classifier, self.inputs).values()
        return [maps.flatten(1).cpu().numpy().astype(np.float64) for maps in found]

    def task(
        self,
        tool: str,
        run: Callable[[], np.ndarray],
        goal: Goal | None = None,
        *,
        keep: bool = False,
        note: str = "",
    ) -> Task:
        """Time one way, and compare its values; ``keep`` those with which others are compared."""
        check = self.truth.keep() if keep else self.truth.compare(_ERROR, LIMIT, _apart)
        return Task("CKA, all pairs of stages", tool, run, FLOOR, check, goal, note=note)

    def torch_cka(self) -> Task:
        """Time torch_cka, on the same images in one batch and without gradients."""
        from torch.utils.data import DataLoader, TensorDataset
        from torch_cka import CKA

        loader = DataLoader(TensorDataset(self.inputs), batch_size=len(self.inputs))
        networks = [deepcopy(each.module) for each in self.both]
        paths = [[tap.module for tap in each.stages] for each in self.both]
        explainer = CKA(
            networks[0], networks[1], "one", "other", paths[0], paths[1], str(self.inputs.device)
        )

        def run() -> np.ndarray:
            with torch.no_grad(), redirect_stderr(io.StringIO()):
                explainer.compare(loader, loader)
            found: np.ndarray = explainer.export()["CKA"].numpy()
            return found

        return self.task("torch_cka", run, note="run without gradients, which it keeps otherwise")


def _apart(found: np.ndarray, right: np.ndarray) -> float:
    """Largest difference: CKA has no unit."""
    return float(np.abs(found - right).max()) if np.isfinite(found).all() else np.inf


def _kernel(maps: np.ndarray) -> np.ndarray:
    """Inner products of centred maps, (N, N)."""
    centred = maps - maps.mean(axis=0)
    products: np.ndarray = centred @ centred.T
    return products


def _hsic(one: np.ndarray, other: np.ndarray) -> float:
    """Estimate without bias, as Song et al. (JMLR 2012) write it."""
    n = len(one)
    one, other = (each - np.diag(np.diag(each)) for each in (one, other))
    ends = one.sum() * other.sum() / ((n - 1) * (n - 2))
    middle = 2 / (n - 2) * (one.sum(axis=0) @ other.sum(axis=0))
    return float((np.sum(one * other) + ends - middle) / (n * (n - 3)))


def _cka(one: np.ndarray, other: np.ndarray) -> float:
    return _hsic(one, other) / float(np.sqrt(_hsic(one, one) * _hsic(other, other)))


def _partner(classifier: Classifier) -> Classifier:
    """Find a network to compare with: a VGG's twin, else the same with other weights."""
    twin = _twin(classifier)
    if twin is not None:
        return twin
    module = deepcopy(classifier.module)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for each in module.modules():
            _forget(each)
    return replace(classifier, name=f"{classifier.name} in other weights", module=module)


def _twin(classifier: Classifier) -> Classifier | None:
    recipe = classifier.recipe or {}
    name = str(recipe.get("name", "")).partition(".")[0]
    if not name.rpartition("/")[2].startswith("vgg"):
        return None
    twin = name.removesuffix("_bn") if name.endswith("_bn") else f"{name}_bn"
    # a file of weights fits one network alone
    weights = "default" if recipe.get("weights") == "default" else None
    try:
        return load(twin, weights=weights, device=str(classifier.device))
    except VizkitError:
        return load(twin, weights=None, device=str(classifier.device))


def _forget(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
