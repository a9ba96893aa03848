"""A copy of a network whose batch normalisation is folded into the convolutions before it."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vizkit.errors import InputError, VizkitError
from vizkit.hooks import evaluating
from vizkit.images import as_images, prepare
from vizkit.interrupts import surely
from vizkit.models import Classifier, as_classifier

_NORMS = nn.modules.batchnorm._BatchNorm  # noqa: SLF001  (it has no public name)
_NAMED = 6
# of the largest logit: rounding stays below it, a mistake does not
_CLOSE = {torch.float64: 1e-6, torch.float32: 1e-2}


def fold_batch_norm(model: str | nn.Module | Classifier) -> Classifier:
    """Fold each batch normalisation into the convolution that it directly follows.

    In evaluation mode both are linear: one convolution with other weights does the work of the
    two (Jacob et al., arXiv:1712.05877, section 3.2). What follows what is read from the
    operations of one forward pass, not from the order of the modules: a normalisation is folded
    only if its input is exactly the output of one convolution, which nothing else uses, and the
    convolution's weights are used nowhere else. The new weights are computed in float64.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        The network; it is neither changed nor run.

    Returns
    -------
    Classifier
        A copy with the same stages, named "... folded". A folded ``BatchNorm2d`` is an
        ``nn.Identity`` in it, timm's ``BatchNormAct2d`` only its drop and activation.
        ``source`` says how many were folded, and names those that could not be.

    Raises
    ------
    InputError
        If the network's code does not allow copies.
    VizkitError
        If the copy does not compute what the network computes.
    """
    classifier = as_classifier(model)
    pixels = _noise(classifier)
    with surely(torch.inference_mode(mode=False)):
        copy = _copied(classifier.module)
        with evaluating(copy), torch.no_grad(), surely(_Uses(copy)) as uses:
            before = tree_leaves(copy(pixels.clone()))
        pairs = _pairs(copy, uses, before)
        for pair in pairs:
            pair.fold(copy)
        with evaluating(copy), torch.no_grad():
            _compare(before, tree_leaves(copy(pixels)), classifier)
    left = [path for path, module in copy.named_modules() if isinstance(module, _NORMS)]
    source = f"{classifier.source}; {_words(len(pairs), left)}"
    return replace(classifier, name=f"{classifier.name} folded", module=copy, source=source)


class _Uses(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every operation that reads a network's weights or the output of a convolution.

    Attributes
    ----------
    readers : dict of int to list of frozenset of int
        By the tensor's id: for each operation that reads it, the ids of all that it reads.
    convolutions : dict of int to tuple of int
        By the output's id: the ids of the weight and the bias.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.readers: dict[int, list[frozenset[int]]] = defaultdict(list)
        self.convolutions: dict[int, tuple[int, int]] = {}
        # kept, so that no other tensor can get the id of one that is gone
        self._watched = {id(t): t for t in (*module.parameters(), *module.buffers())}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and note what it reads."""
        given = kwargs or {}
        output = func(*args, **given)
        read = frozenset(id(leaf) for leaf in tree_leaves((args, given))) & self._watched.keys()
        for each in read:
            self.readers[each].append(read)
        # arguments: input, weight, bias, stride, padding, dilation, transposed, ...
        if func is torch.ops.aten.convolution.default and not args[6]:
            self._watched[id(output)] = output
            self.convolutions[id(output)] = (id(args[1]), id(args[2]))
        return output

    def once(self, tensor: int) -> frozenset[int]:
        """Say what the only operation on a tensor reads; nothing if there is none or several."""
        readers = self.readers.get(tensor, [])
        return readers[0] if len(readers) == 1 else frozenset()


