"""One call from model and images to a picture: run, then draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from vizkit.attribution import METHODS, agreement, attribute, perturbation_curves, randomisation
from vizkit.cka import similarity
from vizkit.comparing import compare, disagreement, disputed, explained
from vizkit.errors import unknown, whole
from vizkit.forward import capture
from vizkit.images import Images, Transform, as_images, prepare, readable
from vizkit.models import Classifier, as_classifiers
from vizkit.plots import (
    Picture,
    plot_agreement,
    plot_attributions,
    plot_calibration,
    plot_comparison,
    plot_confusion,
    plot_curves,
    plot_disagreement,
    plot_distributions,
    plot_feature_maps,
    plot_gallery,
    plot_neighbours,
    plot_patches,
    plot_probe,
    plot_randomisation,
    plot_receptive_fields,
    plot_similarity,
    plot_statistics,
)
from vizkit.plots.comparison import check_options
from vizkit.prediction import neighbours
from vizkit.results import Tap
from vizkit.statistics import describe, linear_probe, receptive_fields, top_patches

Models = str | nn.Module | Classifier | Sequence[Any] | dict[str, Any]


def show_feature_maps(
    model: Models,
    images: object,
    at: str | Sequence[str | Tap] = "stages",
    *,
    channels: int | Sequence[int] = 16,
    scale: str = "stage",
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Show the feature maps of a network, a mosaic of channels per stage.

    Parameters
    ----------
    model : model, list of models, or dict of str to model
        Names, modules or classifiers.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Every image becomes a block of the figure.
    at : "stages", "layers", or a list of names, paths or taps
        Where to read; see `vizkit.find_stages`.
    channels : int or sequence of int
        How many channels of each tap (those with the most energy), or which.
    scale : "panel", "stage", "model" or "all"
        What shares one colour scale; printed on the figure.
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
        If an image, tap or option cannot be used.
    """
    photos = as_images(images)
    maps = [capture(each, photos, at) for each in as_classifiers(model)]
    return plot_feature_maps(maps, channels=channels, scale=scale, theme=theme, figsize=figsize)


def show_attributions(
    models: Models,
    images: object,
    methods: str | Sequence[str] = "grad_cam",
    targets: Any = None,
    stages: str | Sequence[str | Tap] | None = None,
    *,
    against: int | str | None = None,
    scale: str = "panel",
    overlay: float = 0.8,
    on: str = "input",
    draw: str = "overlay",
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
    **options: Any,
) -> Picture:
    """Show what matters for a class, at every stage of one or more networks.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Each becomes a row (for each method and class).
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        Every image becomes a block of the figure.
    methods, targets, stages, against, **options
        As for `vizkit.attribute`.
    scale : "panel", "stage", "model" or "all"
        What shares one colour scale; printed on the figure.
    overlay : float
        Opacity of the largest values over the photo, in [0, 1].
    on : "input" or "photo"
        Draw over what the network saw, or at its place in the whole original photo.
    draw : "overlay", "contours" or "map"
        Colours over the grey photo, lines over the photo, or the raw cells alone.
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
        If an image, method, target or option cannot be used.
    """
    photos = as_images(images)
    found = [
        attribute(each, photos, methods, targets, stages, against=against, **options)
        for each in as_classifiers(models)
    ]
    return plot_attributions(
        found, scale=scale, overlay=overlay, on=on, draw=draw, theme=theme, figsize=figsize
    )


def show_faithfulness(
    models: Models,
    images: object,
    methods: str | Sequence[str] = "grad_cam",
    targets: Any = None,
    stages: str | Sequence[str | Tap] | None = None,
    *,
    baseline: str = "blur",
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
    **options: Any,
) -> Picture:
    """Show deletion and insertion curves, averaged over images, a row per network.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Each becomes a row.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        What is explained.
    methods, targets, stages, **options
        As for `vizkit.attribute`.
    baseline : str
        ``"blur"``, ``"mean"``, ``"black"`` or ``"white"``: what a place is replaced by.
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
        If an image, method, target or option cannot be used.
    """
    photos = as_images(images)
    curves = [
        perturbation_curves(
            each, attribute(each, photos, methods, targets, stages, **options), baseline=baseline
        )
        for each in as_classifiers(models)
    ]
    labels = {method.name: method.label for method in METHODS.values()}
    return plot_curves(
        pd.concat(curves, ignore_index=True), labels=labels, theme=theme, figsize=figsize
    )


def show_agreement(
    models: Models,
    images: object,
    methods: str | Sequence[str] = ("grad_cam", "layer_cam", "integrated_gradients", "occlusion"),
    targets: Any = None,
    stages: str | Sequence[str | Tap] | None = None,
    *,
    measure: str = "spearman",
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
    **options: Any,
) -> Picture:
    """Show how far methods, stages and networks agree, as a matrix of all pairs.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        All are compared with all.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        What is explained.
    methods, targets, stages, **options
        As for `vizkit.attribute`.
    measure : "spearman", "ssim" or "iou"
        Rank correlation, structural similarity, or overlap of the top tenth.
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
        If an image, method, target, measure or option cannot be used.
    """
    photos = as_images(images)
    found = [
        attribute(each, photos, methods, targets, stages, **options)
        for each in as_classifiers(models)
    ]
    return plot_agreement(agreement(found), measure, theme=theme, figsize=figsize)


