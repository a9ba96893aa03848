"""Labelled photos, and which of them a classifier learns from and is tested on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vizkit.errors import InputError, path_of, unknown
from vizkit.files import printable
from vizkit.images import Images, as_images
from vizkit.streaming import labels_of


@dataclass(frozen=True, eq=False)
class Labelled:
    """Photos, the class of each, and whether it is for testing only.

    Attributes
    ----------
    images : Images
        N photos.
    labels : tuple of str
        Class of each.
    is_test : ndarray of shape (N,), bool
        True where a photo comes from the test folder.
    """

    images: Images
    labels: tuple[str, ...]
    is_test: np.ndarray

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes, sorted."""
        return tuple(sorted(set(self.labels)))

    @property
    def numbers(self) -> np.ndarray:
        """Class of each photo: (N,), from 0."""
        return np.array([self.classes.index(label) for label in self.labels])

    def only(self, positions: Sequence[int]) -> Labelled:
        """Keep some of the photos, in this order.

        Raises
        ------
        InputError
            If there were photos to test on and none is left.
        """
        kept = list(positions)
        is_test = self.is_test[kept]
        if self.is_test.any() and not is_test.any():
            raise InputError("none of the photos to test on can be read")
        photos = tuple(self.images.photos[i] for i in kept)
        return Labelled(Images(photos), tuple(self.labels[i] for i in kept), is_test)

    def check(self, folds: int) -> None:
        """Raise if there is nothing to tell apart, or too little to learn from.

        Parameters
        ----------
        folds : int
            Parts of the cross-validation, if no photos are for testing only.

        Raises
        ------
        InputError
            If there are fewer than two classes, fewer photos of one than folds, or classes to
            test on that are not among those learnt.
        """
        counts = Counter(
            label for label, test in zip(self.labels, self.is_test, strict=True) if not test
        )
        if len(counts) < 2:
            found = ", ".join(counts) or "none"
            raise InputError(f"a probe tells at least two class folders apart, here is {found}")
        for label in self.labels:
            if label not in counts:
                raise unknown("class folder to test on", label, counts, 12)
        rarest = min(counts, key=lambda label: counts[label])
        if counts[rarest] < folds and not self.is_test.any():
            raise InputError(
                f"{folds} folds take {folds} readable photos of each class at least, "
                f"{rarest} has {counts[rarest]}"
            )

    def parts(self, folds: int, random_state: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Choose the photos to learn from and those to test on, for each fit.

        Parameters
        ----------
        folds : int
            Parts of the cross-validation, if no photos are for testing only.
        random_state : int
            Seed of the parts.

        Returns
        -------
        list of (ndarray, ndarray)
            Positions; no photo is in both.
        """
        if self.is_test.any():
            return [(np.flatnonzero(~self.is_test), np.flatnonzero(self.is_test))]
        part = stratified(self.numbers, folds, random_state)
        return [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(folds)]


def labelled(folder: str | Path, test: str | Path | None = None) -> Labelled:
    """List the photos of class folders.

    Parameters
    ----------
    folder : str or Path
        One folder of photos a class.
    test : str or Path, optional
        Another such folder, to test on.

    Returns
    -------
    Labelled
        Those of ``folder`` first.

    Raises
    ------
    InputError
        If photos lie in no class folder, or both folders have a photo in common.
    """
    learnt = as_images(_checked("folder", folder))
    tested = Images(()) if test is None else as_images(_checked("test", test))
    paths = {photo.path.resolve() for photo in learnt if photo.path}
    for photo in tested:
        if photo.path and photo.path.resolve() in paths:
            raise InputError(f"{photo.path} is among the photos learnt from: test on others")
    labels = (*_labels(learnt, folder), *_labels(tested, test))
    is_test = np.arange(len(labels)) >= len(learnt)
    return Labelled(Images((*learnt.photos, *tested.photos)), labels, is_test)


def _checked(name: str, folder: object) -> object:
    """Check a path; what is none may be images that are in memory."""
    return path_of(name, folder) if isinstance(folder, str | os.PathLike) else folder


def _labels(images: Images, folder: object) -> tuple[str, ...]:
    labels = labels_of(images)
    if labels is None:
        loose = next(
            photo.name
            for photo in images
            if "/" not in photo.name or photo.name == printable(photo.path)
        )
        shown = folder if isinstance(folder, str | Path) else "the images"
        raise InputError(
            f"{shown} must have one folder of photos a class, such as church/1.jpg: "
            f"{loose} lies in none"
        )
    return labels


def stratified(labels: np.ndarray, folds: int, random_state: int) -> np.ndarray:
    """Deal photos out to the parts of a cross-validation, each class evenly.

    Parameters
    ----------
    labels : ndarray of shape (N,), int
        Class of each photo.
    folds : int
        Number of parts.
    random_state : int
        Seed of the order within a class.

    Returns
    -------
    ndarray of shape (N,), int
        The part in which each photo is tested; sizes differ by one at most.
    """
    generator = np.random.default_rng(random_state)
    shuffled = generator.permutation(len(labels))
    # dealt like cards, class after class
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    parts = np.empty(len(labels), dtype=np.int64)
    parts[order] = np.arange(len(labels)) % folds
    return parts
