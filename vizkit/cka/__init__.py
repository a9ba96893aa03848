"""How similar feature maps are: centred kernel alignment between all taps of all networks."""

from vizkit.cka.kernels import KERNELS
from vizkit.cka.run import similarity

__all__ = ["KERNELS", "similarity"]
