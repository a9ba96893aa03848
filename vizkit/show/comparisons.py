"""Pictures of networks beside each other on the same photos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vizkit.comparing import compare, disagreement, disputed, explained
from vizkit.errors import choice, whole
from vizkit.images import Images, Transform, as_images, prepare, readable
from vizkit.models import Models, as_classifiers
from vizkit.plots import (
    Picture,
    plot_calibration,
    plot_comparison,
    plot_confusion,
    plot_disagreement,
    plot_gallery,
    plot_neighbours,
    style,
)
from vizkit.plots.comparison import check_options
from vizkit.prediction import neighbours
from vizkit.results import Tap
from vizkit.results.disagreement import RANKINGS


def show_comparison(
    models: Models,
    images: object,
    at: str | Sequence[str | Tap] = "stages",
    *,
    role: str | None = None,
    methods: str | Sequence[str] = "grad_cam",
    targets: Any = None,
    same_pixels: bool | Transform = False,
    show: str = "both",
    channels: int = 9,
    scale: str = "stage",
    page: int = 1,
    per_page: int = 4,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
    **options: Any,
) -> Picture:
    """Show networks beside each other: a row per network, a column per stage.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Each becomes a row.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Every image becomes a block; more than ``per_page`` go on further pages.
    at, role, methods, targets, same_pixels, **options
        As for `vizkit.compare`.
    show : "both", "maps", "energy" or "attributions"
        Feature maps and attributions; the channels with the most energy alone; the root mean
        square of all channels; or the attributions alone.
    channels : int
        How many channels of each feature map.
    scale : "panel", "stage", "model" or "all"
        What shares one colour scale; printed on the figure.
    page, per_page : int
        Which page, from 1, and how many images are on one.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure with ``.save(path)`` and ``.to_frame()``; a notebook shows it once.

    Raises
    ------
    InputError
        If an image, tap, method, target or option cannot be used.
    """
    style.check(theme, figsize)
    check_options(show, channels, scale, per_page, page, theme)
    found = compare(
        models, images, at, role=role, methods=methods, targets=targets, same_pixels=same_pixels,
        **options,
    )  # fmt: skip
    return plot_comparison(
        found, show=show, channels=channels, scale=scale, page=page, per_page=per_page,
        theme=theme, figsize=figsize,
    )  # fmt: skip


def show_disagreement(
    models: Models,
    images: object,
    kind: str = "overview",
    *,
    count: int = 6,
    by: str = "divergence",
    maps: bool = True,
    labelled: bool = True,
    method: str = "grad_cam",
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Show where networks part: an overview, calibration, confusion, or the most disputed images.

    Parameters
    ----------
    models : list of models, or dict of str to model
        Two or more.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Any number; with a folder for each class, predictions are also judged.
    kind : "overview", "calibration", "confusion" or "gallery"
        How far predictions and maps differ and whose answers flip; whether networks are as sure
        as they are right; which classes are taken for which; or the most disputed images with
        each network's map.
    count, by
        Of the gallery: how many images, and whether those whose ``"divergence"`` of predictions or
        of ``"maps"`` is largest.
    maps, labelled, method
        As for `vizkit.disagreement`.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure with ``.save(path)`` and ``.to_frame()``; a notebook shows it once.

    Raises
    ------
    InputError
        If an image or option cannot be used, or classes are needed and not known.
    """
    style.check(theme, figsize)
    plots = {
        "overview": plot_disagreement,
        "calibration": plot_calibration,
        "confusion": plot_confusion,
    }
    choice("kind of picture", kind, [*plots, "gallery"])
    choice("ranking", by, RANKINGS)
    count = whole("count", count)
    classifiers, photos = as_classifiers(models), as_images(images)
    found = disagreement(classifiers, photos, maps=maps, labelled=labelled, method=method)
    if kind == "gallery":
        few = readable(disputed(found, photos, count, by))[0]
        own = explained(classifiers, few, labelled=found.labelled, method=method)
        return plot_gallery(found, own, theme=theme, figsize=figsize)
    return plots[kind](found, theme=theme, figsize=figsize)


def show_neighbours(
    models: Models,
    images: object,
    queries: object = None,
    k: int = 5,
    *,
    rows: int = 8,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Show images with those that lie nearest to them in networks' embeddings.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Each becomes a block of columns.
    images, queries, k
        As for `vizkit.neighbours`.
    rows : int
        How many queries to draw; of more, some from all over.
    theme : "light" or "dark"
        Colours of the figure.
    figsize : tuple of (float, float), optional
        Width and height in inches.

    Returns
    -------
    Picture
        A matplotlib figure with ``.save(path)`` and ``.to_frame()``; a notebook shows it once.

    Raises
    ------
    InputError
        If an image or option cannot be used.
    """
    style.check(theme, figsize)
    rows = whole("rows", rows)
    photos = as_images(images)
    asked = photos if queries is None else as_images(queries)
    classifiers = as_classifiers(models)
    found = neighbours(classifiers, photos, None if queries is None else asked, k)
    names = list(dict.fromkeys(found["query"]))
    step = max(1, len(names) / rows)
    chosen = [names[int(n * step)] for n in range(min(rows, len(names)))]
    near = found[found["query"].isin(chosen)]["image"]
    seen_as = classifiers[0].transform
    return plot_neighbours(
        found,
        _pictures(asked, chosen, seen_as),
        _pictures(photos, near, seen_as),
        theme=theme,
        figsize=figsize,
    )


def _pictures(photos: Images, names: Iterable[str], transform: Any) -> dict[str, Any]:
    """Read what a network sees of some images, by name."""
    wanted = set(names)
    chosen = [photo for photo in photos if photo.name in wanted]
    return {photo.name: prepare(Images((photo,)), transform)[1].pixels[0] for photo in chosen}
