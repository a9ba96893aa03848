"""Guided backpropagation: a mode that changes what ReLUs pass back, whoever calls them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

from vizkit.attribution.cam import grad_cam
from vizkit.attribution.query import Query, probes
from vizkit.attribution.registry import method
from vizkit.errors import InputError
from vizkit.forward import recorded
from vizkit.modes import active

_RELUS = frozenset({F.relu, torch.relu, Tensor.relu})
_IN_PLACE = frozenset({F.relu_, torch.relu_, Tensor.relu_})
COLOURS = -3


class _GuidedReLU(torch.autograd.Function):
    """A ReLU that passes back only what is positive, to what was positive."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        output: Tensor = inputs.clamp(min=0)
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        passed: Tensor = gradients[0].clamp(min=0) * (output > 0)
        return passed


class _Guided(TorchFunctionMode):
    """Inside, every ReLU is guided: modules, functions and methods, in place or not."""

    count = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in _RELUS or func in _IN_PLACE:
            self.count += 1
            inputs = args[0] if args else named["input"]
            guided = _GuidedReLU.apply(inputs)
            in_place = func in _IN_PLACE or named.get("inplace", args[1:] == (True,))
            return inputs.copy_(guided) if in_place else guided
        return func(*args, **named)


@method("guided_backprop", label="Guided backprop", paper="arXiv:1412.6806", level="input")
def guided_backprop(query: Query) -> Tensor:
    """Take the gradient with negative ones cut off at every ReLU.

    ``max_c |G_c|``, Springenberg et al., "Striving for simplicity: the all convolutional net",
    2014. Crisp, but it hardly depends on the class or the later layers (Adebayo et al., "Sanity
    checks for saliency maps", NeurIPS 2018): a sharpened picture more than an explanation.

    Parameters
    ----------
    query : Query
        Network, inputs and classes.

    Returns
    -------
    Tensor of shape (N, T, H, W)
        Never negative.

    Raises
    ------
    InputError
        If the network has no ReLU.
    """
    return _guided(query).abs().amax(dim=COLOURS)


@method("guided_grad_cam", label="Guided Grad-CAM", paper="arXiv:1610.02391", level="input")
def guided_grad_cam(query: Query) -> Tensor:
    """Multiply guided backpropagation by Grad-CAM, scaled up: crisp, and about the class.

    ``max_c |G_c| * up(Grad-CAM)``, Selvaraju et al., ICCV 2017, with Grad-CAM at the last stage
    that does not end in a pooling layer (VGG's conv5, as in the paper). The sign of G, which the
    paper's pictures show as colours, says whether a brighter pixel would help, not whether the
    place matters: left out.

    Parameters
    ----------
    query : Query
        Network, inputs and classes.

    Returns
    -------
    Tensor of shape (N, T, H, W)
        Never negative.

    Raises
    ------
    InputError
        If the network has no ReLU.
    """
    tap = next((tap for tap in reversed(query.stages) if tap.role != "pool"), query.stages[-1])
    with recorded(query.module, [tap], query.inputs, detach=False, cut=True) as (recorder, logits):
        coarse = grad_cam(probes(query, recorder.outputs, logits)[tap])
    size = query.inputs.shape[-2:]
    fine = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
    return _guided(query).abs().amax(dim=COLOURS) * fine


def _guided(query: Query) -> Tensor:
    """Guided gradient by the inputs, (N, T, 3, H, W)."""
    with active(_Guided()) as mode:
        # a query of its own, which has no gradient yet
        gradients = Query(**{name: getattr(query, name) for name in _FIELDS}).gradients
    if not mode.count:
        raise InputError(
            f"guided backpropagation changes what ReLUs pass back, and "
            f"{type(query.module).__name__} has none; saliency works everywhere"
        )
    return gradients


_FIELDS = tuple(Query.__dataclass_fields__)
