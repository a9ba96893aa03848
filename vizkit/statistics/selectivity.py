"""How selectively a channel answers: to one class, to few images."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from vizkit.statistics.registry import Accumulator, Site, statistic
from vizkit.statistics.sample import Sample


@statistic(class_selectivity="class selectivity")
class ClassSelectivity(Accumulator):
    """How far a channel prefers one class of images to the others, in [0, 1].

    (a - b) / (a + b), with a the greatest mean response to a class and b the mean of its mean
    responses to the other classes; the response to an image is the mean over places, at least 0.
    Morcos et al., "On the importance of single directions for generalization", ICLR 2018. NaN for
    a channel that never responds, and where photos of one class only could be read; the whole tap's
    is the mean over the others.
    """

    @classmethod
    def missing(cls, site: Site) -> str | None:
        """Say why the statistics do not exist at a site, or None."""
        known = len(site.classes)
        if known > 1:
            return None
        return "it needs every photo to lie in a class folder, and two or more of them"

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.responses = site.zeros(len(site.classes), site.channels)
        self.images = site.zeros(len(site.classes))

    def update(self, sample: Sample) -> None:
        """Count the maps of some images."""
        if sample.labels is None:
            raise ValueError("a sample without labels")
        own = one_hot(sample.labels.to(self.images.device), len(self.images)).double()
        self.responses = self.responses + own.mT @ sample.means.clamp(min=0)
        self.images = self.images + own.sum(dim=0)

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self.responses = self.responses + other.responses
        self.images = self.images + other.images

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        seen = self.images > 0
        means = self.responses[seen] / self.images[seen, None]
        if len(means) < 2:
            return {"class_selectivity": torch.full_like(self.responses[0], torch.nan)}
        greatest = means.amax(dim=0)
        others = (means.sum(dim=0) - greatest) / (len(means) - 1)
        return {"class_selectivity": (greatest - others) / (greatest + others)}

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        return {name: value.nanmean().item() for name, value in self.channels().items()}


@statistic(lifetime_sparsity="lifetime sparsity")
class LifetimeSparsity(Accumulator):
    """How few of the images a channel answers to, in [0, 1].

    (1 - mean(r)^2 / mean(r^2)) / (1 - 1/N) over N images, with r the mean over places, at least 0:
    0 where every image gives the same response, 1 where only one gives any. Vinje and Gallant,
    "Sparse coding and decorrelation in primary visual cortex during natural vision", Science 2000.
    NaN for a channel that never responds or for a single image; the whole tap's is the mean over
    the others.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.images = site.zeros(1)
        self.sums = site.zeros(site.channels)
        self.squares = site.zeros(site.channels)

    def update(self, sample: Sample) -> None:
        """Count the maps of some images."""
        responses = sample.means.clamp(min=0)
        self.images = self.images + len(responses)
        self.sums = self.sums + responses.sum(dim=0)
        self.squares = self.squares + responses.square().sum(dim=0)

    def merge(self, other: Self) -> None:
        """Count what another accumulator counted."""
        self.images = self.images + other.images
        self.sums = self.sums + other.sums
        self.squares = self.squares + other.squares

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        even = self.sums.square() / self.squares / self.images
        return {"lifetime_sparsity": (1 - even).clamp(min=0) / (1 - 1 / self.images)}

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        return {name: value.nanmean().item() for name, value in self.channels().items()}
