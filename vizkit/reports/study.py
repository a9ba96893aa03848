"""Everything that a report shows, computed before anything is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from vizkit.attribution import areas, perturbation_curves
from vizkit.cka import similarity
from vizkit.comparing import compare
from vizkit.comparing.parting import disagreement, disputed, explained
from vizkit.errors import ConvergenceWarning, InputError
from vizkit.images import Images, readable
from vizkit.interrupts import surely
from vizkit.models import Classifier
from vizkit.results import Attributions, Comparison, Disagreement, Similarity, StageStatistics
from vizkit.speed import measure
from vizkit.statistics import describe
from vizkit.streaming import labels_of

METHODS = ("grad_cam", "guided_grad_cam", "integrated_gradients")
# fewer images say nothing of how alike two networks are
FEW = 4
ENOUGH = 50
DISPUTED = 6
CURVE_STEPS = 10


@dataclass(frozen=True)
class Study:
    """The results of a report.

    Attributes
    ----------
    classifiers : list of Classifier
        The networks.
    images : Images
        All of them.
    comparison : Comparison
        Of the images that get pictures of their own.
    curves : DataFrame
        Deletion and insertion curves of the maps of these.
    statistics : StageStatistics
        Of the stages, over all images.
    layers : StageStatistics or None
        Of every layer of VGGs.
    similarity : Similarity or None
        None for fewer than four images.
    disagreement : Disagreement or None
        None for one network, or networks that share no classes.
    gallery : list of Attributions
        The maps of the most disputed images, one per network.
    speed : DataFrame
        As `vizkit.speed.measure` returns it; empty if it was not asked for.
    missing : dict of str to str
        What could not be computed, and why.
    """

    classifiers: list[Classifier]
    images: Images
    comparison: Comparison
    curves: pd.DataFrame
    statistics: StageStatistics
    layers: StageStatistics | None = None
    similarity: Similarity | None = None
    disagreement: Disagreement | None = None
    gallery: list[Attributions] = field(default_factory=list)
    speed: pd.DataFrame = field(default_factory=pd.DataFrame)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        """Whether the images' own classes are known."""
        return self.disagreement is not None and self.disagreement.labelled

    @property
    def enough(self) -> bool:
        """Whether there are images enough for numbers of similarity to rely on."""
        return self.similarity is not None and self.similarity.images >= ENOUGH

    @property
    def seen(self) -> str:
        """What the networks see, for captions."""
        words = list(dict.fromkeys(self.comparison.transforms.values()))
        return f"input {words[0]}" if len(words) == 1 else "every model through its own transform"


def study(
    classifiers: list[Classifier],
    images: Images,
    *,
    max_images: int,
    methods: Sequence[str],
    speed: pd.DataFrame | None,
) -> Study:
    """Run all networks on all images.

    Parameters
    ----------
    classifiers : list of Classifier
        The networks.
    images : Images
        Any number.
    max_images : int
        How many, evenly spaced, get pictures of their own.
    methods : sequence of str
        Attribution methods.
    speed : DataFrame, optional
        Measured earlier; by default it is measured now.

    Returns
    -------
    Study
        Complete but for what these networks and images do not allow.

    Raises
    ------
    InputError
        If no image can be read, or a method cannot explain a network.
    """
    steps = _Steps(classifiers, images, max_images, tuple(methods), speed)
    with tqdm(total=len(steps.names), desc="report") as bar:
        for name, step in steps.names.items():
            bar.set_postfix_str(name)
            step()
            bar.update()
    return Study(classifiers, images, missing=steps.missing, **steps.found)


def spread(images: Images, count: int) -> Images:
    """Choose images evenly spaced, so that of a folder of classes all have their turn.

    Parameters
    ----------
    images : Images
        Any number.
    count : int
        The most that are wanted.

    Returns
    -------
    Images
        Readable ones, in memory, in order.

    Raises
    ------
    InputError
        If none can be read.
    """
    left = list(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))
    found, failed = readable(Images(tuple(images.photos[n] for n in left)))
    # what cannot be read is replaced by the next that can
    others = iter([n for n in range(len(images)) if n not in set(left)])
    while len(found) < min(count, len(images)):
        following = next(others, None)
        if following is None:
            break
        more, reasons = readable(images[following])
        found, failed = Images(found.photos + more.photos), failed | reasons
    if not len(found):
        raise InputError(f"none of the images can be read: {'; '.join(list(failed.values())[:3])}")
    return found


