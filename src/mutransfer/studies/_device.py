"""Devices: is one there, before anything is trained on it."""

from __future__ import annotations

import torch

from ..core import MutransferError


def check_device(device: str | None) -> None:
    """Raise unless tensors can be put on a device.

    Raises:
        MutransferError: there is no such device; the message has those that there are.
    """
    if device is None:
        return
    try:
        torch.empty(1, device=device)
    except (AssertionError, RuntimeError) as error:
        cards = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(" at start")[0]
        raise MutransferError(
            f"the device {device!r} cannot be used: {reason}; there is {', '.join(['cpu', *cards])}"
        ) from None
