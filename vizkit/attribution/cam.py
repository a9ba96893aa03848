"""Stage-level methods: weighted sums of a stage's feature maps."""

from __future__ import annotations

from torch import Tensor, relu

from vizkit.attribution.registry import Probe, method


@method("grad_cam", label="Grad-CAM", paper="arXiv:1610.02391", level="stage")
def grad_cam(probe: Probe) -> Tensor:
    """Weight each channel by the mean of its gradient; keep what speaks for the class.

    ``relu(sum_c mean_xy(dS/dA_c) A_c)``, Selvaraju et al., "Grad-CAM: visual explanations from
    deep networks via gradient-based localization", ICCV 2017.

    Parameters
    ----------
    probe : Probe
        One stage.

    Returns
    -------
    Tensor of shape (N, T, h, w)
        Never negative; in units of the logit per place.
    """
    weights = probe.gradients.mean(dim=(-2, -1), keepdim=True)
    return relu((weights * probe.activations).sum(dim=-3))
