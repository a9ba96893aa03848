"""A network with its optimiser, as they stand after some epochs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from vizkit.distributed import place
from vizkit.errors import InputError
from vizkit.images import Transform
from vizkit.interrupts import surely
from vizkit.models import Classifier
from vizkit.training import optimisation
from vizkit.training.freezing import Frozen
from vizkit.training.photos import Batch
from vizkit.training.recipe import Recipe
from vizkit.training.sharing import Part


class Engine:
    """A network with its optimiser, schedule and moving average.

    Parameters
    ----------
    recipe : Recipe
        How it is trained.
    classifier : Classifier
        What is trained; moved to the device.
    steps : int
        Of one epoch.
    device : torch.device
        Where.

    Raises
    ------
    InputError
        If the recipe cannot be followed there.
    """

    def __init__(
        self, recipe: Recipe, classifier: Classifier, steps: int, device: torch.device
    ) -> None:
        self.recipe, self.device, self._steps = recipe, device, steps
        self._autocast = optimisation.autocast(recipe, device)
        if recipe.sync_bn:
            if device.type != "cuda":
                raise InputError(f"sync_bn needs CUDA GPUs, and this runs on {device.type}")
            convert_sync_batchnorm(classifier.module)  # exchanges the layers inside it
        self._frozen = Frozen(classifier, recipe.freeze)
        module = classifier.module.to(device)
        self.module: nn.Module = module.to(memory_format=torch.channels_last)
        self.optimizer = optimisation.make_optimizer(recipe, self.module)
        self._schedule = optimisation.make_schedule(recipe, self.optimizer, steps)
        self._scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        self._average = optimisation.make_average(recipe, self.module)
        self._mixing = optimisation.make_mixing(recipe, len(classifier.classes))
        self._parallel = self._joined()
        own = classifier.transform
        self.transform = own if isinstance(own, Transform) else Transform()
        self.failed: dict[str, str] = {}

    @property
    def kept(self) -> nn.Module:
        """The network that is measured and kept: the moving average where there is one."""
        average: nn.Module | None = getattr(self._average, "module", None)
        return self.module if average is None else average

    def epoch(
        self, parts: Sequence[Part], loader: DataLoader[Any], epoch: int, bar: tqdm[Any]
    ) -> dict[str, Any]:
        """Train one epoch, counted from zero, and return its row of the log."""
        self.module.train()
        self._frozen.hold()
        started, step, sums = time.perf_counter(), epoch * self._steps, torch.zeros(3).double()
        for part, (pixels, labels) in zip(parts, self._batches(loader), strict=True):
            sums += torch.tensor(self._pass(pixels, labels, part, epoch), dtype=torch.float64)
            if not part.closes:
                continue
            self._step(step)
            step += 1
            bar.update()
        loss, correct, seen = self._summed(sums)
        self._align()
        return {
            "epoch": epoch + 1,
            "size": self.recipe.size(epoch),
            "loss": loss / seen,
            "learning_rate": max(group["lr"] for group in self.optimizer.param_groups),
            "seconds": time.perf_counter() - started,
            "train_top1": correct / seen,
        }

    @torch.inference_mode()
    def accuracy(self, loader: DataLoader[Any]) -> float:
        """Share of all processes' photos whose highest logit is the right class."""
        self.kept.eval()
        hits = torch.zeros(2).double()
        for pixels, labels in self._batches(loader):
            own = int((self.kept(pixels).argmax(1) == labels).sum())
            hits += torch.tensor([own, len(labels)])
        right, seen = self._summed(hits)
        return right / seen

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {
            "model": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "failed": self.failed,
            **({"model_ema": self._average.module.state_dict()} if self._average else {}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.module.load_state_dict(state["model"])
        if self._average:
            self._average.module.load_state_dict(state["model_ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self.failed = dict(state["failed"])

    def _pass(self, pixels: Tensor, labels: Tensor, part: Part, epoch: int) -> tuple[float, ...]:
        """Add a part's gradients; return the sums of loss, right answers and photos."""
        mixed, targets = self._mixing(pixels, labels)
        with self._lonely(part), surely(self._autocast):
            logits = self._parallel(mixed)
            if not isinstance(logits, Tensor):
                raise InputError(
                    f"{self.recipe.arch} gives a {type(logits).__name__} in training, not logits"
                )
            logits = logits.float()
        smoothing = self.recipe.label_smoothing
        loss = functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        if not torch.isfinite(loss):
            raise InputError(
                f"the loss became {loss.item()} in epoch {epoch + 1}: "
                f"try a learning rate below {self.recipe.learning_rate:g}"
            )
        with self._lonely(part):
            scaled: Tensor = self._scaler.scale(loss * part.weight)
            scaled.backward()  # type: ignore[no-untyped-call]
        count = len(labels) if part.weight else 0
        hits = int((logits.argmax(1) == labels).sum()) if part.weight else 0
        return loss.item() * count, hits, count

    def _step(self, step: int) -> None:
        self._schedule.step_update(step)
        self._scaler.unscale_(self.optimizer)
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self._average:
            self._average.update(self.module, step=step + 1)

    def _batches(self, loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        mean, std = (
            torch.tensor(values, device=self.device).mul(255).view(1, 3, 1, 1)
            for values in (self.transform.mean, self.transform.std)
        )
        batch: Batch
        for batch in loader:
            pixels, labels, failed = batch
            self.failed.update(failed)
            if not len(labels):
                raise InputError(f"no photo of a step can be read: {'; '.join(failed.values())}")
            inputs = pixels.to(self.device, non_blocking=True).float().sub_(mean).div_(std)
            yield (
                inputs.contiguous(memory_format=torch.channels_last),
                labels.to(self.device, non_blocking=True),
            )

    def _joined(self) -> nn.Module:
        if place()[1] == 1:
            return self.module
        devices = [torch.cuda.current_device()] if self.device.type == "cuda" else None
        joined: nn.Module = DistributedDataParallel(self.module, device_ids=devices)
        return joined

    def _lonely(self, part: Part) -> AbstractContextManager[Any]:
        """Leave gradients to this process until the last part of the step."""
        if part.closes or not isinstance(self._parallel, DistributedDataParallel):
            return nullcontext()
        return self._parallel.no_sync()

    def _summed(self, values: Tensor) -> list[float]:
        if place()[1] > 1:
            # not every device knows float64
            on_device = values.float().to(self.device)
            distributed.all_reduce(on_device)
            values = on_device
        return [float(value) for value in values]

    def _align(self) -> None:
        """Give all processes the first one's running statistics."""
        if place()[1] > 1:
            for buffer in (*self.module.buffers(), *self.kept.buffers()):
                distributed.broadcast(buffer, 0)
