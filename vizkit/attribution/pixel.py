"""Input-level methods from gradients by the pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vizkit.attribution.baselines import baseline_of
from vizkit.attribution.query import Query, by_class
from vizkit.attribution.registry import method
from vizkit.errors import InputError, positive, whole
from vizkit.images import as_images, prepare, samples
from vizkit.memory import shrinking

COLOURS = -3


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
    Tensor of shape (N, T, H, W)
        Never negative; logit per unit of the normalised input.
    """
    return query.gradients.abs().amax(dim=COLOURS)


@method("input_x_gradient", label="Input x gradient", paper="arXiv:1605.01713", level="input")
def input_x_gradient(query: Query) -> Tensor:
    """Multiply the input by its gradient; for a linear network this is each pixel's exact share.

    ``sum_c x_c dS/dx_c``, Shrikumar et al., "Not just a black box: learning important features
    through propagating activation differences", 2016. A pixel of the mean colour has none.

    Parameters
    ----------
    query : Query
        Network, inputs and classes.

    Returns
    -------
    Tensor of shape (N, T, H, W)
        Signed; in units of the logit.
    """
    return (query.inputs.unsqueeze(1) * query.gradients).sum(dim=COLOURS)


@method("smooth_grad", label="SmoothGrad", paper="arXiv:1706.03825", level="input")
def smooth_grad(query: Query, *, n_samples: int = 25, noise: float = 0.15, seed: int = 0) -> Tensor:
    """Average the gradient over noisy copies of the input.

    ``max_c |mean_i dS/dx_c(x + e_i)|``, Smilkov et al., "SmoothGrad: removing noise by adding
    noise", 2017.

    Parameters
    ----------
    query : Query
        Network, inputs and classes.
    n_samples : int
        Noisy copies of each image.
    noise : float
        Standard deviation of the noise, as a share of the image's range of values; the paper
        finds 0.1 to 0.2 good.
    seed : int
        Of the noise, which is the same for every image and network.

    Returns
    -------
    Tensor of shape (N, T, H, W)
        Never negative; logit per unit of the normalised input.
    """
    return _noisy(query, 1, n_samples, noise, seed).abs().amax(dim=COLOURS)


@method("smooth_grad_sq", label="SmoothGrad²", paper="arXiv:1806.10758", level="input")
def smooth_grad_sq(
    query: Query, *, n_samples: int = 25, noise: float = 0.15, seed: int = 0
) -> Tensor:
    """Average the squared gradient over noisy copies of the input.

    ``max_c mean_i (dS/dx_c(x + e_i))^2``, Hooker et al., "A benchmark for interpretability methods
    in deep neural networks", NeurIPS 2019, who find it far more faithful than SmoothGrad.

    Parameters
    ----------
    query : Query
        Network, inputs and classes.
    n_samples, noise, seed
        As for `smooth_grad`.

    Returns
    -------
    Tensor of shape (N, T, H, W)
        Never negative; square of logit per unit of the normalised input.
    """
    return _noisy(query, 2, n_samples, noise, seed).amax(dim=COLOURS)


@method(
    "integrated_gradients", label="Integrated gradients", paper="arXiv:1703.01365", level="input"
)
def integrated_gradients(
    query: Query, *, n_steps: int = 50, baseline: str = "mean"
) -> tuple[Tensor, Tensor]:
    """Add up gradients on the way from a baseline to the input.

    ``sum_c (x_c - b_c) integral dS/dx_c(b + a (x - b)) da``, Sundararajan, Taly and Yan, "Axiomatic
    attribution for deep networks", ICML 2017; Gauss-Legendre quadrature. Sums to S(x) - S(b), less
    the error of the quadrature, which is returned; a warning is given where it exceeds 5 %.

    Parameters
    ----------
    query : Query
        Network, inputs and classes.
    n_steps : int
        Points on the way.
    baseline : str
        ``"mean"``, ``"black"``, ``"white"`` or ``"blur"``.

    Returns
    -------
    maps : Tensor of shape (N, T, H, W)
        Signed; in units of the logit.
    error : Tensor of shape (N, T)
        Sum of the map less S(x) - S(b).
    """
    from captum.attr import IntegratedGradients

    whole("n_steps", n_steps)
    explainer = IntegratedGradients(query.outputs)

    def explain(image: Query, target: int, size: int) -> Tensor:
        found: Tensor = explainer.attribute(
            image.inputs,
            baseline_of(baseline, image.inputs, query.transform),
            target,
            n_steps=n_steps,
            internal_batch_size=size,
        )
        return found

    maps = _one_by_one(query, explain).sum(dim=COLOURS)
    return maps, _completeness(query, maps, baseline_of(baseline, query.inputs, query.transform))


@method("expected_gradients", label="Expected gradients", paper="arXiv:1906.10670", level="input")
def expected_gradients(
    query: Query, *, n_samples: int = 25, baselines: Tensor | None = None, seed: int = 0
) -> Tensor:
    """Average integrated gradients over baselines that are photos themselves.

    ``E_b,a sum_c (x_c - b_c) dS/dx_c(b + a (x - b))``, Erion et al., "Improving performance of deep
    learning models with axiomatic attribution priors and expected gradients", 2021; also known
    as GradientSHAP.

    Parameters
    ----------
    query : Query
        Network, inputs and classes.
    n_samples : int
        Draws of a baseline and a point on the way from it.
    baselines : Tensor of shape (B, 3, H, W), optional
        Normalised inputs to draw from; by default the bundled photos.
    seed : int
        Of the draws.

    Returns
    -------
    Tensor of shape (N, T, H, W)
        Signed; in units of the logit.
    """
    whole("n_samples", n_samples)
    drawn_from = _reference_photos(query) if baselines is None else baselines.to(query.inputs)
    if (
        drawn_from.ndim != 4
        or drawn_from.shape[1:] != query.inputs.shape[1:]
        or not len(drawn_from)
    ):
        raise InputError(
            f"baselines must be inputs of shape {('B', *query.inputs.shape[1:])}, "
            f"not {tuple(drawn_from.shape)}"
        )
    generator = _generator(seed)
    chosen = torch.randint(len(drawn_from), (n_samples,), generator=generator)
    shares = torch.rand(n_samples, 1, 1, 1, generator=generator).to(query.inputs)
    starts = drawn_from[chosen.to(drawn_from.device)]

    def explain(image: Query) -> Tensor:
        ways = image.inputs - starts
        places = starts + shares * ways
        return _mean_at(image, places, lambda gradients, part: gradients * ways[part, None])

    return torch.stack([explain(image) for image in query.images()]).sum(dim=COLOURS)


def _one_by_one(query: Query, explain: Callable[[Query, int, int], Tensor]) -> Tensor:
    """Explain each image and class alone: (N, T, 3, H, W); captum takes one class at a time."""

    def one(image: Query, target: int) -> Tensor:
        found = shrinking(lambda size: explain(image, target, size), query.batch_size)
        return found[0].detach()

    rows = [
        torch.stack([one(image, target) for target in image.targets[0].tolist()])
        for image in query.images()
    ]
    return torch.stack(rows)


def _noisy(query: Query, power: int, n_samples: int, noise: float, seed: int) -> Tensor:
    """Mean of a power of the gradient under noise, (N, T, 3, H, W)."""
    whole("n_samples", n_samples)
    positive("noise", noise)
    shape = (n_samples, *query.inputs.shape[1:])
    noises = torch.randn(shape, generator=_generator(seed)).to(query.inputs)

    def explain(image: Query) -> Tensor:
        spread = image.inputs.max() - image.inputs.min()
        places = image.inputs + noise * spread * noises
        return _mean_at(image, places, lambda gradients, _: gradients.float().pow(power))

    return torch.stack([explain(image) for image in query.images()])


def _mean_at(image: Query, places: Tensor, term: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Average a term of the gradients at other inputs (S, 3, H, W) of one image: (T, 3, H, W)."""

    def run(size: int) -> Tensor:
        total = torch.zeros_like(places[0])
        for start in range(0, len(places), size):
            part = slice(start, start + size)
            pixels = places[part].clone().requires_grad_()
            targets = image.targets.expand(len(pixels), -1)
            (gradients,) = by_class(image.outputs(pixels), [pixels], targets)
            total = total + term(gradients, part).sum(dim=0)
        return total / len(places)

    return shrinking(run, image.batch_size)


def _completeness(query: Query, maps: Tensor, baseline: Tensor) -> Tensor:
    """Sum of each map less the difference in score that it should explain, (N, T)."""
    gains = query.scores(query.inputs) - query.scores(baseline)
    return maps.sum(dim=(-2, -1)) - gains.gather(1, query.targets)


def _generator(seed: int) -> torch.Generator:
    whole("seed", seed, 0)
    return torch.Generator().manual_seed(seed)


def _reference_photos(query: Query) -> Tensor:
    photos, _ = prepare(as_images(samples()), query.transform)
    if photos.shape[-2:] != query.inputs.shape[-2:]:
        photos = F.interpolate(photos, query.inputs.shape[-2:], mode="bilinear")
    return photos.to(query.inputs)
