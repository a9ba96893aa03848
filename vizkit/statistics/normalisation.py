"""What a batch normalisation does to these images: its parameters, and how well its memory fits."""

from __future__ import annotations

import torch
from torch import Tensor

from vizkit.statistics.moments import Moments
from vizkit.statistics.registry import Site, statistic


@statistic(
    gamma="|scale| of batch normalisation",
    beta="offset of batch normalisation",
    mean_drift="|mean of the images - running mean| in running standard deviations",
    variance_ratio="variance of the images over the running variance",
)
class BatchNormalisation(Moments):
    """Parameters of a batch normalisation, and running against actual statistics.

    Read at the role ``norm``, behind the layer y = gamma (x - m) / sqrt(v + eps) + beta. ``gamma``
    is |gamma| and ``beta`` the offset; means over channels. ``mean_drift`` is |E[x] - m| / sqrt(v +
    eps) and ``variance_ratio`` is Var[x] / (v + eps) over these images, both from the moments of
    y: 0 and 1 where the images are like those of the training; NaN for channels with |gamma| <
    1e-6, medians over the others. Ioffe and Szegedy, "Batch normalization", ICML 2015.
    """

    @classmethod
    def missing(cls, site: Site) -> str | None:
        """Say why the statistics do not exist at a site, or None."""
        if site.norm is None:
            where = "at='layers', role norm"
            return f"it is read behind batch normalisation with running statistics ({where})"
        return None

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        ones = torch.ones(site.channels)
        weight = getattr(site.norm, "weight", None)
        bias = getattr(site.norm, "bias", None)
        self._gamma = (ones if weight is None else weight.detach()).to(site.device).double()
        self._beta = (0 * ones if bias is None else bias.detach()).to(site.device).double()

    def state(self) -> dict[str, Tensor]:
        """Return the sums by name; the parameters are the network's."""
        return {name: value for name, value in super().state().items() if name[0] != "_"}

    def channels(self) -> dict[str, Tensor]:
        """Each statistic per channel: (C,), float64."""
        scale = self._gamma.abs()
        usable = scale.masked_fill(scale < 1e-6, torch.nan)
        return {
            "gamma": scale,
            "beta": self._beta,
            "mean_drift": (self.means - self._beta).abs() / usable,
            "variance_ratio": self.variance / usable.square(),
        }

    def whole(self) -> dict[str, float]:
        """Each statistic of the whole tap."""
        found = self.channels()
        means = {name: found[name].mean().item() for name in ("gamma", "beta")}
        # torch's nanmedian would take the lower of the two in the middle
        medians = {n: found[n].nanquantile(0.5).item() for n in ("mean_drift", "variance_ratio")}
        return means | medians