@dataclass(frozen=True, eq=False)
class _Pair:
    """A convolution, and the normalisation that is all that becomes of its output."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d

    def fold(self, module: nn.Module) -> None:
        """Give the convolution the weights of both, and leave the normalisation out."""
        conv, norm = self.conv, self.norm
        # in float64, for a small variance makes large weights
        tensors = (conv.weight, conv.bias, norm.running_mean, norm.running_var)
        weight, bias, mean, variance = (_exact(tensor) for tensor in tensors)
        scale, shift = _exact(norm.weight), _exact(norm.bias)
        weight, bias = fuse_conv_bn_weights(
            weight, bias, mean, variance, norm.eps, scale, shift  # type: ignore[arg-type]
        )  # fmt: skip
        trained = conv.weight.requires_grad
        conv.bias = nn.Parameter(bias.detach().to(conv.weight.dtype), trained)
        conv.weight = nn.Parameter(weight.detach().to(conv.weight.dtype), trained)
        rest = _without(norm).train(norm.training)
        for path, each in list(module.named_modules(remove_duplicate=False)):
            if each is norm:
                parent, _, name = path.rpartition(".")
                setattr(module.get_submodule(parent), name, rest)


def _pairs(module: nn.Module, uses: _Uses, outputs: Sequence[Any]) -> list[_Pair]:
    owners = {
        tuple(id(weights.get(name)) for name in ("weight", "bias")): each
        for each in module.modules()
        if isinstance(each, nn.Conv2d)
        for weights in [dict(each.named_parameters(recurse=False))]
    }
    returned = {id(output) for output in outputs}
    pairs = []
    for norm in filter(_is_plain, module.modules()):
        read = uses.once(id(norm.running_mean))
        # the normalisation's input, if that is a convolution's output used here only
        for maps in read & uses.convolutions.keys():
            weights = uses.convolutions[maps]
            conv = owners.get(weights)
            own = conv is not None and all(map(uses.once, weights[: 1 if conv.bias is None else 2]))
            if conv is not None and own and uses.once(maps) == read and maps not in returned:
                pairs.append(_Pair(conv, norm))
    return pairs


def _is_plain(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether a module is known to normalise by fixed statistics, and what it does then."""
    from timm.layers import BatchNormAct2d

    known = type(module) in {nn.BatchNorm2d, nn.SyncBatchNorm, BatchNormAct2d}
    return known and module.running_mean is not None


def _without(norm: nn.BatchNorm2d) -> nn.Module:
    """Keep what a module does besides normalising."""
    rest = OrderedDict(norm.named_children())
    # timm's have a drop and an activation, in this order
    return nn.Sequential(rest) if rest else nn.Identity()


def _exact(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().double()


def _copied(module: nn.Module) -> nn.Module:
    try:
        return deepcopy(module)
    except Exception as error:
        raise InputError(f"{type(module).__name__} cannot be copied: {error}") from error


def _noise(classifier: Classifier) -> Tensor:
    """Make a photo of noise as the network sees it."""
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pixels, _ = prepare(as_images(Image.fromarray(values)), classifier.transform)
    return pixels.to(device=classifier.device, dtype=classifier.dtype)


def _compare(before: Sequence[Any], after: Sequence[Any], classifier: Classifier) -> None:
    for old, new in zip(before, after, strict=True):
        if not isinstance(old, Tensor):
            continue
        allowed = _CLOSE.get(old.dtype, 0.1) * max(old.abs().max().item(), 1e-6)
        if not torch.allclose(new, old, rtol=0, atol=allowed, equal_nan=True):
            error = (new - old).abs().max().item()
            raise VizkitError(
                f"folding the batch normalisation of {classifier.name} changes its output by "
                f"{error:.3g}: it uses these layers in a way that vizkit does not see"
            )


def _words(count: int, left: Sequence[str]) -> str:
    if not count and not left:
        return "no batch normalisation to fold"
    words = f"{count} of {count + len(left)} batch normalisations folded"
    if not left:
        return words
    more = ", …" if len(left) > _NAMED else ""
    return f"{words}, not {', '.join(left[:_NAMED])}{more}"