def show_randomisation(
    model: str | nn.Module | Classifier,
    image: object,
    methods: str | Sequence[str] = ("grad_cam", "guided_backprop"),
    targets: Any = None,
    stages: str | Sequence[str | Tap] | None = None,
    *,
    random_state: int = 0,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
    **options: Any,
) -> Picture:
    """Show what becomes of maps while the weights are made random from the head down.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        One network, which is not changed.
    image : path, PIL image, array or tensor
        What is explained; of several, the first is drawn.
    methods, targets, stages, **options
        As for `vizkit.attribute`.
    random_state : int
        Seed of the random weights.
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
        If an image, method, target or option cannot be used.
    """
    found = randomisation(
        model, image, methods, targets, stages, random_state=random_state, **options
    )
    return plot_randomisation(found.steps, found.frame, theme=theme, figsize=figsize)


def show_statistics(
    models: Models,
    images: object,
    statistics: str | Sequence[str] | None = None,
    at: str | Sequence[str | Tap] = "stages",
    *,
    role: str | None = None,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Show statistics of the feature maps against depth, one line per network.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Each becomes a line.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        What the statistics are taken over.
    statistics : str or list of str, optional
        Names as in `vizkit.describe`, or ``"all"``; by default mean, std, sparsity, dead and
        energy.
    at : "stages", "layers", or a list of names, paths or taps
        Where to read.
    role : str, optional
        ``"conv"``, ``"norm"`` or ``"act"`` of layers: before and after normalisation, and after
        the activation; by default the last.
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
        If an image, statistic or option cannot be used.
    """
    found = describe(models, images, statistics, at)
    return plot_statistics(found, statistics, role=role, theme=theme, figsize=figsize)


def show_top_patches(
    models: Models,
    folder: object,
    at: str | Sequence[str | Tap],
    channels: int | Sequence[int] | None = None,
    k: int = 9,
    *,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Show the parts of photos that excite channels most, networks side by side.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Each becomes a block of columns.
    folder : path, folder, PIL image, array, tensor, Images, or a list of these
        What is searched.
    at, channels, k
        As for `vizkit.top_patches`; each channel becomes a row.
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
        If an image, tap, channel or option cannot be used.
    """
    found = top_patches(models, folder, at, channels, k)
    return plot_patches(found, theme=theme, figsize=figsize)


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
    whole("rows", rows)
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


def show_receptive_fields(
    models: Models,
    images: object,
    at: str | Sequence[str | Tap] = "stages",
    *,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Show how much of the input a place of each map sees, in theory and in effect.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Each becomes a row.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        What the gradients are averaged over; the first is drawn.
    at : "stages", "layers", or a list of names, paths or taps
        Where to read.
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
        If an image, tap or option cannot be used.
    """
    found = receptive_fields(models, images, at)
    return plot_receptive_fields(found, theme=theme, figsize=figsize)


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
    plots = {
        "overview": plot_disagreement,
        "calibration": plot_calibration,
        "confusion": plot_confusion,
    }
    if kind not in {*plots, "gallery"}:
        raise unknown("kind of picture", kind, [*plots, "gallery"])
    whole("count", count)
    classifiers, photos = as_classifiers(models), as_images(images)
    found = disagreement(classifiers, photos, maps=maps, labelled=labelled, method=method)
    if kind == "gallery":
        few = readable(disputed(found, photos, count, by))[0]
        own = explained(classifiers, few, labelled=found.labelled, method=method)
        return plot_gallery(found, own, theme=theme, figsize=figsize)
    return plots[kind](found, theme=theme, figsize=figsize)


def show_distributions(
    models: Models,
    images: object,
    at: str | Sequence[str | Tap] = "stages",
    *,
    kind: str = "bands",
    role: str | None = None,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
) -> Picture:
    """Show how the activations are distributed at every stage or layer.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Each becomes a panel; twins with and without batch normalisation stand side by side.
    images : path, folder, PIL image, array, tensor, Images, or a list of these
        What the distributions are taken over.
    at : "stages", "layers", or a list of names, paths or taps
        Where to read. At layers, convolution, normalisation and activation are told apart.
    kind : "bands" or "ridge"
        Quantiles against depth, or the density of each tap.
    role : str, optional
        Draw this role only, such as ``"act"``.
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
        If an image, tap or option cannot be used.
    """
    found = describe(models, images, "median", at)
    return plot_distributions(found, kind=kind, role=role, theme=theme, figsize=figsize)


def show_linear_probe(
    models: Models,
    folder: str | Path,
    at: str | Sequence[str | Tap] = "stages",
    *,
    folds: int = 5,
    test: str | Path | None = None,
    role: str | None = None,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
    **options: Any,
) -> Picture:
    """Show how well a linear classifier reads the class at every stage of several networks.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Each becomes a line.
    folder, at, folds, test, **options
        As for `vizkit.linear_probe`.
    role : str, optional
        Which role to draw; by default all of stages, ``"act"`` of layers.
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
        If a folder, tap or option cannot be used.
    """
    found = linear_probe(models, folder, at, folds=folds, test=test, **options)
    return plot_probe(found, role=role, theme=theme, figsize=figsize)


def show_similarity(
    models: Models,
    images: object,
    at: str | Sequence[str | Tap] = "stages",
    *,
    theme: str = "light",
    figsize: tuple[float, float] | None = None,
    **options: Any,
) -> Picture:
    """Show how similar the feature maps of networks are (CKA), every tap against every other.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        Two are drawn against each other with numbers; else all against all.
    images, at, **options
        As for `vizkit.similarity`.
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
        If there are fewer than four images, or a tap or option cannot be used.
    """
    return plot_similarity(similarity(models, images, at, **options), theme=theme, figsize=figsize)
