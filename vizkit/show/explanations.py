"""Pictures of explanations, and of how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from torch import nn

from vizkit.attribution import METHODS, agreement, attribute, perturbation_curves, randomisation
from vizkit.attribution.baselines import BASELINES
from vizkit.errors import choice
from vizkit.images import as_images
from vizkit.models import Classifier, Models, as_classifiers
from vizkit.plots import (
    Picture,
    plot_agreement,
    plot_attributions,
    plot_curves,
    plot_randomisation,
    style,
)
from vizkit.plots.overlays import Look
from vizkit.plots.trust import MEASURES
from vizkit.results import Tap


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
    style.check(theme, figsize)
    Look(style.theme_of(theme), draw, overlay, on, scale)
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
    style.check(theme, figsize)
    choice("baseline", baseline, BASELINES)
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
    style.check(theme, figsize)
    choice("measure", measure, MEASURES)
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
    style.check(theme, figsize)
    found = randomisation(
        model, image, methods, targets, stages, random_state=random_state, **options
    )
    return plot_randomisation(found.steps, found.frame, theme=theme, figsize=figsize)
