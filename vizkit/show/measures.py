"""Pictures of what is measured on many images, network beside network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vizkit.cka import similarity
from vizkit.comparing.places import ROLES
from vizkit.errors import choice
from vizkit.models import Models
from vizkit.plots import (
    Picture,
    plot_distributions,
    plot_probe,
    plot_similarity,
    plot_statistics,
    style,
)
from vizkit.plots.distributions import KINDS
from vizkit.results import Tap
from vizkit.statistics import describe, linear_probe


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
    style.check(theme, figsize)
    _check_role(role)
    found = describe(models, images, statistics, at)
    return plot_statistics(found, statistics, role=role, theme=theme, figsize=figsize)


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
    style.check(theme, figsize)
    choice("kind", kind, KINDS)
    _check_role(role)
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
    style.check(theme, figsize)
    _check_role(role)
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
    style.check(theme, figsize)
    return plot_similarity(similarity(models, images, at, **options), theme=theme, figsize=figsize)


def _check_role(role: str | None) -> None:
    """Refuse a role that no layer has, before any network runs."""
    if role is not None:
        choice("role", role, ROLES)