class _Steps:
    """The steps of a study, in order; each adds to what was found."""

    def __init__(
        self,
        classifiers: list[Classifier],
        images: Images,
        max_images: int,
        methods: tuple[str, ...],
        speed: pd.DataFrame | None,
    ) -> None:
        self.classifiers, self.images = classifiers, images
        self.shown = spread(images, max_images)
        self.methods = methods
        self.found: dict[str, Any] = {} if speed is None else {"speed": speed}
        self.missing: dict[str, str] = {}
        self.names: dict[str, Callable[[], None]] = {
            "comparison": self._compare,
            "faithfulness": self._judge,
            "statistics": self._describe,
            "layers": self._layers,
            "similarity": self._similarity,
            "disagreement": self._part,
        }
        if speed is None:
            self.names["speed"] = self._time

    def _compare(self) -> None:
        with surely(warnings.catch_warnings()):
            # the page tells it, from the errors in the result
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.found["comparison"] = compare(self.classifiers, self.shown, methods=self.methods)

    def _judge(self) -> None:
        comparison: Comparison = self.found["comparison"]
        strides = common_strides(comparison)[-2:]
        curves = [
            perturbation_curves(each, _at(attributions, strides), steps=CURVE_STEPS)
            for each, attributions in zip(
                self.classifiers, comparison.attributions.values(), strict=True
            )
        ]
        self.found["curves"] = pd.concat(curves, ignore_index=True)

    def _describe(self) -> None:
        self.found["statistics"] = describe(self.classifiers, self.images)

    def _layers(self) -> None:
        vggs = [each for each in self.classifiers if type(each.module).__name__ == "VGG"]
        if vggs:
            # the median brings the whole distribution along
            names = ["mean", "std", "sparsity", "dead", "energy", "median"]
            self.found["layers"] = describe(vggs, self.images, names, at="layers")

    def _similarity(self) -> None:
        if len(self.images) < FEW:
            self.missing["similarity"] = f"it takes at least {FEW} images"
            return
        try:
            self.found["similarity"] = similarity(self.classifiers, self.images)
        except InputError as error:
            self.missing["similarity"] = str(error)

    def _part(self) -> None:
        if len(self.classifiers) < 2:
            self.missing["disagreement"] = "it takes at least two models"
            return
        try:
            found = self._disagreement()
        except InputError as error:
            self.missing["disagreement"] = str(error)
            return
        self.found["disagreement"] = found
        few = disputed(found, self.images, min(DISPUTED, found.images))
        self.found["gallery"] = explained(
            self.classifiers, readable(few)[0], labelled=found.labelled
        )

    def _disagreement(self) -> Disagreement:
        try:
            return disagreement(self.classifiers, self.images)
        except InputError as error:
            if labels_of(self.images) is None:
                raise
            # folders that are no classes of the models are just folders
            self.missing["labels"] = str(error)
            return disagreement(self.classifiers, self.images, labelled=False)

    def _time(self) -> None:
        self.found["speed"] = measure(self.classifiers)


def common_strides(comparison: Comparison) -> list[int]:
    """List the strides at which every network has a stage."""
    own = [{tap.stride for tap in maps} for maps in comparison.maps.values()]
    return sorted(set.intersection(*own))


def faithfulness_of(curves: pd.DataFrame) -> pd.DataFrame:
    """Average the areas under the curves over images: a row per model, method and stage."""
    table = areas(curves)
    table = table.rename(columns={"insertion_auc": "insertion", "deletion_auc": "deletion"})
    groups = table.groupby(["model", "method", "stage"], sort=False)
    means = groups[["insertion", "deletion"]].mean().reset_index()
    means["difference"] = means["insertion"] - means["deletion"]
    means["images"] = groups.size().to_numpy()
    return means


def _at(attributions: Attributions, strides: Sequence[int]) -> Attributions:
    """Keep a few stages of the stage-level methods, and all at the input."""
    wanted = {name for t in attributions.taps if t.stride in strides for name in (t.name, t.label)}
    names = dict.fromkeys(key for maps in attributions.values.values() for key in maps)
    kept = [name for name in names if name in wanted or name == "input"]
    return attributions.select(stages=kept or None)
