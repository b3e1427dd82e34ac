"""The surroundings of one call: whatever it changes is put back when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

from pyro_posterior.devices import resolve_device
from pyro_posterior.parameters import modules_of, own_parameters, placed
from pyro_posterior.randomness import untouched_random_state
from pyro_posterior.request import Request


@dataclass(frozen=True)
class Place:
    """Where a call runs."""

    device: torch.device
    modules: tuple[torch.nn.Module, ...]  # of guide and model, on the device and in eval mode


@contextmanager
def undisturbed(request: Request) -> Iterator[Place]:
    """Guide and model as a call needs them, and all of the caller's as it was afterwards."""
    device = resolve_device(request.accelerator, request.devices[0])
    modules = modules_of(request.model, request.guide)
    with ExitStack() as stack:
        # Under the caller's inference mode operations would come composite, dropout for one.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(untouched_random_state())
        stack.enter_context(placed(modules, device))
        stack.enter_context(own_parameters(modules, device))
        yield Place(device, tuple(modules))
