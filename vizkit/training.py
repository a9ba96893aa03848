"""Train a classifier on a folder of folders: the command behind the bundled demo family.

Data flow: ``ImageFolder -> random crops -> network -> log.csv, last.pth -> model.safetensors``.
A run that is stopped continues from its last finished epoch and ends with the same weights as
one that was not: every epoch draws its random numbers from ``(seed, epoch)`` alone.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from tqdm.auto import tqdm

from vizkit import growth, zoo
from vizkit.checkpoints import read_state_dict
from vizkit.errors import InputError, unknown
from vizkit.models import device_of

MEAN, STD = zoo.CONFIG["mean"], zoo.CONFIG["std"]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run produces, apart from the photos.

    Attributes
    ----------
    arch : str
        ``demo/...`` or a timm architecture; always trained from scratch.
    start : str
        ``"ARCH=FILE"``: copy what fits, layer by layer name, from these safetensors weights of
        another architecture (or the same); empty for a random start.
    phases : tuple of (int, int)
        Image size in pixels and number of epochs, in order (progressive resizing).
    batch_size : int
        Images per step.
    learning_rate : float
        Peak of the schedule: one epoch of linear warm-up, then a cosine to zero.
    weight_decay : float
        AdamW's, on weight matrices only.
    label_smoothing : float
        Share of the target spread over the other classes, in [0, 1).
    min_crop : float
        Smallest share of the photo's area that a random crop keeps, in (0, 1].
    mixed_precision : bool
        bfloat16 autocast in the forward pass.
    seed : int
        Seed of initialisation, order and crops.
    """

    arch: str
    start: str = ""
    phases: tuple[tuple[int, int], ...] = ((64, 8), (96, 6), (128, 4))
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    min_crop: float = 0.35
    mixed_precision: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "phases": bool(self.phases) and all(min(phase) > 0 for phase in self.phases),
            "batch_size": self.batch_size > 0,
            "learning_rate": self.learning_rate > 0,
            "weight_decay": self.weight_decay >= 0,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "min_crop": 0 < self.min_crop <= 1,
        }
        for name, fine in limits.items():
            if not fine:
                raise InputError(f"{name} cannot be {getattr(self, name)!r}: see Recipe")

    @property
    def epochs(self) -> int:
        """Number of epochs over all phases."""
        return sum(epochs for _, epochs in self.phases)

    def size(self, epoch: int) -> int:
        """Image size, in pixels, of an epoch counted from zero."""
        for size, epochs in self.phases:
            if epoch < epochs:
                return size
            epoch -= epochs
        return self.phases[-1][0]


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

    Parameters
    ----------
    recipe : Recipe
        Architecture, schedule and seed.
    data : Path
        Training photos, one folder a class.
    out : Path
        Folder for ``last.pth`` (resume), ``log.csv``, ``recipe.json`` and, when the last epoch
        is done, ``model.safetensors`` (float16).
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
        (accuracies in [0, 1]; NaN where not measured).

    Raises
    ------
    InputError
        If a folder has no photos, the classes of ``val`` differ, or ``out`` holds a run of
        another recipe.
    """
    train_set = _folder(data, _training_transform(recipe, recipe.phases[0][0]))
    val_set = _folder(val, _evaluation_transform(recipe.phases[-1][0])) if val else None
    if val_set and val_set.classes != train_set.classes:
        raise InputError(f"{val} has classes {val_set.classes}, {data} has {train_set.classes}")
    run = _Run(recipe, len(train_set.classes), len(train_set), device_of(device))
    _claim(out, recipe)
    rows = run.restore(out / "last.pth")
    steps = math.ceil(len(train_set) / recipe.batch_size)
    with tqdm(total=recipe.epochs * steps, initial=len(rows) * steps, desc=recipe.arch) as bar:
        for epoch in range(len(rows), recipe.epochs):
            torch.manual_seed(recipe.seed * 100_003 + epoch)
            train_set.transform = _training_transform(recipe, recipe.size(epoch))
            loader = _loader(train_set, recipe.batch_size, workers, shuffle=True)
            row = run.epoch(loader, epoch, bar)
            last = epoch + 1 == recipe.epochs
            due = val_set and (last or (epoch + 1) % validate_every == 0)
            row["val_top1"] = run.accuracy(_loader(val_set, 128, workers)) if due else float("nan")
            rows.append(row)
            bar.set_postfix(loss=f"{row['loss']:.3f}", val=f"{row['val_top1']:.3f}")
            run.save(out / "last.pth", rows)
            _write_log(out / "log.csv", rows)
    save_weights(run.model, out / "model.safetensors", recipe, train_set.classes)
    return pd.DataFrame(rows)


def save_weights(model: nn.Module, path: Path, recipe: Recipe, classes: list[str]) -> None:
    """Write a model's weights as float16 safetensors, with the recipe in the header.

    Parameters
    ----------
    model : nn.Module
        The trained network.
    path : Path
        File to write; replaced in one step.
    recipe : Recipe
        How it was trained.
    classes : list of str
        Names of the folders, in the order of the outputs.
    """
    state = {
        key: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for key, value in model.state_dict().items()
    }
    # one entry, because safetensors writes several in any order
    header = {"vizkit": json.dumps({"recipe": dataclasses.asdict(recipe), "classes": classes})}
    partial = path.with_suffix(".partial")
    save_file(state, partial, metadata=header)
    partial.replace(path)


class _Run:
    """A network with its optimiser and schedule, as they stand after some epochs."""

    def __init__(self, recipe: Recipe, classes: int, photos: int, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.steps = math.ceil(photos / recipe.batch_size)
        self.model = _network(recipe.arch, classes)
        if recipe.start:
            donor, _, file = recipe.start.partition("=")
            state = read_state_dict(Path(file))
            growth.inherit(self.model, _network(donor, classes), state)
        self.model.to(device).to(memory_format=torch.channels_last)
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
        )

    def epoch(self, loader: DataLoader[Any], epoch: int, bar: tqdm[Any]) -> dict[str, Any]:
        """Train one epoch and return its row of the log."""
        self.model.train()
        started, total_loss, correct, seen = time.perf_counter(), 0.0, 0, 0
        for step, (pixels, labels) in enumerate(self._batches(loader)):
            rate = self._learning_rate(epoch * self.steps + step)
            with self._autocast():
                logits = self.model(pixels).float()
            loss = functional.cross_entropy(
                logits, labels, label_smoothing=self.recipe.label_smoothing
            )
            if not torch.isfinite(loss):
                raise InputError(
                    f"the loss became {loss.item()} in epoch {epoch + 1}: "
                    f"try a learning rate below {self.recipe.learning_rate:g}"
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            total_loss += loss.item() * len(labels)
            correct += int((logits.argmax(1) == labels).sum())
            seen += len(labels)
            bar.update()
        return {
            "epoch": epoch + 1,
            "size": self.recipe.size(epoch),
            "loss": total_loss / seen,
            "learning_rate": rate,
            "seconds": time.perf_counter() - started,
            "train_top1": correct / seen,
        }

    @torch.inference_mode()
    def accuracy(self, loader: DataLoader[Any]) -> float:
        """Share of photos whose highest logit is the right class."""
        self.model.eval()
        hits = [
            (self.model(pixels).argmax(1) == labels).float()
            for pixels, labels in self._batches(loader)
        ]
        return float(torch.cat(hits).mean())

    def save(self, path: Path, rows: list[dict[str, Any]]) -> None:
        """Write what `restore` needs, replacing the file in one step."""
        partial = path.with_suffix(".partial")
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "rows": rows,
            },
            partial,
        )
        partial.replace(path)

    def restore(self, path: Path) -> list[dict[str, Any]]:
        """Load an earlier run's state if there is one; return its log."""
        if not path.exists():
            return []
        saved = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        rows: list[dict[str, Any]] = saved["rows"]
        return rows

    def _learning_rate(self, step: int) -> float:
        total = self.recipe.epochs * self.steps
        warm = min(1.0, (step + 1) / self.steps)
        rate = self.recipe.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / total))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _batches(self, loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        mean = torch.tensor(MEAN, device=self.device).mul(255).view(1, 3, 1, 1)
        std = torch.tensor(STD, device=self.device).mul(255).view(1, 3, 1, 1)
        for pixels, labels in loader:
            batch = pixels.to(self.device, non_blocking=True).float().sub_(mean).div_(std)
            yield (
                batch.contiguous(memory_format=torch.channels_last),
                labels.to(self.device, non_blocking=True),
            )

    def _autocast(self) -> Any:
        if not self.recipe.mixed_precision:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


def _network(arch: str, classes: int) -> nn.Module:
    if arch.removeprefix("demo/") in zoo.NAMES and arch.startswith("demo/"):
        return zoo.build(arch.removeprefix("demo/"), classes)
    if not timm.is_model(arch):
        known = [*(f"demo/{name}" for name in zoo.NAMES), *timm.list_models()]
        raise unknown("architecture", arch, known, 12)
    model: nn.Module = timm.create_model(arch, pretrained=False, num_classes=classes)
    return model


def _training_transform(recipe: Recipe, size: int) -> Callable[[Any], Tensor]:
    crop = transforms.RandomResizedCrop(size, scale=(recipe.min_crop, 1.0))
    composed: Callable[[Any], Tensor] = transforms.Compose(
        [crop, transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    )
    return composed


def _evaluation_transform(size: int) -> Callable[[Any], Tensor]:
    shorter = int(size / zoo.CONFIG["crop_pct"])
    composed: Callable[[Any], Tensor] = transforms.Compose(
        [transforms.Resize(shorter), transforms.CenterCrop(size), transforms.PILToTensor()]
    )
    return composed


def _folder(path: Path, transform: Callable[[Any], Tensor]) -> ImageFolder:
    try:
        return ImageFolder(path, transform)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no folder of class folders with photos ({error})") from error


def _loader(
    dataset: ImageFolder, batch_size: int, workers: int, *, shuffle: bool = False
) -> DataLoader[Any]:
    return DataLoader(dataset, batch_size, shuffle=shuffle, num_workers=workers)


def _claim(out: Path, recipe: Recipe) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / "recipe.json"
    wanted = json.loads(json.dumps(dataclasses.asdict(recipe)))
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found != wanted:
            differing = sorted(k for k in wanted if found.get(k) != wanted[k])
            raise InputError(
                f"{out} holds a run with another {', '.join(differing)}: "
                "choose another folder or the same options"
            )
    path.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")


def _write_log(path: Path, rows: list[dict[str, Any]]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
