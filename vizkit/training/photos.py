"""The labelled photos of a folder, and what is done to each before the network sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, v2

from vizkit.errors import InputError
from vizkit.files import printable
from vizkit.images import Transform, read
from vizkit.interrupts import surely
from vizkit.labels import labelled
from vizkit.models.names import synset_names
from vizkit.training.recipe import Recipe

Item = tuple[Tensor, int] | tuple[str, str]
Batch = tuple[Tensor, Tensor, dict[str, str]]


class Folder(Dataset[Item]):
    """Photos in folders named after their classes.

    An item is the photo's pixels (3, H, W), uint8, and its class; or the file and the reason
    why it cannot be read.

    Parameters
    ----------
    root : Path
        One folder a class.
    """

    def __init__(self, root: Path) -> None:
        photos = labelled(root)
        self.folders = sorted({name for _, name in photos})
        self.paths = [path for path, _ in photos]
        numbers = {name: number for number, name in enumerate(self.folders)}
        self.labels = [numbers[name] for _, name in photos]
        self.view: Callable[[Image.Image], Tensor] = v2.PILToTensor()
        self.draw: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Item:
        path = printable(self.paths[index])
        try:
            return self._seen(read(self.paths[index]), index), self.labels[index]
        except InputError as error:
            # a value, because an exception would leave a worker as pages of text
            return path, f"{path}: {str(error).removeprefix(f'{path}: ')}"

    def _seen(self, photo: Image.Image, index: int) -> Tensor:
        if self.draw is None:
            return self.view(photo)
        with surely(torch.random.fork_rng(devices=[])):
            torch.manual_seed((self.draw * 1_000_003 + index) % 2**63)
            return self.view(photo)

    def crop_at_random(self, recipe: Recipe, epoch: int, transform: Transform) -> None:
        """Show the photos as an epoch of training sees them.

        Parameters
        ----------
        recipe : Recipe
            How photos are cropped and augmented.
        epoch : int
            Counted from zero; says the size and which random numbers are drawn.
        transform : Transform
            The network's own, for its interpolation and mean colour.
        """
        self.view = _training_view(recipe, recipe.size(epoch), transform)
        self.draw = epoch_seed(recipe, epoch) if recipe.draws == "photo" else None

    def crop_centre(self, transform: Transform, size: int) -> None:
        """Show the photos as `vizkit.evaluate` does, at another size.

        Parameters
        ----------
        transform : Transform
            The network's own.
        size : int
            Height and width, in pixels.
        """
        scale = tuple(int(size * whole / own) for whole, own in zip(
            transform.resize, transform.size, strict=True
        ))  # fmt: skip
        own = transform.size == (size, size)
        resized = Transform(
            size=(size, size),
            resize=transform.resize if own else (scale[0], scale[1]),
            interpolation=transform.interpolation,
            squash=transform.squash,
        )
        self.view = _Centre(resized)
        self.draw = None


@dataclass(frozen=True)
class _Centre:
    transform: Transform

    def __call__(self, photo: Image.Image) -> Tensor:
        return torch.from_numpy(self.transform.view(photo)).permute(2, 0, 1)


def epoch_seed(recipe: Recipe, epoch: int) -> int:
    """Return the seed from which all random numbers of an epoch, counted from zero, come."""
    return recipe.seed * 100_003 + epoch


def collate(items: list[Item]) -> Batch:
    """Stack the photos that could be read, and name the others.

    Parameters
    ----------
    items : list
        Of a `Folder`.

    Returns
    -------
    tuple of (Tensor of shape (N, 3, H, W), Tensor of shape (N,), dict of str to str)
        Pixels, classes, and the reasons by file.
    """
    failed = {str(file): str(why) for file, why in items if isinstance(file, str)}
    good = [(pixels, label) for pixels, label in items if isinstance(pixels, Tensor)]
    if not good:
        return torch.empty(0), torch.empty(0, dtype=torch.long), failed
    return torch.stack([p for p, _ in good]), torch.tensor([int(n) for _, n in good]), failed


def class_names(folders: list[str]) -> list[str]:
    """Return the names of classes: those of ImageNet's synsets, else the folders' own.

    Parameters
    ----------
    folders : list of str
        Names of class folders.

    Returns
    -------
    list of str
        In the same order.
    """
    names = [synset_names().get(folder, folder) for folder in folders]
    # two synsets of ImageNet share a name: crane, maillot
    return names if len(set(names)) == len(names) else folders


def _training_view(recipe: Recipe, size: int, transform: Transform) -> Callable[[Any], Tensor]:
    how = InterpolationMode(transform.interpolation)
    augment: dict[str, Callable[[], Any]] = {
        "none": v2.Identity,
        "randaugment": lambda: v2.RandAugment(magnitude=recipe.magnitude),
        "autoaugment": v2.AutoAugment,
        "trivialaugment": v2.TrivialAugmentWide,
        "augmix": v2.AugMix,
    }
    steps = [
        v2.RandomResizedCrop(size, scale=(recipe.min_crop, 1.0), interpolation=how),
        v2.RandomHorizontalFlip(recipe.flip),
        augment[recipe.augment](),
        v2.PILToTensor(),
    ]
    if recipe.erase:
        grey = [round(255 * share) for share in transform.mean]
        steps.append(v2.RandomErasing(recipe.erase, value=grey))
    composed: Callable[[Any], Tensor] = v2.Compose(steps)
    return composed
