"""Networks beside each other: how similar what they compute is."""

from vizkit.comparing.kernels import KERNELS
from vizkit.comparing.run import similarity

__all__ = ["KERNELS", "similarity"]
