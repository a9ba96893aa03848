"""From photos to a network's input, and what it shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vizkit.errors import InputError
from vizkit.images.photos import Images, Photo
from vizkit.images.transform import Transform
from vizkit.results import Seen


def prepare(
    images: Images, transform: Callable[[Image.Image], Tensor], device: torch.device | str = "cpu"
) -> tuple[Tensor, Seen]:
    """Turn images into one network's input.

    Parameters
    ----------
    images : Images
        Photos pass through the transform; tensors are taken as they are.
    transform : callable
        A `Transform`, or any function from a PIL image to a (3, H, W) tensor.
    device : torch.device or str
        Where the input shall be.

    Returns
    -------
    inputs : Tensor of shape (N, 3, H, W)
        Normalised, float32 (tensors keep their dtype).
    seen : Seen
        The same as pixels.

    Raises
    ------
    InputError
        If the inputs have different sizes.
    """
    tensors, pixels, boxes, originals = [], [], [], []
    for photo in images:
        tensor, view, box, original = _prepare_one(photo, transform)
        tensors.append(tensor)
        pixels.append(view)
        boxes.append(box)
        originals.append(original)
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise InputError(f"inputs of one call must share one shape, not {sorted(shapes)}")
    words = str(transform) if isinstance(transform, Transform) else "the model's own transform"
    if images.photos[0].tensor is not None:
        words = f"tensor, {tensors[0].shape[-1]} x {tensors[0].shape[-2]} px"
    seen = Seen(
        tuple(photo.name for photo in images),
        np.stack(pixels),
        tuple(boxes),
        tuple(originals),
        words,
    )
    return torch.stack(tensors).to(device), seen


def transformed(rgb: Image.Image, transform: Callable[[Image.Image], Tensor]) -> Tensor:
    """Apply any transform to a photo.

    Parameters
    ----------
    rgb : PIL.Image.Image
        The photo.
    transform : callable
        The user's, or a `Transform`.

    Returns
    -------
    Tensor of shape (3, H, W)
        The input.

    Raises
    ------
    InputError
        If the transform gives something else.
    """
    tensor = transform(rgb)
    if not isinstance(tensor, Tensor) or tensor.ndim != 3 or tensor.shape[0] != 3:
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InputError(f"the transform must give a (3, H, W) tensor, not {shape}")
    return tensor


def _prepare_one(
    photo: Photo, transform: Callable[[Image.Image], Tensor]
) -> tuple[Tensor, np.ndarray, tuple[float, float, float, float], np.ndarray | None]:
    if photo.tensor is not None:
        height, width = photo.tensor.shape[-2:]
        normal = transform if isinstance(transform, Transform) else Transform()
        return photo.tensor, normal.denormalize(photo.tensor), (0.0, 0.0, width, height), None
    rgb = photo.rgb
    if isinstance(transform, Transform):
        view = transform.view(rgb)
        tensor = transform.normalize(torch.from_numpy(view))
        return tensor, view, transform.box(rgb.size), np.asarray(rgb)
    tensor = transformed(rgb, transform)
    # an unknown transform: stretch its output to what can be shown, and claim the whole photo
    low, high = tensor.min(), tensor.max()
    shown = ((tensor - low) / (high - low).clamp_min(1e-12) * 255).round().to(torch.uint8)
    box = (0.0, 0.0, float(rgb.width), float(rgb.height))
    return tensor, shown.movedim(0, -1).numpy(), box, np.asarray(rgb)
