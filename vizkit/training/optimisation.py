"""Optimiser, schedule, precision, moving average and mixing, as a recipe says."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim import Optimizer
from torchvision.transforms import v2

from vizkit.errors import InputError, unknown
from vizkit.training.recipe import Recipe


class Schedule(Protocol):
    """Sets the learning rate before each step."""

    def step_update(self, num_updates: int) -> None:
        """Set the rate of a step counted from zero."""


class WarmCosine:
    """The demo family's schedule: linear warm-up times a cosine to zero.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate is set.
    recipe : Recipe
        Peak, warm-up and length.
    steps : int
        Of one epoch.
    """

    def __init__(self, optimizer: Optimizer, recipe: Recipe, steps: int) -> None:
        self._optimizer, self._peak = optimizer, recipe.learning_rate
        self._warm = max(1, round(recipe.warmup_epochs * steps))
        self._total = recipe.epochs * steps

    def step_update(self, num_updates: int) -> None:
        """Set the rate of a step counted from zero."""
        warm = min(1.0, (num_updates + 1) / self._warm)
        rate = self._peak * warm * 0.5 * (1 + math.cos(math.pi * num_updates / self._total))
        for group in self._optimizer.param_groups:
            group["lr"] = rate


def make_optimizer(recipe: Recipe, module: nn.Module) -> Optimizer:
    """Make timm's optimiser over what is not frozen.

    Parameters
    ----------
    recipe : Recipe
        Its name and arguments.
    module : nn.Module
        The network.

    Returns
    -------
    Optimizer
        With weight decay on kernels and matrices only, unless the recipe decays all.

    Raises
    ------
    InputError
        If there is no such optimiser, or it does not take the arguments.
    """
    known = list_optimizers()
    if recipe.optimizer not in known:
        raise unknown("optimizer", recipe.optimizer, known, 60)
    try:
        optimizer: Optimizer = create_optimizer_v2(
            module,
            recipe.optimizer,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            filter_bias_and_bn=not recipe.decay_all,
            **recipe.optimizer_options,
        )
    except (TypeError, ValueError, AssertionError, ImportError) as error:
        options = recipe.optimizer_options or "its defaults"
        raise InputError(
            f"optimizer {recipe.optimizer!r} cannot be made with {options}: {error}"
        ) from error
    return optimizer


def make_schedule(recipe: Recipe, optimizer: Optimizer, steps: int) -> Schedule:
    """Make the schedule of the learning rate.

    Parameters
    ----------
    recipe : Recipe
        Its kind and lengths.
    optimizer : Optimizer
        Whose rate it sets.
    steps : int
        Of one epoch.

    Returns
    -------
    Schedule
        To be told the number of each step.
    """
    if recipe.schedule == "warm_cosine":
        return WarmCosine(optimizer, recipe, steps)
    schedule: Schedule
    schedule, _ = create_scheduler_v2(
        optimizer,
        recipe.schedule,
        num_epochs=recipe.epochs,
        decay_epochs=recipe.decay_epochs,
        # timm decays one step early at whole ones
        decay_milestones=[milestone + 0.5 / steps for milestone in recipe.milestones],
        decay_rate=recipe.decay_rate,
        min_lr=recipe.min_rate,
        warmup_lr=recipe.warmup_rate,
        warmup_epochs=recipe.warmup_epochs,
        step_on_epochs=False,
        updates_per_epoch=steps,
    )
    return schedule


def make_average(recipe: Recipe, module: nn.Module) -> Any:
    """Make timm's moving average of the weights, or None where the recipe wants none."""
    if not recipe.ema:
        return None
    return ModelEmaV3(module, decay=recipe.ema, use_warmup=recipe.ema_warmup)


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context of the forward pass.

    Raises
    ------
    InputError
        If float16 is wanted anywhere but on a CUDA GPU.
    """
    if recipe.precision == "float32":
        return nullcontext()
    if recipe.precision == "float16" and device.type != "cuda":
        raise InputError(
            f"precision 'float16' needs a CUDA GPU, and this runs on {device.type}: "
            "choose bfloat16 or float32"
        )
    return torch.autocast(device.type, getattr(torch, recipe.precision))


def make_mixing(recipe: Recipe, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Make what mixes the photos of a step and their targets.

    Parameters
    ----------
    recipe : Recipe
        Which, and how strongly.
    classes : int
        Number of outputs.

    Returns
    -------
    callable
        From pixels and class numbers to pixels and shares of classes; or unchanged.
    """
    kinds = []
    if recipe.mixup:
        kinds.append(v2.MixUp(alpha=recipe.mixup, num_classes=classes))
    if recipe.cutmix:
        kinds.append(v2.CutMix(alpha=recipe.cutmix, num_classes=classes))
    if not kinds:
        return lambda pixels, labels: (pixels, labels)
    mixing: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = v2.RandomChoice(kinds)
    return mixing
