"""What a network says about images, and the embedding it says it from."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn

from vizkit.errors import InputError
from vizkit.forward import BATCH_SIZE, captured_batches, last_layer, to_network
from vizkit.images import as_images, prepare
from vizkit.models import Classifier, as_classifier
from vizkit.results import FeatureMaps


def predict(model: str | nn.Module | Classifier, images: object, k: int = 5) -> pd.DataFrame:
    """Classify images.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        The network.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        What to classify.
    k : int
        How many classes to list for each image, most probable first.

    Returns
    -------
    DataFrame
        One row per image and rank: image, rank (from 1), class, index, probability (softmax,
        in [0, 1]), logit.

    Raises
    ------
    InputError
        If ``k`` is not positive or an image cannot be read.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
    classifier = as_classifier(model)
    batches = captured_batches(classifier, as_images(images), ())
    return pd.concat([top(batch, k) for batch in batches], ignore_index=True)


def top(maps: FeatureMaps, k: int) -> pd.DataFrame:
    """List the most probable classes of captured images; see `predict`.

    Parameters
    ----------
    maps : FeatureMaps
        Of any taps; only the logits are used.
    k : int
        How many classes to list for each image.

    Returns
    -------
    DataFrame
        As `predict` returns it.
    """
    logits = maps.logits.float().cpu()
    probabilities = logits.softmax(dim=1)
    values, indices = probabilities.topk(min(k, logits.shape[1]))
    rows = [
        {
            "image": name,
            "rank": rank + 1,
            "class": maps.classes[index] if index < len(maps.classes) else f"class {index}",
            "index": index,
            "probability": values[n, rank].item(),
            "logit": logits[n, index].item(),
        }
        for n, name in enumerate(maps.seen.names)
        for rank, index in enumerate(indices[n].tolist())
    ]
    return pd.DataFrame(rows)


def embed(model: str | nn.Module | Classifier, images: object, pool: bool = True) -> Tensor:
    """Embed images in the space that a network classifies from.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        The network.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        What to embed.
    pool : bool
        True: the input of the last classifier layer (VGG 4096 wide, VoVNet 1024). False: the
        last feature map.

    Returns
    -------
    Tensor of shape (N, F), or (N, C, h, w) without pooling
        On the network's device.

    Raises
    ------
    VizkitError
        If the network has no last linear layer to read before.
    """
    classifier = as_classifier(model)
    if not pool:
        last = classifier.stages[-1:]
        batches = captured_batches(classifier, as_images(images), last)
        return torch.cat([maps[last[0]] for maps in batches])
    parts = []
    for batch in as_images(images).batches(BATCH_SIZE):
        inputs, _ = prepare(batch, classifier.transform)
        _, read = last_layer(classifier.module, to_network(inputs, classifier))
        parts.append(read.mean(dim=(-2, -1)) if read.ndim == 4 else read.flatten(1))
    return torch.cat(parts)
