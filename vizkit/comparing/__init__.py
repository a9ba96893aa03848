"""Networks beside each other: on one stage axis, by similarity, and where they part."""

from vizkit.comparing.kernels import KERNELS
from vizkit.comparing.parting import disagreement, disputed, explained
from vizkit.comparing.run import similarity
from vizkit.comparing.side_by_side import compare

__all__ = ["KERNELS", "compare", "disagreement", "disputed", "explained", "similarity"]
