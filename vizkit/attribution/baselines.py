"""What stands for "nothing there": the inputs that methods and measures compare with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from vizkit.errors import InputError, choice
from vizkit.images import Transform

BASELINES = ("mean", "black", "white", "blur")


def baseline_of(kind: str, inputs: Tensor, transform: Callable[..., Tensor]) -> Tensor:
    """Make the baseline of some inputs.

    Parameters
    ----------
    kind : str
        ``"mean"``: the mean colour of the training photos, zero after normalisation;
        ``"black"`` or ``"white"``; ``"blur"``: the photo itself, blurred with a standard
        deviation of a twentieth of its shorter side, which keeps its colours.
    inputs : Tensor of shape (N, 3, H, W)
        Normalised.
    transform : callable
        The network's own, of which black and white need mean and standard deviation.

    Returns
    -------
    Tensor of shape (N, 3, H, W)
        Normalised.

    Raises
    ------
    InputError
        If the kind is unknown, or black or white is asked for and the transform is unknown.
    """
    choice("baseline", kind, BASELINES)
    if kind == "mean":
        return torch.zeros_like(inputs)
    if kind == "blur":
        return _blurred(inputs)
    if not isinstance(transform, Transform):
        raise InputError(f"baseline {kind!r} needs a vizkit.Transform; 'mean' and 'blur' do not")
    pixel = torch.full((1, 1, 3), 255.0 if kind == "white" else 0.0)
    return transform.normalize(pixel).to(inputs).expand_as(inputs).clone()


def _blurred(inputs: Tensor) -> Tensor:
    height, width = inputs.shape[-2:]
    sigma = min(height, width) / 20
    # an odd kernel of three standard deviations, which reflection at the border allows
    reach = min(round(3 * sigma), (min(height, width) - 1) // 2)
    blurred: Tensor = gaussian_blur(inputs.float(), [2 * max(reach, 1) + 1] * 2, [sigma] * 2)
    return blurred.to(inputs.dtype)
