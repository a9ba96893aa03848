"""A network's own preprocessing, and what it does to places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vizkit.errors import InputError, choice, finite, flags, listed, pair, positive, shown, whole
from vizkit.images.decoding import to_rgb

# pixels of a photo scaled for a network: 300 MB; a photo of 1 x 10000 would become 2 GB
_MOST_SCALED = 100_000_000
# the longest side of an input, in pixels: a JPEG has no longer one
_MOST_SIDE = 65_535
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Transform:
    """A network's own preprocessing: resize the shorter side, crop the centre, normalise.

    Attributes
    ----------
    size : tuple of (int, int)
        Height and width of the input, in pixels.
    resize : tuple of (int, int)
        Height and width, in pixels, within which the photo is scaled before the crop; the
        photo keeps its aspect ratio and covers both (``squash`` false).
    mean, std : tuple of float
        Subtracted from and divided into each channel of values in [0, 1]: three numbers each, or
        one each for all channels.
    interpolation : str
        ``"nearest"``, ``"bilinear"``, ``"bicubic"`` or ``"lanczos"``.
    squash : bool
        Resize both sides independently instead, without a crop.

    Raises
    ------
    InputError
        If a value is of another kind, or out of range.
    """

    size: tuple[int, int] = (224, 224)
    resize: tuple[int, int] = (256, 256)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        choice("interpolation", self.interpolation, _RESAMPLING)
        flags(squash=self.squash)
        side = partial(whole, most=_MOST_SIDE)
        found = {name: pair(name, getattr(self, name), side) for name in ("size", "resize")}
        mean, std = _each("mean", self.mean, finite), _each("std", self.std, positive)
        if len(mean) != len(std):
            raise InputError(f"mean and std must go together: {len(mean)} and {len(std)} numbers")
        # lists become tuples, so that a transform can be hashed and is written in one way
        for name, value in {**found, "mean": mean, "std": std}.items():
            object.__setattr__(self, name, value)

    def __call__(self, photo: Image.Image) -> Tensor:
        """Turn a photo into a network input.

        Parameters
        ----------
        photo : PIL.Image.Image
            Any mode.

        Returns
        -------
        Tensor of shape (3, H, W), float32
            Normalised.
        """
        return self.normalize(torch.from_numpy(self.view(photo)))

    def __str__(self) -> str:
        height, width = self.size
        shape = f"{height} px" if height == width else f"{width} x {height} px"
        if self.squash:
            return f"{shape}, {self.interpolation}, squashed"
        crop = self.size[0] / self.resize[0]
        return f"{shape}, {self.interpolation}, crop {crop:.3g}"

    def view(self, photo: Image.Image) -> np.ndarray:
        """Return the pixels that the network sees.

        Parameters
        ----------
        photo : PIL.Image.Image
            Any mode.

        Returns
        -------
        ndarray of shape (H, W, 3), uint8
            The resized and cropped photo before normalisation.

        Raises
        ------
        InputError
            If the photo is too long and narrow; see `check`.
        """
        photo = to_rgb(photo)
        self.check(photo.size)
        height, width = self._scaled(photo.size)
        resized = photo.resize((width, height), _RESAMPLING[self.interpolation])
        left, top = self._corner(height, width)
        # Pillow pads with black where the crop reaches beyond the photo, as torchvision does
        crop = resized.crop((left, top, left + self.size[1], top + self.size[0]))
        return np.array(crop)

    def check(self, photo_size: tuple[int, int]) -> None:
        """Refuse a photo so long and narrow that scaling it would fill the memory.

        Parameters
        ----------
        photo_size : tuple of (int, int)
            Width and height of the photo, in pixels.

        Raises
        ------
        InputError
            If it would have more than 100 million pixels before the crop.
        """
        # scaling the crop's part only would do, but Pillow's pixels then differ in the last bit
        height, width = self._scaled(photo_size)
        if height * width > _MOST_SCALED:
            raise InputError(
                f"a photo of {photo_size[0]} x {photo_size[1]} px is too long and narrow: scaled "
                f"for the network it would have {width} x {height} px"
            )

    def box(self, photo_size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return the part of a photo that the network sees.

        Parameters
        ----------
        photo_size : tuple of (int, int)
            Width and height of the photo, in pixels.

        Returns
        -------
        tuple of (float, float, float, float)
            ``(x0, y0, x1, y1)`` in the photo's pixels.
        """
        width, height = photo_size
        scaled_height, scaled_width = self._scaled(photo_size)
        left, top = self._corner(scaled_height, scaled_width)
        x, y = width / scaled_width, height / scaled_height
        return left * x, top * y, (left + self.size[1]) * x, (top + self.size[0]) * y

    def normalize(self, pixels: Tensor) -> Tensor:
        """Turn pixels of shape (..., H, W, 3) in 0...255 into inputs of shape (..., 3, H, W)."""
        scaled = pixels.to(torch.float32).movedim(-1, -3) / 255
        mean, std = (
            torch.tensor(v, device=scaled.device).view(-1, 1, 1) for v in (self.mean, self.std)
        )
        return (scaled - mean) / std

    def denormalize(self, inputs: Tensor) -> np.ndarray:
        """Turn inputs of shape (..., 3, H, W) back into uint8 pixels of shape (..., H, W, 3)."""
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        scaled = inputs.detach().cpu().float() * std + mean
        return (scaled * 255).round().clamp(0, 255).to(torch.uint8).movedim(-3, -1).numpy()

    def _scaled(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        width, height = photo_size
        if self.squash:
            return self.size
        target_height, target_width = self.resize
        # the same whole pixels as torchvision's Resize: the longer side is cut off, not rounded
        if height / target_height <= width / target_width:
            return target_height, max(1, int(target_height * width / height))
        return max(1, int(target_width * height / width)), target_width

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        return _offset(width, self.size[1]), _offset(height, self.size[0])


def _offset(length: int, crop: int) -> int:
    """Where a centred crop begins: at the same pixel as torchvision's CenterCrop."""
    spare = length - crop
    # half a pixel is rounded to the even one; of what is missing, the first side gets less
    return round(spare / 2) if spare >= 0 else -(-spare // 2)


def _each(name: str, value: object, check: Callable[[str, object], float]) -> tuple[float, ...]:
    """Numbers for the three channels, or one for all."""
    several = listed(value)
    if several is None or len(several) not in {1, 3}:
        raise InputError(f"{name} must be three numbers, or one, not {shown(value)}")
    return tuple(check(name, each) for each in several)
