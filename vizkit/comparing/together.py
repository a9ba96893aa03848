"""Several networks that look at the same images, held open until all have answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor

from vizkit.attribution.explaining import Explainer, Pass
from vizkit.images import Images
from vizkit.models import Classifier
from vizkit.results import Seen


@contextmanager
def opened(explainers: Sequence[Explainer], images: Images) -> Iterator[list[Pass]]:
    """Run every network once on some images, each through its own transform.

    Parameters
    ----------
    explainers : sequence of Explainer
        The networks, and how they will be explained.
    images : Images
        Few: the graphs of all networks are kept until they are explained.

    Yields
    ------
    list of Pass
        One per network, in their order.
    """
    order = _locking([each.classifier for each in explainers])
    with ExitStack() as stack:
        found = {n: stack.enter_context(explainers[n].opened(images)) for n in order}
        yield [found[n] for n in range(len(explainers))]


@contextmanager
def opened_on(
    explainers: Sequence[Explainer], inputs: Sequence[Tensor], seen: Sequence[Seen]
) -> Iterator[list[Pass]]:
    """Do the same with inputs that are prepared already.

    Parameters
    ----------
    explainers : sequence of Explainer
        The networks, and how they will be explained.
    inputs : sequence of Tensor of shape (N, 3, H, W)
        One per network, on its device.
    seen : sequence of Seen
        The same as pixels.

    Yields
    ------
    list of Pass
        One per network, in their order.
    """
    order = _locking([each.classifier for each in explainers])
    with ExitStack() as stack:
        found = {n: stack.enter_context(explainers[n].opened_on(inputs[n], seen[n])) for n in order}
        yield [found[n] for n in range(len(explainers))]


def _locking(classifiers: Sequence[Classifier]) -> list[int]:
    """Order in which networks are held: the same in every thread, so that none waits for ever."""
    return sorted(range(len(classifiers)), key=lambda n: id(classifiers[n].module))
