"""Train, epoch by epoch, and keep what is needed to go on."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from vizkit.distributed import agree, gather, place, process_group
from vizkit.errors import InputError, instance, path_of, whole
from vizkit.models import device_of
from vizkit.streaming import MOST_WORKERS
from vizkit.training.engine import Engine
from vizkit.training.network import build, input_size, require_sizes
from vizkit.training.photos import Folder, class_names, collate, epoch_seed
from vizkit.training.recipe import Recipe
from vizkit.training.saving import (
    LAST,
    LOG,
    WEIGHTS,
    claim,
    load_state,
    save_state,
    save_weights,
    write_log,
)
from vizkit.training.sharing import Part, Shuffled, parts_of

VALIDATION_BATCH = 128
_STATE = ("model", "optimizer", "scaler", "failed", "rows", "folders", "photos")


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    val: Path | None = None,
    device: str = "auto",
    workers: int = 1,
    validate_every: int = 3,
) -> pd.DataFrame:
    """Train a classifier, or go on where an earlier run in ``out`` stopped.

    Started by ``torchrun``, the processes share each step's photos.

    Parameters
    ----------
    recipe : Recipe
        Architecture, first weights, schedule and seed.
    data : Path
        Training photos, one folder a class.
    out : Path
        Folder for ``recipe.toml``, ``last.pth`` (resume), ``log.csv`` and, when the last epoch
        is done, ``model.safetensors``.
    val : Path, optional
        Photos to measure top-1 on. They choose nothing: the last epoch is what is kept.
    device : str
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"`` or another torch device.
    workers : int
        Processes that decode photos.
    validate_every : int
        Measure on ``val`` every so many epochs, and always after the last.

    Returns
    -------
    DataFrame
        One row per epoch: epoch, size, loss, learning_rate, seconds, train_top1, val_top1
        (accuracies in [0, 1]; NaN where not measured; with mixup or cutmix, train_top1 counts
        the class that a photo brought itself), and weights: ``"ema"`` if val_top1 and the file
        are of the moving average, else ``"trained"``. Its ``attrs`` hold ``start`` (what the
        first weights were, in words), ``classes`` (names of the outputs) and ``failed``
        (reasons by file: photos that could not be read and were left out).

    Raises
    ------
    InputError
        If a folder has no photos, the classes of ``val`` differ, ``out`` holds a run of another
        recipe or photos, or the loss is no number any more.
    WeightsError
        If the weights to start from do not fit.
    """
    instance("recipe", recipe, Recipe)
    workers = whole("workers", workers, 0, MOST_WORKERS)
    validate_every = whole("validate_every", validate_every)
    out, data = path_of("out", out), path_of("data", data)
    val = None if val is None else path_of("val", val)
    with process_group():
        photos = Folder(data)
        val_photos = None if val is None else _validation(val, photos)
        classifier, start = build(recipe, photos.folders)
        recipe = _sized(recipe, input_size(classifier)[0])
        require_sizes(classifier, recipe)
        steps = math.ceil(len(photos) / recipe.batch_size)
        engine = Engine(recipe, classifier, steps, device_of(device))
        claim(out, recipe, write=place()[0] == 0)
        rows = _restore(engine, out, photos)
        with _bar(recipe, steps, len(rows)) as bar:
            for epoch in range(len(rows), recipe.epochs):
                row = _epoch(engine, photos, epoch, bar, workers)
                last = epoch + 1 == recipe.epochs
                due = last or (epoch + 1) % validate_every == 0
                measured = val_photos if due else None
                row["val_top1"] = _accuracy(engine, measured, workers)
                row["weights"] = "ema" if recipe.ema else "trained"
                rows.append(row)
                bar.set_postfix(loss=f"{row['loss']:.3f}", val=f"{row['val_top1']:.3f}")
                _keep(engine, out, rows, photos)
        failed = gather(engine.failed)
        if place()[0] == 0:
            save_weights(engine.kept, out / WEIGHTS, recipe, classifier.classes)
        agree()
    log = pd.DataFrame(rows)
    log.attrs = {"start": start, "classes": list(classifier.classes), "failed": failed}
    return log


def _epoch(
    engine: Engine, photos: Folder, epoch: int, bar: tqdm[Any], workers: int
) -> dict[str, Any]:
    recipe = engine.recipe
    torch.manual_seed(epoch_seed(recipe, epoch))
    photos.crop_at_random(recipe, epoch, engine.transform)
    parts = parts_of(len(photos), recipe.batch_size, recipe.accumulate, *place())
    loader = _training_loader(photos, parts, workers, engine.device)
    return engine.epoch(parts, loader, epoch, bar)


def _accuracy(engine: Engine, photos: Folder | None, workers: int) -> float:
    if photos is None:
        return math.nan
    photos.crop_centre(engine.transform, engine.recipe.phases[-1][0])
    rank, world = place()
    share = Subset(photos, range(rank, len(photos), world))
    loader: DataLoader[Any] = DataLoader(
        share, VALIDATION_BATCH, num_workers=workers, collate_fn=collate
    )
    return engine.accuracy(loader)


def _training_loader(
    photos: Folder, parts: list[Part], workers: int, device: torch.device
) -> DataLoader[Any]:
    return DataLoader(
        photos,
        batch_sampler=Shuffled(photos, parts),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
    )


def _validation(val: Path, photos: Folder) -> Folder:
    found = Folder(val)
    ours, theirs = class_names(photos.folders), class_names(found.folders)
    if ours != theirs:
        other = sorted(set(ours) ^ set(theirs))
        raise InputError(
            f"{val} has classes {theirs[:12]}, the training photos have {ours[:12]}: "
            f"only one of them has {', '.join(other[:8])}"
        )
    return found


def _sized(recipe: Recipe, own: int) -> Recipe:
    """Write the model's own size where a phase has none."""
    return replace(recipe, phases=tuple((size or own, epochs) for size, epochs in recipe.phases))


def _restore(engine: Engine, out: Path, photos: Folder) -> list[dict[str, Any]]:
    state = load_state(out / LAST, engine.device, _STATE)
    if state is None:
        return []
    if (state["folders"], state["photos"]) != (photos.folders, len(photos)):
        raise InputError(
            f"{out} holds a run on {state['photos']} photos of {len(state['folders'])} classes, "
            f"not on these {len(photos)} of {len(photos.folders)}: choose another folder"
        )
    engine.restore(state)
    rows: list[dict[str, Any]] = state["rows"]
    return rows


def _keep(engine: Engine, out: Path, rows: list[dict[str, Any]], photos: Folder) -> None:
    if place()[0] == 0:
        facts = {"rows": rows, "folders": photos.folders, "photos": len(photos)}
        save_state(out / LAST, {**engine.state(), **facts})
        write_log(out / LOG, rows)
    agree()


def _bar(recipe: Recipe, steps: int, done: int) -> tqdm[Any]:
    return tqdm(
        total=recipe.epochs * steps,
        initial=done * steps,
        desc=recipe.arch,
        disable=place()[0] > 0,
    )
