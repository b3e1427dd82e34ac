"""Accelerator and device names, resolved by lightning-fabric."""

from __future__ import annotations

import numbers
from typing import Any

import torch

from pyro_posterior.errors import RequestError

_GONE = {"ipu", "hpu"}

#: Device types that an accelerator's name allows; others are not looked at.
_TYPES = {"cpu": {"cpu"}, "cuda": {"cuda"}, "mps": {"mps"}, "gpu": {"cuda", "mps"}}


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
    if isinstance(accelerator, str):
        accelerator = accelerator.lower()
        if accelerator in _GONE:
            raise RequestError(
                f"accelerator={accelerator!r} left lightning; choose 'auto', 'cpu', 'gpu', 'cuda', "
                "'mps' or 'tpu', or pass an Accelerator instance registered by its plugin"
            )
    index = _index(device)
    if index is None:
        assert not isinstance(device, int)
        return _named(accelerator, device)
    if accelerator == "cpu":
        return torch.device("cpu")
    from lightning_fabric import Fabric

    try:
        if accelerator == "auto" and Fabric(accelerator="auto", devices=1).device.type == "cpu":
            return torch.device("cpu")
        devices: Any = 1 if index == "auto" else [index]
        return torch.device(Fabric(accelerator=accelerator, devices=devices).device)
    except Exception as error:
        raise RequestError(
            f"accelerator={accelerator!r} with device={device!r} is not available here: {error} "
            "Use accelerator='auto' or 'cpu'."
        ) from error


def all_devices(accelerator: Any = "auto") -> tuple[str, ...]:
    """Names of all devices of an accelerator of this machine; "cpu" alone where there is none."""
    first = resolve_device(accelerator)
    if first.type != "cuda":
        return (str(first),)
    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))


def _index(device: Any) -> int | str | None:
    """A device's index or "auto"; None for a device by name."""
    if isinstance(device, torch.device):
        return None
    if isinstance(device, str):
        if device == "auto":
            return "auto"
        return int(device) if device.isdigit() else None
    if isinstance(device, numbers.Integral) and not isinstance(device, bool) and int(device) >= 0:
        return int(device)
    raise RequestError(
        f"device={device!r} is not a device: give an index from 0 on, a name such as 'cuda:0', "
        "or 'auto'"
    )


def _named(accelerator: Any, device: str | torch.device) -> torch.device:
    try:
        named = torch.device(device)
    except RuntimeError as error:
        raise RequestError(
            f"device={device!r} is not a device: give an index, a name such as 'cuda:0', "
            f"or 'auto' ({error})"
        ) from error
    allowed = _TYPES.get(accelerator) if isinstance(accelerator, str) else None
    if allowed and named.type not in allowed:
        raise RequestError(
            f"accelerator={accelerator!r} and device={str(device)!r} contradict each other: "
            "leave one of them 'auto'"
        )
    return _existing(named)


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
