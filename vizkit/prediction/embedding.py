"""Images as vectors: what the last layer of a network classifies from."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.errors import flags
from vizkit.forward import BATCH_SIZE, last_layer, recorded
from vizkit.images import Images, as_images
from vizkit.memory import in_parts
from vizkit.models import Classifier, as_classifier
from vizkit.prediction.predicting import require_some, warn_of
from vizkit.results import Embeddings
from vizkit.streaming import labels_of, stream


def embed(model: str | nn.Module | Classifier, images: object, pool: bool = True) -> Tensor:
    """Embed images in the space that a network classifies from.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        The network.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        What to embed. Files that cannot be read are left out with a warning.
    pool : bool
        True: the input of the last classifier layer (VGG 4096 wide, VoVNet 1024). False: the
        last feature map.

    Returns
    -------
    Tensor of shape (N, F), or (N, C, h, w) without pooling
        On the network's device.

    Raises
    ------
    InputError
        If no image can be read.
    VizkitError
        If the network has no last linear layer to read before.
    """
    flags(pool=pool)
    found, _, failed = _embedded(as_classifier(model), as_images(images), pool)
    warn_of(failed)
    return found


def embeddings(model: str | nn.Module | Classifier, images: object) -> Embeddings:
    """Embed images, and keep their names and classes with the vectors.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        The network.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Any number; a folder of class folders brings the classes.

    Returns
    -------
    Embeddings
        One vector per image, as `embed` gives them, on the CPU.

    Raises
    ------
    InputError
        If no image can be read.
    VizkitError
        If the network has no last linear layer to read before.
    """
    classifier, photos = as_classifier(model), as_images(images)
    vectors, positions, failed = _embedded(classifier, photos, pool=True)
    warn_of(failed)
    read = Images(tuple(photos.photos[n] for n in positions))
    return Embeddings(
        model=classifier.name,
        vectors=vectors.float().cpu(),
        names=tuple(photo.name for photo in read),
        labels=labels_of(read),
        failed=failed,
    )


def _embedded(
    classifier: Classifier, images: Images, pool: bool
) -> tuple[Tensor, list[int], dict[str, str]]:
    """Give vectors or maps, where their images stand among all, and what could not be read."""
    parts: list[Tensor] = []
    positions: list[int] = []
    failed: dict[str, str] = {}
    read = _pooled if pool else _last_maps
    quiet = len(images) <= BATCH_SIZE
    with tqdm(total=len(images), desc="embeddings", unit="image", disable=quiet) as bar:
        for batch in stream([classifier], images):
            failed |= batch.failed
            positions += batch.positions
            if batch.positions:
                inputs = batch.inputs[0]
                parts += in_parts(partial(read, classifier, inputs), len(inputs))
            bar.update(len(batch))
    require_some(len(images), failed)
    return torch.cat(parts), positions, failed


def _pooled(classifier: Classifier, inputs: Tensor, part: slice) -> Tensor:
    _, read = last_layer(classifier.module, inputs[part])
    return read.mean(dim=(-2, -1)) if read.ndim == 4 else read.flatten(1)


def _last_maps(classifier: Classifier, inputs: Tensor, part: slice) -> Tensor:
    last = classifier.stages[-1]
    with recorded(classifier.module, [last], inputs[part]) as (recorder, _):
        return recorder.outputs[last]
