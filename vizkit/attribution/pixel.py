"""Input-level methods, computed by captum."""

from __future__ import annotations

from torch import Tensor

from vizkit.attribution.registry import Query, method


@method("saliency", label="Saliency", paper="arXiv:1312.6034", level="input")
def saliency(query: Query) -> Tensor:
    """Take the largest absolute derivative of the logit over a pixel's three colours.

    ``max_c |dS/dx_c|``, Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks",
    2013.

    Parameters
    ----------
    query : Query
        Network, inputs and classes.

    Returns
    -------
    Tensor of shape (N, H, W)
        Never negative; logit per unit of the normalised input.
    """
    from captum.attr import Saliency

    inputs = query.inputs.clone().requires_grad_()
    gradients: Tensor = Saliency(query.module).attribute(inputs, target=query.target, abs=True)
    return gradients.amax(dim=1)
