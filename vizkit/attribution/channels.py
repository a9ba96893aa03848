"""Class activation maps without gradients: what the network says when a channel is kept or cut."""

from __future__ import annotations

import torch
from torch import Tensor, relu
from torch.nn import functional as F  # noqa: N812

from vizkit.attribution.chain import Chain, unroll
from vizkit.attribution.query import Probe, Query
from vizkit.attribution.registry import method
from vizkit.hooks import replacing
from vizkit.memory import in_batches

PLACES = (-2, -1)


@method("score_cam", label="Score-CAM", paper="arXiv:1910.01279", level="stage", gradients=False)
def score_cam(probe: Probe) -> Tensor:
    """Weight each channel by the score of the photo seen through it.

    ``relu(sum_c w_c A_c)`` with ``w = softmax_c S(x * H_c)``, H_c the channel scaled to [0, 1] and
    to the size of the input, Wang et al., "Score-CAM: score-weighted visual explanations for
    convolutional neural networks", CVPR-W 2020. One forward pass a channel; all classes share
    them.

    Parameters
    ----------
    probe : Probe
        One stage.

    Returns
    -------
    Tensor of shape (N, T, h, w)
        Never negative; in units of the activations.
    """
    query = probe.query
    found = []
    for image, maps in zip(query.images(), probe.activations.squeeze(1), strict=True):
        weights = _scores_through(image, maps)[:, image.targets[0]].softmax(dim=0)
        found.append(relu(torch.einsum("ct,chw->thw", weights, maps)))
    return torch.stack(found)


def _scores_through(image: Query, maps: Tensor) -> Tensor:
    """Score one image seen through each of its maps (C, h, w): (C, K)."""

    def scores(some: Tensor) -> Tensor:
        return image.scores(_masked(image.inputs, some))

    return in_batches(scores, maps.unsqueeze(1), image.batch_size).float()


def _masked(pixels: Tensor, maps: Tensor) -> Tensor:
    """Show the input through each channel, (C, 1, h, w), scaled to [0, 1] and in size."""
    low, high = maps.amin(dim=PLACES, keepdim=True), maps.amax(dim=PLACES, keepdim=True)
    # a channel that is the same everywhere shows nothing
    spread = torch.where(high > low, high - low, torch.ones_like(high))
    scaled = (maps - low) / spread
    masks = F.interpolate(scaled, pixels.shape[-2:], mode="bilinear", align_corners=False)
    return masks.to(pixels.dtype) * pixels


@method(
    "ablation_cam",
    label="Ablation-CAM",
    paper="doi:10.1109/WACV45572.2020.9093360",
    level="stage",
    gradients=False,
)
def ablation_cam(probe: Probe) -> Tensor:
    """Weight each channel by how much the score falls when the channel is set to zero.

    ``relu(sum_c (S - S_c) A_c)``, Desai and Ramaswamy, "Ablation-CAM: visual explanations for deep
    convolutional network via gradient-free localization", WACV 2020. The paper divides by S,
    which only scales the map, and turns it round where S is negative: left out here. One
    forward pass a channel from the stage on where the network is a chain there, else a whole one;
    all classes share them.

    Parameters
    ----------
    probe : Probe
        One stage.

    Returns
    -------
    Tensor of shape (N, T, h, w)
        Never negative; in units of the logit times the activation.
    """
    chain = unroll(probe.query.module, probe.query.inputs[:1])
    found = []
    for image, maps in zip(probe.query.images(), probe.activations, strict=True):
        weights = _losses(probe, image, maps, chain)[:, image.targets[0]]
        found.append(relu(torch.einsum("ct,chw->thw", weights, maps[0])))
    return torch.stack(found)


def _losses(probe: Probe, image: Query, maps: Tensor, chain: Chain) -> Tensor:
    """Measure what each class loses without each channel of maps (1, C, h, w): (C, K)."""
    start = chain.after(probe.tap.module)

    def rest(some: Tensor) -> Tensor:
        some = some.to(image.inputs.dtype)
        if start is not None:
            return chain.run(some.movedim(1, -1) if probe.tap.channels_last else some, start)
        # a copy, for what follows may work in place
        with replacing(image.module, probe.tap, some.clone()):
            return image.module(image.inputs.repeat(len(some), 1, 1, 1))  # type: ignore[no-any-return]

    def without(channels: Tensor) -> Tensor:
        return rest(maps * (1 - F.one_hot(channels, maps.shape[1])[:, :, None, None]))

    with torch.no_grad():
        channels = torch.arange(maps.shape[1], device=maps.device)
        lost = rest(maps) - in_batches(without, channels, image.batch_size)
    return image.margins(lost).float()
