"""Accelerator and device names, resolved by lightning-fabric."""

from __future__ import annotations

from typing import Any

import torch

from pyro_posterior.errors import RequestError

_GONE = {"ipu", "hpu"}


def resolve_device(
    accelerator: Any = "auto", device: int | str | torch.device = "auto"
) -> torch.device:
    """The one device that draws are made on.

    Parameters
    ----------
    accelerator
        "auto", "cpu", "gpu", "cuda", "mps", "tpu", or an ``Accelerator`` instance.
    device
        Index of the device, its name ("cuda:1"), or "auto" for the first.

    Raises
    ------
    RequestError
        The accelerator is unknown or absent on this machine, or the device does not exist.
    """
    if isinstance(device, torch.device):
        return _existing(device)
    if isinstance(device, str) and device != "auto" and not device.isdigit():
        try:
            return _existing(torch.device(device))
        except RuntimeError as error:
            raise RequestError(
                f"device={device!r} is not a device: give an index, a name such as 'cuda:0', "
                f"or 'auto' ({error})"
            ) from error
    if isinstance(accelerator, str) and accelerator.lower() in _GONE:
        raise RequestError(
            f"accelerator={accelerator!r} left lightning; choose 'auto', 'cpu', 'gpu', 'cuda', "
            "'mps' or 'tpu', or pass an Accelerator instance registered by its plugin"
        )
    if accelerator == "cpu":
        return torch.device("cpu")
    from lightning_fabric import Fabric

    devices: Any = 1 if device == "auto" else [int(device)]
    try:
        if accelerator == "auto":
            found = Fabric(accelerator="auto", devices=1).device
            if found.type == "cpu":
                return torch.device("cpu")
        return torch.device(Fabric(accelerator=accelerator, devices=devices).device)
    except Exception as error:
        raise RequestError(
            f"accelerator={accelerator!r} with device={device!r} is not available here: {error} "
            "Use accelerator='auto' or 'cpu'."
        ) from error


def _existing(device: torch.device) -> torch.device:
    if device.type == "cpu":
        return torch.device("cpu")
    try:
        torch.empty(0, device=device)
    except Exception as error:
        raise RequestError(
            f"device={str(device)!r} is not available here: {error} Use device='auto'."
        ) from error
    return device
