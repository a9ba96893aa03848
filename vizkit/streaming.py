"""Photos on their way into several networks: read once, prepared ahead in worker processes."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vizkit.errors import InputError, VizkitError, whole
from vizkit.files import printable
from vizkit.forward import BATCH_SIZE
from vizkit.images import Images, Photo, Transform, readable, transformed
from vizkit.interrupts import undivided
from vizkit.models import Classifier
from vizkit.results import Seen

_T = TypeVar("_T")
# fewer photos are read faster than a process starts
_WORTH_WORKERS = 64
_CHOSEN_WORKERS = 4
# more would fill the memory of most machines before the first photo is read
MOST_WORKERS = 128
# how PyTorch words it
_DIED = re.compile(r"DataLoader worker \(pid.*(is killed|exited unexpectedly)", re.DOTALL)


@dataclass(frozen=True)
class Batch:
    """Some images as several networks see them.

    Attributes
    ----------
    number : int
        Which batch of the whole.
    positions : tuple of int
        Where each image stands among all; those that could not be read are left out.
    inputs : tuple of Tensor of shape (N, 3, H, W)
        One per network, on its device; networks of one transform share one tensor.
    sizes : tuple of (int, int) or None
        Width and height of each photo, in pixels; None for what is no photo.
    failed : dict of str to str
        Files that could not be read, and why.
    """

    number: int
    positions: tuple[int, ...]
    inputs: tuple[Tensor, ...]
    sizes: tuple[tuple[int, int] | None, ...]
    failed: dict[str, str]

    def seen(self, which: int, classifier: Classifier, images: Images) -> Seen:
        """Give what a network saw of these images as pixels, without the photos.

        Parameters
        ----------
        which : int
            Its number among the networks.
        classifier : Classifier
            The network.
        images : Images
            All of them.

        Returns
        -------
        Seen
            As `vizkit.images.prepare` does, but for the originals; to within a level of 255 for
            networks of half precision.
        """
        own, transform = self.inputs[which], classifier.transform
        known = transform if isinstance(transform, Transform) else None
        height, width = own.shape[-2:]
        every = (0.0, 0.0, float(width), float(height))
        words = str(known) if known else "the model's own transform"
        # what is no photo went through no transform
        pixels = [
            (known or Transform()).denormalize(each) if known or size is None else _stretched(each)
            for each, size in zip(own, self.sizes, strict=True)
        ]
        return Seen(
            names=tuple(images.photos[n].name for n in self.positions),
            pixels=np.stack(pixels),
            boxes=tuple(_box(size, known) if size else every for size in self.sizes),
            originals=(None,) * len(self.positions),
            transform=words if self.sizes[0] else f"tensor, {width} x {height} px",
        )

    def __len__(self) -> int:
        """Count the images that could be read and those that could not."""
        return len(self.positions) + len(self.failed)


def stream(
    classifiers: Sequence[Classifier],
    images: Images,
    *,
    size: int = BATCH_SIZE,
    workers: int | None = None,
    only: Sequence[int] | None = None,
) -> Iterator[Batch]:
    """Feed images to several networks, batch by batch, each file read once for all.

    Parameters
    ----------
    classifiers : sequence of Classifier
        Each sees every image through its own transform.
    images : Images
        Any number; files are read when their turn comes and not kept.
    size : int
        Images in a batch.
    workers : int, optional
        Processes that read and resize ahead; 0 does it in this one. By default a few for many
        files, none for few.
    only : sequence of int, optional
        Numbers of the batches wanted, in this order; by default all.

    Yields
    ------
    Batch
        Also if none of its files could be read.

    Raises
    ------
    InputError
        If inputs have different sizes, or ``workers`` is no number of processes.
    VizkitError
        If a process that reads photos was killed.
    """
    whole("batch_size", size)
    transforms = _distinct([each.transform for each in classifiers])
    count = workers_for(images, transforms) if workers is None else workers
    whole("workers", count, 0, MOST_WORKERS)
    total = -(-len(images) // size)
    loader: DataLoader[_Read | VizkitError] = DataLoader(
        _Reader(images, transforms, size),
        batch_size=None,
        sampler=range(total) if only is None else only,
        num_workers=count,
        collate_fn=_as_is,
        # its own: the user's random numbers stay as they were
        generator=torch.Generator(),
    )
    chosen = [_index(transforms, each.transform) for each in classifiers]
    for read in _arriving(loader):
        made: dict[tuple[Any, ...], Tensor] = {}
        given = []
        for classifier, which in zip(classifiers, chosen, strict=True):
            key = (which, classifier.device, classifier.dtype)
            if key not in made:
                made[key] = _to_network(read.pixels[which], transforms[which], classifier)
            given.append(made[key])
        yield Batch(read.number, read.positions, tuple(given), read.sizes, read.failed)


def labels_of(images: Images) -> tuple[str, ...] | None:
    """Read the classes of photos from the folders they lie in.

    Parameters
    ----------
    images : Images
        Made from a folder of class folders.

    Returns
    -------
    tuple of str or None
        The first folder of each photo's name; None if any photo lies in none.
    """
    # a name that is the file's whole path says nothing about classes
    if not all("/" in each.name and printable(each.path) != each.name for each in images):
        return None
    return tuple(photo.name.partition("/")[0] for photo in images)


def workers_for(images: Images, transforms: Sequence[Any] = ()) -> int:
    """Choose how many processes shall read photos ahead.

    Parameters
    ----------
    images : Images
        What is to be read.
    transforms : sequence of callable
        What is done to them; a user's own may not be fit for another process.

    Returns
    -------
    int
        0 for few photos or for such as are in memory already.
    """
    from_files = all(photo.path is not None for photo in images)
    own = any(not isinstance(transform, Transform) for transform in transforms)
    if len(images) < _WORTH_WORKERS or not from_files or own:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    shared = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(_CHOSEN_WORKERS, (cores or 2) // shared - 1))


@dataclass(frozen=True)
class _Read:
    """One batch as it comes from a worker: pixels for each transform."""

    number: int
    positions: tuple[int, ...]
    pixels: tuple[Tensor, ...]
    sizes: tuple[tuple[int, int] | None, ...]
    failed: dict[str, str]


class _Reader(Dataset[_Read | VizkitError]):
    """Batches of prepared photos by number; or why there is none."""

    def __init__(self, images: Images, transforms: Sequence[Any], size: int) -> None:
        self.images = images
        self.transforms = transforms
        self.size = size

    def __getitem__(self, number: int) -> _Read | VizkitError:
        """Read one batch; from another process, an error comes best as a value."""
        try:
            return self._read(number)
        except VizkitError as error:
            return error

    def _read(self, number: int) -> _Read:
        start = number * self.size
        positions: list[int] = []
        photos: list[Photo] = []
        failed: dict[str, str] = {}
        for position, photo in enumerate(self.images[start : start + self.size], start):
            good, bad = readable(Images((photo,)))
            bad = bad or self._refused(photo, good)
            failed |= bad
            if not bad:
                photos += good.photos
                positions.append(position)
        pixels = tuple(_stacked(photos, transform) for transform in self.transforms)
        sizes = tuple(None if photo.tensor is not None else photo.rgb.size for photo in photos)
        return _Read(number, tuple(positions), pixels, sizes, failed)

    def _refused(self, photo: Photo, good: Images) -> dict[str, str]:
        """Say why a file that can be read cannot be used; of what is no file, nothing."""
        if photo.path is None:
            return {}
        size = good.photos[0].rgb.size
        try:
            for transform in self.transforms:
                if isinstance(transform, Transform):
                    transform.check(size)
        except InputError as error:
            path = printable(photo.path)
            return {path: f"{path}: {error}"}
        return {}


def _arriving(loader: DataLoader[_Read | VizkitError]) -> Iterator[_Read]:
    """Take batches from a loader; raise what went wrong in the process that read them."""
    with _readers(loader) as arriving:
        while True:
            try:
                read = next(arriving)
            except StopIteration:
                return
            except RuntimeError as error:
                if not _DIED.match(str(error)):
                    raise
                raise VizkitError(
                    "a process that reads photos was killed (out of memory?); "
                    "--workers 0 reads in this one, --resume goes on"
                ) from error
            if isinstance(read, VizkitError):
                raise read
            with _undisturbed():
                yield read


@undivided
def _readers(loader: DataLoader[_T]) -> Iterator[Iterator[_T]]:
    """Start the processes that read, and end them: a traceback that is kept would keep them."""
    arriving = iter(loader)
    try:
        yield arriving
    finally:
        # none, if this process reads itself
        getattr(arriving, "_shutdown_workers", bool)()


@undivided
def _undisturbed() -> Iterator[None]:
    """Keep the death of a reader from breaking into what the caller does; it is told later.

    PyTorch raises its error from the signal, wherever the main thread is just then. The next
    batch asks for the readers anyway.
    """
    number = getattr(signal, "SIGCHLD", None)
    handler = None if number is None else signal.getsignal(number)
    # signals belong to the main thread; without PyTorch's handler there is nothing to do
    if (
        number is None
        or not callable(handler)
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def quiet(signum: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):
            handler(signum, frame)

    signal.signal(number, quiet)
    try:
        yield
    finally:
        signal.signal(number, handler)


def _stacked(photos: Sequence[Photo], transform: Any) -> Tensor:
    """Prepare photos: bytes where vizkit knows how to normalise them, else what comes out."""
    as_bytes = isinstance(transform, Transform) and all(photo.tensor is None for photo in photos)
    tensors = [_one(photo, transform, as_bytes) for photo in photos]
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise InputError(f"inputs of one call must share one shape, not {sorted(shapes)}")
    return torch.stack(tensors) if tensors else torch.empty(0)


def _one(photo: Photo, transform: Any, as_bytes: bool) -> Tensor:
    if photo.tensor is not None:
        return photo.tensor
    if as_bytes:
        return torch.from_numpy(transform.view(photo.rgb))
    return transformed(photo.rgb, transform)


def _stretched(own: Tensor) -> np.ndarray:
    """Show the input of an unknown transform: from its lowest to its highest value."""
    values = own.detach().cpu().float()
    low, high = values.min(), values.max()
    shown = (values - low) / (high - low).clamp_min(1e-12) * 255
    pixels: np.ndarray = shown.round().to(torch.uint8).movedim(0, -1).numpy()
    return pixels


def _box(size: tuple[int, int], transform: Transform | None) -> tuple[float, float, float, float]:
    """Part of a photo of this size that a network sees; of an unknown transform, all."""
    return transform.box(size) if transform else (0.0, 0.0, float(size[0]), float(size[1]))


def _to_network(pixels: Tensor, transform: Any, classifier: Classifier) -> Tensor:
    moved = pixels.detach().to(classifier.device, non_blocking=True)
    if moved.dtype == torch.uint8 and isinstance(transform, Transform):
        moved = transform.normalize(moved)
    return moved.to(classifier.dtype)


def _distinct(transforms: Sequence[Callable[..., Any]]) -> list[Any]:
    found: list[Any] = []
    for transform in transforms:
        if not any(transform is each or transform == each for each in found):
            found.append(transform)
    return found


def _index(transforms: Sequence[Any], transform: Any) -> int:
    return next(i for i, each in enumerate(transforms) if each is transform or each == transform)


def _as_is(read: Any) -> Any:
    return read
