"""Where each channel of a tap is greatest, remembered for the best images alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vizkit.errors import InputError
from vizkit.results import Tap


class Best:
    """The k images in which each channel of one tap is greatest, and the place in each.

    Parameters
    ----------
    tap : Tap
        What is read.
    channels : list of int, optional
        Which channels; by default all.
    k : int
        How many images to remember for each.

    Attributes
    ----------
    channels : list of int
        As given.
    values : Tensor of shape (C, k), float64
        Greatest activations, best first; of equal ones the earlier image's.
    images, rows, columns : Tensor of shape (C, k)
        Number of the image (-1: none yet) and the first place of the greatest activation.
    total : Tensor of shape (C,), float64
        Sum of the greatest activations of all images.
    """

    def __init__(self, tap: Tap, channels: list[int] | None, k: int) -> None:
        self.tap = tap
        self.channels = list(range(tap.channels)) if channels is None else channels
        self.k = k
        self._every = channels is None
        shape = len(self.channels), k
        self.values = torch.full(shape, -torch.inf, dtype=torch.float64)
        self.images, self.rows, self.columns = (torch.full(shape, -1) for _ in range(3))
        self.total = torch.zeros(len(self.channels), dtype=torch.float64)

    def update(self, maps: Tensor, images: Sequence[int]) -> None:
        """Look at the maps of some images.

        Parameters
        ----------
        maps : Tensor of shape (N, C, h, w)
            All channels of the tap.
        images : sequence of int
            Numbers of the images, which grow from call to call.

        Raises
        ------
        InputError
            If a channel holds NaN or infinity.
        """
        chosen = maps if self._every else maps[:, self.channels]
        peaks = chosen.amax(dim=(-2, -1)).T.cpu().double()
        self._check(peaks, images)
        # one image after the other, so that the sum does not depend on the batches
        for each in peaks.unbind(dim=1):
            self.total += each
        # only what is among the best needs its place: argmax is 25 times slower than amax
        channel, image = (peaks > self.values[:, -1:]).nonzero(as_tuple=True)
        planes = chosen[image.to(maps.device), channel.to(maps.device)]
        places = torch.full(peaks.shape, -1)
        places[channel, image] = planes.flatten(1).argmax(dim=1).cpu()
        width = maps.shape[-1]
        self._merge(
            peaks, torch.tensor(images).expand(peaks.shape), places // width, places % width
        )

    def keep(self, channels: list[int]) -> None:
        """Forget all but some channels."""
        positions = [self.channels.index(channel) for channel in channels]
        self.channels = channels
        self.values, self.images = self.values[positions], self.images[positions]
        self.rows, self.columns = self.rows[positions], self.columns[positions]
        self.total = self.total[positions]

    def _merge(self, *new: Tensor) -> None:
        """Keep the best of the old and the new."""
        old = self.values, self.images, self.rows, self.columns
        both = [torch.cat(pair, dim=1) for pair in zip(old, new, strict=True)]
        # stable: of equal values the earlier image stays in front
        order = both[0].sort(dim=1, descending=True, stable=True).indices[:, : self.k]
        self.values, self.images, self.rows, self.columns = (each.gather(1, order) for each in both)

    def _check(self, peaks: Tensor, images: Sequence[int]) -> None:
        bad = (~peaks.isfinite()).nonzero()
        if len(bad):
            channel, image = bad[0].tolist()
            raise InputError(
                f"{self.tap.label}: channel {self.channels[channel]} is NaN or infinite for image "
                f"{images[image]}"
            )
