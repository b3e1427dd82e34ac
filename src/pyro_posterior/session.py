"""The surroundings of one call: nothing around it reaches it, and whatever it changes is put back."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

from pyro_posterior.devices import resolve_device
from pyro_posterior.draws import torch_threads
from pyro_posterior.handlers import own_handlers
from pyro_posterior.keyed.state import untouched_random_state
from pyro_posterior.networks import evaluating, modules_of, placed
from pyro_posterior.parameters import own_parameters
from pyro_posterior.request import Request

# Pyro's handlers and parameters, and the switches that turn checks off, are one for the process.
_one = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child forked while a thread draws must not wait for it
    os.register_at_fork(after_in_child=_one._at_fork_reinit)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Place:
    """Where a call runs."""

    device: torch.device
    modules: tuple[torch.nn.Module, ...]  # of guide and model, on the device and in eval mode


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Threads of this process one after the other; a call within a call goes on."""
    with _one:
        yield


@contextmanager
def undisturbed(request: Request) -> Iterator[Place]:
    """Guide and model as a call needs them, and all of the caller's as it was afterwards."""
    device = resolve_device(request.accelerator, request.devices[0])
    with ExitStack() as stack:
        stack.enter_context(one_at_a_time())
        modules = modules_of(request.model, request.guide)
        stack.enter_context(_torch_as_usual(device))
        stack.enter_context(torch_threads(request.threads))
        stack.enter_context(own_handlers())
        stack.enter_context(untouched_random_state())
        stack.enter_context(evaluating(modules))
        stack.enter_context(placed(modules, device))
        stack.enter_context(own_parameters(modules, device))
        yield Place(device, tuple(modules))


@contextmanager
def _torch_as_usual(device: torch.device) -> Iterator[None]:
    """Without the caller's inference mode (operations would come composite), gradients, autocast."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in {"cpu", device.type}:
            with contextlib.suppress(RuntimeError):  # a kind of device without autocast
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield
