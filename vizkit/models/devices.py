"""Devices by name."""

from __future__ import annotations

import torch

from vizkit.errors import VizkitError, unknown

_KNOWN = ("auto", "cpu", "cuda", "cuda:0", "mps")


def device_of(device: str | torch.device) -> torch.device:
    """Find a device by name.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Returns
    -------
    torch.device
        One that is there.

    Raises
    ------
    InputError
        If there is no such device.
    """
    if not isinstance(device, str | torch.device):
        raise unknown("device", device, _KNOWN)
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise unknown("device", device, _KNOWN) from None
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        kind = "CUDA GPU" if chosen.type == "cuda" else chosen.type
        raise VizkitError(
            f"device {str(device)!r}: no {kind} is available here; use 'cpu' or 'auto'"
        ) from error
    return chosen
