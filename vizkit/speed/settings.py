"""In which ways a network can run: precision, layout, compiled or not, images in a pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from vizkit.errors import InputError, unknown, whole

PRECISIONS = ("float32", "bfloat16")
LAYOUTS = ("contiguous", "channels_last")
_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Setting:
    """One way to run a network.

    Attributes
    ----------
    precision : "float32" or "bfloat16"
        Type of weights and inputs: both are cast, there is no autocast.
    layout : "contiguous" or "channels_last"
        How maps and the weights of convolutions lie in memory.
    compiled : bool
        Whether ``torch.compile`` translates the network first.
    batch : int
        Images in a pass.
    """

    precision: str = "float32"
    layout: str = "contiguous"
    compiled: bool = False
    batch: int = 8

    @property
    def dtype(self) -> torch.dtype:
        """The precision as PyTorch's type."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def apply(self, module: nn.Module) -> nn.Module:
        """Change a network to run so, in place."""
        # Module.to's annotations do not know that both can be given
        return module.to(dtype=self.dtype, memory_format=_FORMATS[self.layout])  # type: ignore[call-overload, no-any-return]

    def copy(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        """Make a copy of a network that runs so."""
        own: Callable[[Tensor], Tensor] = self.apply(copy.deepcopy(module))
        # batches of another size would be compiled for any size, which is another program
        return torch.compile(own, dynamic=False) if self.compiled else own

    def inputs(self, size: tuple[int, int], device: torch.device) -> Tensor:
        """Make noise for a pass, always the same."""
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(self.batch, 3, *size, generator=generator)
        return noise.to(device, self.dtype).to(memory_format=_FORMATS[self.layout])


def grid(
    precisions: Sequence[str], layouts: Sequence[str], batches: Sequence[int], compiled: bool
) -> list[Setting]:
    """List every combination; with ``compiled``, each of them compiled, too.

    Raises
    ------
    InputError
        If a precision or layout is unknown, or a batch holds no image.
    """
    for kind, given, known in (("precision", precisions, PRECISIONS), ("layout", layouts, LAYOUTS)):
        for name in given:
            if name not in known:
                raise unknown(kind, name, known)
    for batch in batches:
        whole("batch", batch)
    ways = (False, True) if compiled else (False,)
    found = [
        Setting(precision, layout, way, batch)
        for batch, way, precision, layout in product(batches, ways, precisions, layouts)
    ]
    if not found:
        raise InputError("nothing to measure: give a precision, a layout and a batch size")
    return found
