"""The registry of statistics. An accumulator may give several that share their sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from vizkit.results import Tap
from vizkit.statistics.sample import CPU, Sample


@dataclass(frozen=True)
class Site:
    """What is known of a tap before the first image.

    Attributes
    ----------
    tap : Tap
        Where the maps come from.
    classes : tuple of str
        Folders of the photos, in the order of a sample's labels; empty without labels.
    norm : BatchNorm or None
        The batch normalisation whose output this is, if it is one.
    device : torch.device
        Where sums are kept: the network's, so that counting never waits for a GPU.
    differentiable : bool
        False for networks made in inference mode.
    """

    tap: Tap
    classes: tuple[str, ...] = ()
    norm: _BatchNorm | None = None
    device: torch.device = CPU
    differentiable: bool = True

    @property
    def channels(self) -> int:
        """Number of feature maps."""
        return self.tap.channels

    def zeros(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Make an empty sum."""
        return torch.zeros(*shape, dtype=dtype, device=self.device)


class Accumulator(ABC):
    """Sums over the images seen so far, for one tap.

    Everything that changes is held in tensors of a fixed size, so that memory does not grow and
    a run can be stored, continued and joined with others.

    Parameters
    ----------
    site : Site
        Where it counts.
    """

    # whether samples must come with gradients
    backward: ClassVar[bool] = False
    # whether it looks at sampled places only
    sampled: ClassVar[bool] = False

    @classmethod
    def missing(cls, site: Site) -> str | None:  # noqa: ARG003
        """Say why the statistics do not exist at a site, or None."""
        return None

    def __init__(self, site: Site) -> None:
        self.site = site

    @abstractmethod
    def update(self, sample: Sample) -> None:
        """Count the maps of some images."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Count what another accumulator counted, as if it had been seen here."""

    @abstractmethod
    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""

    def channels(self) -> dict[str, Tensor]:
        """Those statistics that exist per channel: (C,), float64."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Return the sums by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from the sums of another, of the same site."""
        for name, value in state.items():
            setattr(self, name, value.to(self.site.device))


ACCUMULATORS: dict[str, type[Accumulator]] = {}
STATISTICS: dict[str, str] = {}
DEFAULT: list[str] = []


def statistic(
    *, by_default: bool = False, **units: str
) -> Callable[[type[Accumulator]], type[Accumulator]]:
    """Register an accumulator.

    Parameters
    ----------
    by_default : bool
        Whether its statistics are computed when none are asked for by name.
    **units : str
        The statistics it gives, each with its unit as axis labels print it.

    Returns
    -------
    callable
        A decorator that leaves the class as it is.
    """

    def register(cls: type[Accumulator]) -> type[Accumulator]:
        STATISTICS.update(units)
        ACCUMULATORS.update(dict.fromkeys(units, cls))
        DEFAULT.extend(units if by_default else ())
        return cls

    return register
