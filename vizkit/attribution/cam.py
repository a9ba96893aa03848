"""Class activation maps from activations and gradients: weighted sums of a stage's maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn, relu

from vizkit.attribution.query import Probe
from vizkit.attribution.registry import method
from vizkit.errors import InputError
from vizkit.forward import last_layer, recorded

PLACES = (-2, -1)
CHANNELS = -3


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
    weights = probe.gradients.mean(dim=PLACES, keepdim=True)
    return relu((weights * probe.activations).sum(dim=CHANNELS))


@method("grad_cam_pp", label="Grad-CAM++", paper="arXiv:1710.11063", level="stage")
def grad_cam_pp(probe: Probe) -> Tensor:
    """Weight each channel by its positive gradients, so that every instance of a class counts.

    ``relu(sum_c w_c A_c)`` with ``w_c = sum_xy a_c relu(g_c)`` and ``a_c = g_c^2 / (2 g_c^2 +
    g_c^3 sum_xy A_c)``, where ``g_c = dS/dA_c`` and a is 0 where the gradient is; Chattopadhay
    et al., "Grad-CAM++: improved visual explanations for deep convolutional networks", WACV
    2018. As in the paper, S is the exponential of the logit, whose positive factor is left out.

    Parameters
    ----------
    probe : Probe
        One stage.

    Returns
    -------
    Tensor of shape (N, T, h, w)
        Never negative.
    """
    gradients = probe.gradients
    # a_c with g_c^2 cancelled: squares and cubes of small gradients would underflow
    below = 2 + gradients * probe.activations.sum(dim=PLACES, keepdim=True)
    shares = torch.where(gradients > 0, 1 / below, torch.zeros_like(below))
    weights = (shares * relu(gradients)).sum(dim=PLACES, keepdim=True)
    return relu((weights * probe.activations).sum(dim=CHANNELS))


@method("layer_cam", label="Layer-CAM", paper="doi:10.1109/TIP.2021.3089943", level="stage")
def layer_cam(probe: Probe) -> Tensor:
    """Weight each place of each channel by its own positive gradient.

    ``relu(sum_c relu(dS/dA_c) A_c)``, Jiang et al., "LayerCAM: exploring hierarchical class
    activation maps for localization", IEEE TIP 2021. Meant for early stages too.

    Parameters
    ----------
    probe : Probe
        One stage.

    Returns
    -------
    Tensor of shape (N, T, h, w)
        Never negative; in units of the logit.
    """
    return relu((relu(probe.gradients) * probe.activations).sum(dim=CHANNELS))


@method("hires_cam", label="HiRes-CAM", paper="arXiv:2011.08891", level="stage")
def hires_cam(probe: Probe) -> Tensor:
    """Multiply activations and gradients place by place.

    ``sum_c dS/dA_c A_c``, Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful
    explanations of convolutional neural networks", 2020. Signed; where everything after the
    stage is linear it sums to the logit without its biases.

    Parameters
    ----------
    probe : Probe
        One stage.

    Returns
    -------
    Tensor of shape (N, T, h, w)
        Signed; in units of the logit.
    """
    return (probe.gradients * probe.activations).sum(dim=CHANNELS)


@method("xgrad_cam", label="XGrad-CAM", paper="arXiv:2008.02312", level="stage")
def xgrad_cam(probe: Probe) -> Tensor:
    """Weight each channel by its gradients, averaged in proportion to its activations.

    ``relu(sum_c w_c A_c)`` with ``w_c = sum_xy(dS/dA_c A_c) / sum_xy A_c``, Fu et al.,
    "Axiom-based Grad-CAM", BMVC 2020.

    Parameters
    ----------
    probe : Probe
        One stage.

    Returns
    -------
    Tensor of shape (N, T, h, w)
        Never negative; in units of the logit.
    """
    totals = probe.activations.sum(dim=PLACES, keepdim=True)
    weighted = (probe.gradients * probe.activations).sum(dim=PLACES, keepdim=True)
    weights = torch.where(totals == 0, torch.zeros_like(weighted), weighted / totals)
    return relu((weights * probe.activations).sum(dim=CHANNELS))


@method(
    "eigen_cam",
    label="Eigen-CAM",
    paper="arXiv:2008.00299",
    level="stage",
    by_class=False,
    gradients=False,
)
def eigen_cam(probe: Probe) -> Tensor:
    """Project the activations onto their first principal direction; the class plays no part.

    ``A v`` with v the first right singular vector of the (h w, C) activations, not centred;
    Muhammad and Yeasin, "Eigen-CAM: class activation map using principal components", 2020. The
    sign, which a singular vector leaves open, is chosen so that the map's sum is positive.

    Parameters
    ----------
    probe : Probe
        One stage.

    Returns
    -------
    Tensor of shape (N, T, h, w)
        Signed; in units of the activations; the same for every class.
    """
    maps = probe.activations.squeeze(1)
    if not maps.isfinite().all():
        raise InputError(f"the maps of {probe.tap.label} are not finite: they have no direction")
    places = maps.flatten(2)
    projected = _first_component(places.double()).to(maps.dtype).view(len(maps), *maps.shape[-2:])
    signs = projected.sum(dim=PLACES, keepdim=True).sign()
    oriented = torch.where(signs < 0, -projected, projected)
    return oriented.unsqueeze(1).expand(-1, probe.query.targets.shape[1], -1, -1).clone()


def _first_component(values: Tensor) -> Tensor:
    """Project (N, C, P) onto the first singular direction of the channels: (N, P)."""
    # through the smaller of the two products, which is much faster than a tall SVD
    if values.shape[1] <= values.shape[2]:
        products = torch.einsum("ncp,ndp->ncd", values, values)
        return torch.einsum("nc,ncp->np", torch.linalg.eigh(products).eigenvectors[..., -1], values)
    products = torch.einsum("ncp,ncq->npq", values, values)
    found = torch.linalg.eigh(products)
    lengths: Tensor = found.eigenvalues[:, -1:].clamp(min=0).sqrt()
    projected: Tensor = found.eigenvectors[..., -1] * lengths
    return projected


@method("cam", label="CAM", paper="arXiv:1512.04150", level="stage", gradients=False)
def cam(probe: Probe) -> Tensor | None:
    """Weight each channel by the classifier's own weight, where the head is a pooled linear layer.

    ``sum_c w_kc A_c``, Zhou et al., "Learning deep features for discriminative localization",
    CVPR 2016. Only at the stage whose global average the last linear layer reads; there
    Grad-CAM is its positive part divided by the number of places.

    Parameters
    ----------
    probe : Probe
        One stage.

    Returns
    -------
    Tensor of shape (N, T, h, w), or None
        Signed; its mean over places is the logit without its bias. None at any other stage.
    """
    query, maps = probe.query, probe.activations.squeeze(1)
    layer = _classifier_of(probe)
    if layer is None:
        return None
    rows = layer.weight.flatten(1).float()
    if query.against is not None:
        rows = rows - rows[query.against]
    return torch.einsum("ntc,nchw->nthw", rows[query.targets], maps)


def _classifier_of(probe: Probe) -> nn.Linear | nn.Conv2d | None:
    """Find the last linear layer, if it reads the stage's global average: a fact of the network."""
    query = probe.query
    noise = torch.randn(query.inputs[:1].shape, generator=torch.Generator().manual_seed(0))
    noise = noise.to(query.inputs)
    with recorded(query.module, [probe.tap], noise) as (recorder, _):
        maps = recorder.outputs[probe.tap].float()
        pooled, size = maps.mean(dim=PLACES), float(maps.abs().mean(dim=PLACES).max())
    layer, read = last_layer(query.module, noise)
    if read.flatten(1).shape != pooled.shape:
        return None
    # sums over places are rounded in proportion to what is added up, which may cancel
    slack = max(1e-5, 4 * torch.finfo(read.dtype).eps) * size
    return layer if torch.allclose(read.flatten(1).float(), pooled, rtol=0, atol=slack) else None


def missing_head(name: str) -> InputError:
    """Say why `cam` gave nothing at any stage."""
    return InputError(
        f"cam needs a classifier of global average pooling and one linear layer, right after one "
        f"of the stages chosen; {name} has none there. grad_cam works everywhere"
    )
