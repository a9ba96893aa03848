"""Layer-wise relevance propagation, computed by zennit (an optional extra)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vizkit.attribution.chain import unroll
from vizkit.attribution.query import Query
from vizkit.attribution.registry import method
from vizkit.attribution.twin import twin
from vizkit.errors import InputError, unknown

COMPOSITES = {
    "epsilon_plus": "EpsilonPlus",
    "epsilon_plus_flat": "EpsilonPlusFlat",
    "epsilon_alpha2_beta1": "EpsilonAlpha2Beta1",
}


@method("lrp", label="LRP", paper="doi:10.1371/journal.pone.0130140", level="input")
def lrp(query: Query, *, composite: str = "epsilon_plus_flat") -> Tensor:
    """Hand the logit back layer by layer, to each input in proportion to its contribution.

    Bach et al., "On pixel-wise explanations for non-linear classifier decisions by layer-wise
    relevance propagation", 2015, by zennit (``pip install 'vizkit[lrp]'``); for sequential networks
    such as VGG. Batch normalisation is folded into the convolutions of a copy first.

    Parameters
    ----------
    query : Query
        Network, inputs and classes.
    composite : str
        Which rule for which layer: ``"epsilon_plus_flat"`` (flat in the first layer, positive
        contributions in convolutions, epsilon in linear layers), ``"epsilon_plus"`` or
        ``"epsilon_alpha2_beta1"``.

    Returns
    -------
    Tensor of shape (N, T, H, W)
        Signed; in units of the logit.

    Raises
    ------
    InputError
        If zennit is not installed or the network is not sequential.
    """
    if composite not in COMPOSITES:
        raise unknown("composite", composite, COMPOSITES)
    attribution, composites, canonizers = _zennit()
    parts = [link.module for link in unroll(query.module, query.inputs[:1]).links]
    if any(next(part.children(), None) is not None for part in parts):
        raise InputError(
            f"lrp is for networks whose layers follow one another, such as VGG at its own input "
            f"size; {type(query.module).__name__} at {query.inputs.shape[-1]} x "
            f"{query.inputs.shape[-2]} px is not one. integrated_gradients works everywhere"
        )
    network = twin(nn.Sequential(*parts), own_weights=True).requires_grad_(True)
    rules = getattr(composites, COMPOSITES[composite])(
        canonizers=[canonizers.SequentialMergeBatchNorm()]
    )
    with torch.enable_grad(), attribution.Gradient(model=network, composite=rules) as explainer:
        maps = [_relevance(query, explainer, t) for t in range(query.targets.shape[1])]
    return torch.stack(maps, dim=1).sum(dim=-3)


def _relevance(query: Query, explainer: Any, t: int) -> Tensor:
    def start(logits: Tensor) -> Tensor:
        kept = torch.zeros_like(logits).scatter(1, query.targets[:, t : t + 1], 1.0)
        if query.against is not None:
            kept[:, query.against] -= 1
        return logits * kept

    _, relevance = explainer(query.inputs.clone().requires_grad_(), start)
    found: Tensor = relevance.detach()
    return found


def _zennit() -> tuple[Any, Any, Any]:
    try:
        from zennit import attribution, canonizers, composites
    except ImportError as error:
        raise InputError("lrp needs zennit: pip install 'vizkit[lrp]'") from error
    return attribution, composites, canonizers
