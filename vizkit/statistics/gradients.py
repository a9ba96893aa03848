"""How strongly the loss depends on the maps of a tap."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from torch import Tensor

from vizkit.statistics.registry import Accumulator, Site, statistic
from vizkit.statistics.sample import Sample


@statistic(gradient_norm="gradient of the loss with respect to the maps")
class GradientNorm(Accumulator):
    """Euclidean norm of the gradient of an image's cross-entropy, mean over images.

    The loss is -log p of the image's own class where the photos lie in folders named after the
    classes of every network described, of the predicted class otherwise: the unit says which. NaN
    where nothing depends on the maps, or the network computes without gradients. The whole tap's
    is the norm over all its maps together, a channel's that over its own map. One backward pass
    for all taps.
    """

    backward: ClassVar[bool] = True

    @classmethod
    def missing(cls, site: Site) -> str | None:
        """Say why the statistics do not exist at a site, or None."""
        return None if site.differentiable else "the network was made in torch.inference_mode()"

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.images = site.zeros(1)
        self.total = site.zeros(1)
        self.norms = site.zeros(site.channels)

    def update(self, sample: Sample) -> None:
        """Count the gradients of some images."""
        if sample.gradients is None:
            raise ValueError("a sample without gradients")
        short = sample.gradients.dtype in {torch.bfloat16, torch.float16}
        gradients = sample.gradients.float() if short else sample.gradients
        norms = sample.exact(torch.linalg.vector_norm(gradients, dim=(-2, -1)))
        self.images = self.images + len(norms)
        self.norms = self.norms + norms.sum(dim=0)
        self.total = self.total + torch.linalg.vector_norm(norms, dim=1).sum()

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self.images = self.images + other.images
        self.norms = self.norms + other.norms
        self.total = self.total + other.total

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        return {"gradient_norm": self.norms / self.images}

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        return {"gradient_norm": (self.total / self.images).item()}
