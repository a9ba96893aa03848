"""Networks beside each other: similarity of their maps, and one stage axis for all."""

from vizkit.comparing.kernels import KERNELS
from vizkit.comparing.run import similarity
from vizkit.comparing.side_by_side import compare

__all__ = ["KERNELS", "compare", "similarity"]
