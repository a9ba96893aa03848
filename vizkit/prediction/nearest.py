"""Which images lie next to each other in a network's embedding."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vizkit.errors import InputError, whole
from vizkit.images import as_images
from vizkit.models import as_classifiers
from vizkit.prediction.embedding import embeddings
from vizkit.results import Embeddings

# queries whose similarities to all images are held at once
_CHUNK = 1024


def neighbours(models: Any, images: object, queries: object = None, k: int = 5) -> pd.DataFrame:
    """Find the images that lie nearest to others in the embeddings of networks.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Names, modules or classifiers; each has an embedding of its own.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Among which to search.
    queries : path, folder, PIL image, array, tensor, Images, or a list of these, optional
        Images to find neighbours of; by default every one of ``images``, itself left out.
    k : int
        How many to find for each.

    Returns
    -------
    DataFrame
        model, query, rank (from 1), image, similarity (cosine, in [-1, 1]), nearest first; of
        photos in class folders also query_class and class.

    Raises
    ------
    InputError
        If there are no other images, ``k`` is not positive, or none can be read.
    """
    k = whole("k", k)
    photos = as_images(images)
    asked = photos if queries is None else as_images(queries)
    if queries is None and len(photos) < 2:
        raise InputError("one image has no neighbours: give more images, or queries")
    tables = []
    for classifier in as_classifiers(models):
        among = embeddings(classifier, photos)
        own = among if queries is None else embeddings(classifier, asked)
        tables.append(_nearest(own, among, k))
    return pd.concat(tables, ignore_index=True)


def _nearest(asked: Embeddings, among: Embeddings, k: int) -> pd.DataFrame:
    directions = normalize(among.vectors, dim=1)
    itself = asked is among
    if len(among.names) < 1 + itself:
        raise InputError("only one image can be read: it has no neighbours")
    if not (among.vectors.isfinite().all() and asked.vectors.isfinite().all()):
        raise InputError(f"{among.model} gives NaN or infinity")
    count = min(k, len(among.names) - itself)
    values, places = [], []
    for start in range(0, len(asked.names), _CHUNK):
        own = normalize(asked.vectors[start : start + _CHUNK], dim=1) @ directions.T
        if itself:
            own.diagonal(start).fill_(-torch.inf)
        best = own.topk(count, dim=1)
        values.append(best.values)
        places.append(best.indices)
    return _table(asked, among, torch.cat(values), torch.cat(places))


def _table(asked: Embeddings, among: Embeddings, values: Tensor, places: Tensor) -> pd.DataFrame:
    count = places.shape[1]
    rows = places.flatten().tolist()
    table = pd.DataFrame(
        {
            "model": among.model,
            "query": [name for name in asked.names for _ in range(count)],
            "rank": list(range(1, count + 1)) * len(asked.names),
            "image": [among.names[n] for n in rows],
            "similarity": values.flatten().tolist(),
        }
    )
    if asked.labels and among.labels:
        table["query_class"] = [label for label in asked.labels for _ in range(count)]
        table["class"] = [among.labels[n] for n in rows]
    return table
