"""One run of a network, and what is wrong when it fails."""

from __future__ import annotations

from contextlib import suppress

from torch import Tensor, nn

from vizkit.errors import InputError, NetworkError, VizkitError
from vizkit.hooks import blank, dry_run, evaluating, parameters_of, unheard
from vizkit.memory import out_of_memory

# pixels a side; a network that takes no image of this size fails for another reason
_ENOUGH = 512
_FAILURES = (
    RuntimeError,
    ValueError,
    AssertionError,
    TypeError,
    LookupError,
    AttributeError,
)


def run(module: nn.Module, inputs: Tensor) -> object:
    """Run a network; use inside `vizkit.hooks.evaluating`.

    Parameters
    ----------
    module : nn.Module
        The network.
    inputs : Tensor of shape (N, 3, H, W)
        What goes in; a copy does, because networks may change their input.

    Returns
    -------
    object
        Whatever the network gives.

    Raises
    ------
    NetworkError
        If it fails, with the reason; for images that are too small, with the least size.
    InputError
        If its weights are on the meta device.
    """
    # some operators would give whatever lies in memory, and no error
    if any(parameter.is_meta for parameter in parameters_of(module)):
        raise InputError(
            f"{type(module).__name__} is on the meta device, where weights have no values: "
            "load them first"
        )
    try:
        return module(inputs.clone())
    except VizkitError:
        raise
    # as layers fail, and what a network's author asserts; errors of his own kinds are his own
    except _FAILURES as error:
        if out_of_memory(error):
            raise
        what = f"{type(module).__name__} fails on an input of {tuple(inputs.shape)}"
        kind = "" if isinstance(error, RuntimeError | ValueError) else f"{type(error).__name__}: "
        reason = kind + str(error).partition("\n")[0]
        raise NetworkError(f"{what}{_least(module, inputs)}: {reason}") from error


def run_classifier(module: nn.Module, inputs: Tensor) -> Tensor:
    """Run a classifier; use inside `vizkit.hooks.evaluating`.

    Parameters
    ----------
    module : nn.Module
        The network.
    inputs : Tensor of shape (N, 3, H, W)
        What goes in.

    Returns
    -------
    Tensor of shape (N, K)
        The logits.

    Raises
    ------
    NetworkError
        If it fails.
    InputError
        If what it gives is of another shape.
    """
    output = run(module, inputs)
    if isinstance(output, Tensor) and output.ndim == 2 and len(output) == len(inputs):
        return output
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InputError(
        f"a classifier must return logits of shape (N, K), this one returns {shape} for "
        f"{len(inputs)} image(s)"
    )


def _least(module: nn.Module, inputs: Tensor) -> str:
    """Say what size of image a network takes at least, if these are smaller."""
    small = min(inputs.shape[-2:])
    low, high = small, _ENOUGH
    if low >= high or _takes(module, low) or not _takes(module, high):
        return ""
    # sizes below fail, this one and those above work
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _takes(module, middle) else (middle, high)
    return f" (it takes images of at least {high} x {high} px)"


def _takes(module: nn.Module, side: int) -> bool:
    """Try a size, without arithmetic."""
    with suppress(Exception), evaluating(module), unheard():
        dry_run(module, blank(module, (side, side), "meta"))
        return True
    return False
