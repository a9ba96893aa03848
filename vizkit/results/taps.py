"""Where a network is read, and what it saw there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vizkit.errors import InputError, numbered, unknown


@dataclass(frozen=True)
class Tap:
    """A place in a network where a feature map is read.

    Attributes
    ----------
    name : str
        ``"stride8"`` for a stage; for a layer the paper's name (``"conv3_2"``) or its path.
    module : str
        Dotted path of the module whose output is read.
    role : str
        ``"conv"`` (before normalisation), ``"norm"`` (after it, before the activation),
        ``"act"`` (after the activation), ``"pool"``, ``"gate"`` (factors of the channels) or
        ``"block"``.
    stride : int
        Input pixels per step of the map.
    channels : int
        Number of feature maps.
    call : int
        Which call of the module, from 0, where a network runs one module several times.
    channels_last : bool
        Whether the module gives (N, h, w, C); what is captured is (N, C, h, w) all the same.
    """

    name: str
    module: str
    role: str
    stride: int
    channels: int
    call: int = 0
    channels_last: bool = False

    @property
    def layer(self) -> str:
        """Name, numbered where a module runs again: ``"conv"``, ``"conv#2"``."""
        return self.name + (f"#{self.call + 1}" if self.call else "")

    @property
    def label(self) -> str:
        """Name and role, unique among the taps of one network: ``"conv3_2:act"``."""
        return f"{self.name}:{self.role}" + (f"#{self.call + 1}" if self.call else "")


@dataclass(frozen=True)
class Seen:
    """The pixels that a network saw, and where they lie in the original photos.

    Attributes
    ----------
    names : tuple of str
        One name an image: a file name, or ``"image 1"``.
    pixels : ndarray of shape (N, H, W, 3), uint8
        The network's input before normalisation.
    boxes : tuple of (float, float, float, float)
        ``(x0, y0, x1, y1)``: the part of the original photo, in its pixels, that the input
        shows. It reaches beyond the photo where the input was padded.
    originals : tuple of ndarray or None
        The photos, (H, W, 3) uint8, upright; None for tensors, which have no photo.
    transform : str
        The transform in words, for captions.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    boxes: tuple[tuple[float, float, float, float], ...]
    originals: tuple[np.ndarray | None, ...]
    transform: str

    def __len__(self) -> int:
        return len(self.names)

    def select(self, n: int) -> Seen:
        """Return the same of image ``n`` alone; a negative number counts from the end."""
        first = numbered("image", n, len(self))
        return self.part(slice(first, first + 1))

    def part(self, keep: slice) -> Seen:
        """Return the same of some of the images."""
        return Seen(
            self.names[keep],
            self.pixels[keep],
            self.boxes[keep],
            self.originals[keep],
            self.transform,
        )


class TapMapping(Mapping[Tap, Tensor]):
    """Tensors by tap, in forward order; also found by label, tap name or module path."""

    _values: dict[Tap, Tensor]

    def __getitem__(self, key: Tap | str) -> Tensor:
        return self._values[self.tap(key)]

    def __iter__(self) -> Iterator[Tap]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        try:
            self.tap(key)  # type: ignore[arg-type]
        except InputError:
            return False
        return True

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The taps, in forward order."""
        return tuple(self._values)

    def tap(self, key: Tap | str) -> Tap:
        """Find a tap.

        Parameters
        ----------
        key : Tap or str
            A tap, a label (``"conv3_2:act"``), a name (``"conv3_2"``: the first of its roles,
            the convolution) or a module path.

        Returns
        -------
        Tap
            The tap under which the tensor is kept.

        Raises
        ------
        InputError
            If there is none.
        """
        if isinstance(key, Tap):
            if key in self._values:
                return key
            raise unknown("tap", key.label, [tap.label for tap in self._values])
        return find_tap(self.taps, key)


def find_tap(taps: tuple[Tap, ...], key: str) -> Tap:
    """Find the first tap with a label, name or module path (in that order of precedence).

    Parameters
    ----------
    taps : tuple of Tap
        Where to look.
    key : str
        What to look for.

    Returns
    -------
    Tap
        The first match.

    Raises
    ------
    InputError
        If there is none; the message lists the names.
    """
    for attribute in ("label", "name", "module") if isinstance(key, str) else ():
        for tap in taps:
            if getattr(tap, attribute) == key:
                return tap
    raise unknown("stage or layer", key, dict.fromkeys(tap.name for tap in taps))
