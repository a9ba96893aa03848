"""Input-level methods that change the input and look at the score: no gradients."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vizkit.attribution.baselines import baseline_of
from vizkit.attribution.chain import Chain, unroll
from vizkit.attribution.incremental import Changes, local_links, propagate
from vizkit.attribution.query import Query
from vizkit.attribution.registry import method
from vizkit.errors import InputError, whole
from vizkit.memory import in_batches

GRID = 7
# masks made in one go: fixed, so that the same seed means the same masks everywhere
_MADE_TOGETHER = 50
# a changed rectangle is a small part of a map, so that several times as many fit
_TOGETHER = 4


@method("occlusion", label="Occlusion", paper="arXiv:1311.2901", level="input")
def occlusion(
    query: Query, *, window: int | None = None, stride: int | None = None, baseline: str = "mean"
) -> Tensor:
    """Cover one window after the other and see how much the score falls.

    ``mean over windows at (x, y) of S(x) - S(covered)``, Zeiler and Fergus, "Visualizing and
    understanding convolutional networks", ECCV 2014. Exact, but quick: through convolutions and
    poolings that follow one another only what a window changes is computed again. All classes
    share the passes.

    Parameters
    ----------
    query : Query
        Network, inputs and classes.
    window : int, optional
        Side of the square, in input pixels; by default a seventh of the shorter side.
    stride : int, optional
        Step between windows, in pixels; by default the window's side.
    baseline : str
        What covers: ``"mean"``, ``"black"``, ``"white"`` or ``"blur"``.

    Returns
    -------
    Tensor of shape (N, T, H, W)
        Signed; in units of the logit.

    Raises
    ------
    InputError
        If the window or stride does not fit.
    """
    height, width = query.inputs.shape[-2:]
    side = max(1, round(min(height, width) / GRID)) if window is None else window
    step = side if stride is None else stride
    whole("window", side)
    whole("stride", step)
    if side > min(height, width) or step > side:
        raise InputError(
            f"windows of {side} px every {step} px do not cover an input of {width} x {height} px"
        )
    chain = unroll(query.module, query.inputs[:1])
    corners = [(y, x) for y in _starts(height, side, step) for x in _starts(width, side, step)]
    return torch.stack(
        [_occluded(image, chain, corners, side, baseline) for image in query.images()]
    )


def _starts(length: int, side: int, step: int) -> range:
    """Where windows begin: the last one reaches the border, and may be cut off by it."""
    return range(0, max(length - side + step, 1), step)


def _occluded(
    image: Query, chain: Chain, corners: list[tuple[int, int]], side: int, baseline: str
) -> Tensor:
    """Occlusion map of one image, (T, H, W)."""
    cover = baseline_of(baseline, image.inputs, image.transform)
    with torch.no_grad():
        local = local_links(chain)
        states = [image.inputs]
        for link in chain.links[:local]:
            states.append(link(states[-1]))
        intact = image.margins(chain.run(states[-1], local))

        def covered(some: Tensor) -> Tensor:
            changes = _covers(image.inputs, cover, some.tolist(), side)
            for link, before, after in zip(chain.links, states, states[1:], strict=False):
                changes = propagate(link.module, before, after, changes)
            return image.margins(chain.run(changes.applied(states[-1]), local))

        scores = in_batches(covered, torch.tensor(corners), _TOGETHER * image.batch_size)
    losses = (intact - scores)[:, image.targets[0]].float()
    total = losses.new_zeros(len(image.targets[0]), *image.inputs.shape[-2:])
    count = torch.zeros_like(total[0])
    for loss, (y, x) in zip(losses, corners, strict=True):
        total[:, y : y + side, x : x + side] += loss[:, None, None]
        count[y : y + side, x : x + side] += 1
    return total / count


def _covers(pixels: Tensor, cover: Tensor, corners: list[list[int]], side: int) -> Changes:
    """Make windows changes of the input; those cut off by the border show what was there."""
    height, width = pixels.shape[-2:]
    values, tops, lefts = [], [], []
    for y, x in corners:
        top, left = min(y, height - side), min(x, width - side)
        patch = pixels[0, :, top : top + side, left : left + side].clone()
        patch[:, y - top :, x - left :] = cover[0, :, y : y + side, x : x + side]
        values.append(patch)
        tops.append(top)
        lefts.append(left)
    return Changes(tops, lefts, torch.stack(values))


@method("rise", label="RISE", paper="arXiv:1806.07421", level="input")
def rise(
    query: Query, *, n_masks: int = 500, grid: int = GRID, keep: float = 0.5, seed: int = 0
) -> Tensor:
    """Show the photo through random masks, and average the masks by the class's probability.

    ``sum_i P(x * M_i) M_i / (n keep)``, Petsiuk, Das and Saenko, "RISE: randomized input sampling
    for explanation of black-box models", BMVC 2018, who use 4000 to 8000 masks: fewer are
    grainier. All classes share the passes, and all networks the masks.

    Parameters
    ----------
    query : Query
        Network, inputs and classes.
    n_masks : int
        Forward passes.
    grid : int
        Cells of a mask along each side, before it is scaled up and shifted.
    keep : float
        Probability that a cell is open.
    seed : int
        Of the masks.

    Returns
    -------
    Tensor of shape (N, T, H, W)
        In units of probability: never negative, unless against another class.
    """
    whole("n_masks", n_masks)
    whole("grid", grid)
    whole("seed", seed, 0)
    if not 0 < keep < 1:
        raise InputError(f"keep must be between 0 and 1, not {keep!r}")
    return torch.stack([_risen(image, n_masks, grid, keep, seed) for image in query.images()])


def _risen(image: Query, n_masks: int, grid: int, keep: float, seed: int) -> Tensor:
    height, width = image.inputs.shape[-2:]
    total = torch.zeros(len(image.targets[0]), height, width, device=image.inputs.device)
    for masks in _masks((height, width), n_masks, grid, keep, seed):
        shown = masks.to(image.inputs)
        scores = image.probabilities(image.inputs * shown)[:, image.targets[0]]
        total += torch.einsum("mt,mhw->thw", scores, masks[:, 0].to(scores))
    return total / (n_masks * keep)


def _masks(
    size: tuple[int, int], count: int, grid: int, keep: float, seed: int
) -> Iterator[Tensor]:
    """Random masks (M, 1, H, W) in [0, 1]: coarse cells, scaled up smoothly, randomly shifted."""
    generator = torch.Generator().manual_seed(seed)
    cell = [-(-side // grid) for side in size]
    full = [(grid + 1) * side for side in cell]
    for start in range(0, count, _MADE_TOGETHER):
        some = min(_MADE_TOGETHER, count - start)
        cells = (torch.rand(some, 1, grid, grid, generator=generator) < keep).float()
        smooth = F.interpolate(cells, full, mode="bilinear", align_corners=False)
        ys = torch.randint(cell[0], (some,), generator=generator).tolist()
        xs = torch.randint(cell[1], (some,), generator=generator).tolist()
        yield torch.stack(
            [
                mask[:, y : y + size[0], x : x + size[1]]
                for mask, y, x in zip(smooth, ys, xs, strict=True)
            ]
        )
