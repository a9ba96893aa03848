"""What suites are given: a network, copies of it for others to use, and photos."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vizkit.images import as_images, prepare, samples
from vizkit.models import Classifier

# the project's goals are about these, on one CPU thread
GOAL_MODELS = ("vgg16", "vgg19_bn", "ese_vovnet19b_dw")


@dataclass(frozen=True)
class Subject:
    """A network to measure.

    Attributes
    ----------
    classifier : Classifier
        As vizkit uses it.
    brief : bool
        Whether to leave out what takes long and was measured on such a network already.
    """

    classifier: Classifier
    brief: bool = False

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.classifier.device

    @cached_property
    def network(self) -> nn.Module:
        """A copy with trainable weights: some tools fail without, and some change the network."""
        return deepcopy(self.classifier.module).eval().requires_grad_(True)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        height, width = getattr(self.classifier.transform, "size", (224, 224))
        return int(height), int(width)

    def has_goals(self, threads: int) -> bool:
        """Tell whether the project's goals are about this network, here."""
        short = self.classifier.name.partition(".")[0]
        return short in GOAL_MODELS and self.device.type == "cpu" and threads == 1

    def photos(self, count: int = 1) -> Tensor:
        """Prepare photos: parts of the bundled ones, always the same, each another.

        Parameters
        ----------
        count : int
            How many.

        Returns
        -------
        Tensor of shape (count, 3, H, W)
            As the network takes them.
        """
        inputs, _ = prepare(as_images(_parts(count)), self.classifier.transform)
        return inputs.to(self.device, self.classifier.dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        """Run the network as it is: the floor of what needs no gradients."""
        with torch.no_grad():
            logits: Tensor = self.classifier.module(inputs)
        return logits

    def backward(self, inputs: Tensor) -> Tensor:
        """Run it forward and backward: the floor of what needs gradients."""
        pixels = inputs.clone().requires_grad_()
        logits = self.classifier.module(pixels)
        return torch.autograd.grad(logits[0, 0], pixels)[0]


def _parts(count: int) -> list[Image.Image]:
    """Cut parts of the bundled photos, each seven tenths as wide and high, at random places."""
    generator = np.random.default_rng(0)
    photos = list(samples().values())
    found = []
    for n in range(count):
        photo = photos[n % len(photos)]
        width, height = (round(0.7 * side) for side in photo.size)
        left = int(generator.integers(photo.width - width + 1))
        top = int(generator.integers(photo.height - height + 1))
        found.append(photo.crop((left, top, left + width, top + height)))
    return found
