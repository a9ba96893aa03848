"""Several networks that look at the same images, held open until all have answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from torch import Tensor

from vizkit.attribution.explaining import Explainer, Pass
from vizkit.images import Images
from vizkit.interrupts import managed, nested
from vizkit.results import Seen


@managed
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
    with _all(explainers, [each.opened(images) for each in explainers]) as found:
        yield found


@managed
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
    passes = [
        each.opened_on(own, view) for each, own, view in zip(explainers, inputs, seen, strict=True)
    ]
    with _all(explainers, passes) as found:
        yield found


@managed
def _all(
    explainers: Sequence[Explainer], passes: Sequence[AbstractContextManager[Pass, bool | None]]
) -> Iterator[list[Pass]]:
    """Hold all networks, taken in one order by every thread, so that none waits for ever."""
    order = sorted(range(len(passes)), key=lambda n: id(explainers[n].classifier.module))
    with nested([passes[n] for n in order]) as taken:
        found = dict(zip(order, taken, strict=True))
        yield [found[n] for n in range(len(passes))]
