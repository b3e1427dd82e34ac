"""`draw`: the same call by the function and by the mixin, with either engine."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pyro_posterior import Posterior, PyroSampleMixin
from toy_models import sample


def _by_mixin(model: Any, guide: Any, batches: Any, **options: Any) -> Posterior:
    module = SimpleNamespace(
        model=model, guide=guide, _get_fn_args_from_batch=lambda batch: (tuple(batch), {})
    )
    if "obs_plate" in options:
        module.list_obs_plate_vars = {"name": options.pop("obs_plate")}
    if "exclude_sites" in options:
        options["exclude_vars"] = options.pop("exclude_sites")

    class Host(PyroSampleMixin):
        pass

    host = Host()
    host.module = module
    return host.sample_posterior(
        input_dl=batches, accelerator="cpu", show_progress=False, seed=1, **options
    )


@pytest.fixture(params=["function", "mixin"])
def face(request: pytest.FixtureRequest) -> Callable[..., Posterior]:
    """Either face, with either engine chosen by the caller."""
    return {"function": sample, "mixin": _by_mixin}[request.param]


@pytest.fixture(params=["loop", "auto"])
def draw(request: pytest.FixtureRequest, face: Callable[..., Posterior]) -> Callable[..., Any]:
    """``draw(model, guide, batches, **options)`` with draws returned."""

    def call(model: Any, guide: Any, batches: Any, **options: Any) -> Posterior:
        given = {"num_samples": 40, "return_samples": True, "engine": request.param, **options}
        return face(model, guide, batches, **given)

    return call
