"""Pictures of one network: its feature maps, and what its channels and places see."""

from __future__ import annotations

from collections.abc import Sequence

from vizkit.forward import capture
from vizkit.images import as_images
from vizkit.models import Models, as_classifiers
from vizkit.plots import (
    Picture,
    plot_feature_maps,
    plot_patches,
    plot_receptive_fields,
    style,
)
from vizkit.plots.maps import channels_of
from vizkit.results import Tap
from vizkit.statistics import receptive_fields, top_patches


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
    style.check(theme, figsize)
    style.check_scale(scale)
    channels = channels_of(channels)
    photos = as_images(images)
    maps = [capture(each, photos, at) for each in as_classifiers(model)]
    return plot_feature_maps(maps, channels=channels, scale=scale, theme=theme, figsize=figsize)


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
    style.check(theme, figsize)
    found = top_patches(models, folder, at, channels, k)
    return plot_patches(found, theme=theme, figsize=figsize)


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
    style.check(theme, figsize)
    found = receptive_fields(models, images, at)
    return plot_receptive_fields(found, theme=theme, figsize=figsize)
