"""What is asked of a source, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor, nn

from vizkit.checkpoints import Checkpoint, fit
from vizkit.errors import InputError

DEFAULT = "default"


@dataclass(frozen=True, eq=False)
class Wanted:
    """A network of one source.

    Attributes
    ----------
    name : str
        Without the source's.
    pretrained : bool
        With the weights that the source publishes.
    checkpoint : Checkpoint, optional
        With these weights instead; with neither, untrained.
    file : str
        Where they come from, for messages.
    classes : tuple of str
        Names of the outputs; empty for the source's own.
    use_test_size : bool
        With the larger input at which it was tested.
    """

    name: str
    pretrained: bool = True
    checkpoint: Checkpoint | None = None
    file: str = ""
    classes: tuple[str, ...] = ()
    use_test_size: bool = False

    @property
    def count(self) -> dict[str, Any]:
        """The number of outputs as an argument, where it is not the source's own."""
        return {"num_classes": len(self.classes)} if self.classes else {}

    def fill(self, module: nn.Module) -> str:
        """Load the file's weights, if there is one; say where they come from."""
        if self.checkpoint is None:
            return "untrained"
        fit(module, self.checkpoint.state, self.file)
        note = f" ({self.checkpoint.note})" if self.checkpoint.note else ""
        return f"weights from {self.file.rpartition('/')[2]}{note}"

    def names_of(self, own: tuple[str, ...]) -> tuple[str, ...]:
        """Name the outputs: as asked, else as the source does."""
        if self.pretrained and self.classes and len(self.classes) != len(own):
            raise InputError(
                f"the pretrained {self.name} has {len(own)} outputs, not {len(self.classes)}: "
                "to give it other classes, train it (vizkit train) or load a file of weights"
            )
        return self.classes or own

    def refuse_test_size(self) -> None:
        """Raise if another input size is asked for, where a source knows one only."""
        if self.use_test_size:
            raise InputError(f"no other test size is known of {self.name!r}: leave use_test_size")


@dataclass(frozen=True, eq=False)
class Parts:
    """What a source gives: see `Classifier`."""

    module: nn.Module
    transform: Callable[[Image.Image], Tensor]
    classes: tuple[str, ...]
    source: str
