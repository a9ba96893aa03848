"""Images as vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Embeddings:
    """What a network's last layer classifies from, one vector per image.

    Attributes
    ----------
    model : str
        The network.
    vectors : Tensor of shape (N, F), float32
        On the CPU.
    names : tuple of str
        The images.
    labels : tuple of str or None
        Their classes, where they lie in class folders.
    failed : dict of str to str
        Files that could not be read, and why.
    """

    model: str
    vectors: Tensor
    names: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    failed: dict[str, str] = field(default_factory=dict)

    def index(self) -> pd.DataFrame:
        """List the images: image and, where known, class; a row for each vector."""
        columns: dict[str, Any] = {"image": self.names}
        return pd.DataFrame(columns | ({"class": self.labels} if self.labels else {}))

    def to_frame(self) -> pd.DataFrame:
        """Give the images with their vectors, a column for each dimension: f0, f1, …."""
        columns = [f"f{n}" for n in range(self.vectors.shape[1])]
        values = pd.DataFrame(self.vectors.numpy(), columns=columns)
        return pd.concat([self.index(), values], axis=1)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.names)

    def __repr__(self) -> str:
        count, width = self.vectors.shape
        return f"Embeddings({self.model}: {count} images, {width} dimensions)"
