"""What cannot be repeated without Python uses the loop, says why, and gives the loop's numbers."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import CannotSliceError, RequestError
from pyro_posterior.joint import JointSampler
from pyro_posterior.sliced.record import record_first
from toy_models import sample

Y = torch.linspace(0.5, 2.0, 6)


def _latent(*shape: int) -> torch.Tensor:
    z = dist.Normal(torch.zeros(shape), 1.0)
    return pyro.sample("z", z.to_event(len(shape)))


def branch_on_draw(y: torch.Tensor) -> None:
    z = _latent()
    pyro.deterministic("out", z * 2 if z > 0 else z - 1)


def draw_to_float(y: torch.Tensor) -> None:
    pyro.deterministic("out", torch.zeros(3) + float(_latent()))


def draw_to_numpy(y: torch.Tensor) -> None:
    pyro.deterministic("out", torch.from_numpy(np.exp(_latent(3).numpy())))


def draw_to_list(y: torch.Tensor) -> None:
    pyro.deterministic("out", torch.tensor(sorted(_latent(3).tolist())))


def draw_to_text(y: torch.Tensor) -> None:
    pyro.deterministic("out", torch.zeros(2) + len(str(_latent())))


def draw_as_size(y: torch.Tensor) -> None:
    k = pyro.sample("z", dist.Poisson(torch.tensor(3.0)))
    pyro.deterministic("out", torch.arange(k + 1).sum())


def draw_in_new_tensor(y: torch.Tensor) -> None:
    z = _latent()
    pyro.deterministic("out", y.new_tensor([z, z]))


def draw_in_constructor(y: torch.Tensor) -> None:
    pyro.deterministic("out", torch.Tensor([_latent()]) * 2)


def draw_in_full(y: torch.Tensor) -> None:
    pyro.deterministic("out", torch.full((3,), _latent()))


def mask_by_draw(y: torch.Tensor) -> None:
    z = _latent(4)
    pyro.deterministic("out", z[z > 0].sum())


@pytest.mark.parametrize(
    "model",
    [
        branch_on_draw,
        draw_to_float,
        draw_to_numpy,
        draw_to_list,
        draw_to_text,
        draw_as_size,
        draw_in_new_tensor,
        draw_in_full,
        mask_by_draw,
    ],
    ids=lambda model: model.__name__,
)
def test_python_reading_a_draw(model: Callable[..., Any]) -> None:
    _uses_the_loop(model, "Python reads a value that depends on a draw")


def test_a_read_that_leaves_no_trace_is_seen_by_comparing_draws() -> None:
    _uses_the_loop(draw_in_constructor, "not the same program")


class Counter:
    """Numbers its calls, and mixes the number in."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, y: torch.Tensor) -> None:
        self.calls += 1
        pyro.deterministic("out", _latent() + self.calls)


def test_state_in_python_is_seen_by_comparing_draws() -> None:
    with pytest.raises(CannotSliceError, match="not the same program"):
        sample(Counter(), _no_guide(Counter()), (Y,), engine="sliced", num_samples=9)


class Buffer(torch.nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, y: torch.Tensor) -> None:
        self.count += 1
        pyro.deterministic("out", _latent() * 1.0)


def test_a_write_to_a_buffer() -> None:
    _uses_the_loop(Buffer(), "lives outside the model's run")


def test_a_write_to_the_data() -> None:
    def model(y: torch.Tensor) -> None:
        z = _latent()
        y.clamp_(min=1.0)
        pyro.deterministic("out", z * y)

    given = Y.clone()  # every run has a copy of its own
    made = sample(model, model, (given,), engine="sliced", num_samples=9, return_samples=True)
    draws = made["posterior_samples"]
    expected = draws["z"].reshape(9, -1) * Y.clamp(min=1.0).numpy()
    np.testing.assert_allclose(draws["out"], expected, rtol=1e-6)
    torch.testing.assert_close(given, Y)


def test_normalisation_in_training_mode() -> None:
    mean, variance = torch.zeros(2), torch.ones(2)  # of the caller, which no module owns

    def model(y: torch.Tensor) -> None:
        z = _latent(3, 2)
        found = torch.nn.functional.batch_norm(z, mean, variance, training=True)
        pyro.deterministic("out", found.sum())

    with pytest.raises(RequestError, match="would change the running statistics it is given"):
        sample(model, model, (Y,), engine="sliced", num_samples=9)
    assert not mean.any()


@pytest.mark.parametrize("layer", [torch.nn.BatchNorm1d, torch.nn.InstanceNorm1d])
def test_normalisation_of_a_layer_is_that_of_its_eval_mode(layer: Any) -> None:
    norm = layer(2, track_running_stats=True)  # reached through the model's closure alone

    def model(y: torch.Tensor) -> None:
        z = _latent(3, 2)
        x = z[:, :, None].expand(3, 2, 4) if layer is torch.nn.InstanceNorm1d else z
        pyro.deterministic("z_copy", z)
        pyro.deterministic("out", norm(x).reshape(3, 2, -1)[..., 0])

    options = {"engine": "sliced", "num_samples": 9, "return_samples": True}
    draws = sample(model, model, (Y,), **options)["posterior_samples"]
    np.testing.assert_allclose(draws["out"], draws["z_copy"] / (1 + norm.eps) ** 0.5, rtol=1e-5)
    assert norm.training
    assert not norm.running_mean.any()


@pytest.mark.parametrize("other", [lambda: random.random(), lambda: np.random.normal()])
def test_random_numbers_of_python_and_numpy(other: Callable[[], float]) -> None:
    def model(y: torch.Tensor) -> None:
        pyro.deterministic("out", _latent() + other())

    with pytest.raises(CannotSliceError, match="random state"):
        sample(model, model, (Y,), engine="sliced", num_samples=9)


def test_a_private_numpy_generator() -> None:
    generator = np.random.default_rng(0)

    def model(y: torch.Tensor) -> None:
        pyro.deterministic("out", _latent() + generator.normal())

    with pytest.raises(CannotSliceError, match="not the same program"):
        sample(model, model, (Y,), engine="sliced", num_samples=9)


def test_a_draw_outside_sites_that_matters() -> None:
    def model(y: torch.Tensor) -> None:
        noise = torch.randn(())
        pyro.deterministic("out", _latent() + (1.0 if noise > 0 else 2.0))

    with pytest.raises(CannotSliceError, match="not the same program"):
        sample(model, model, (Y,), engine="sliced", num_samples=9)


def test_a_draw_outside_sites_that_does_not_matter(caplog: pytest.LogCaptureFixture) -> None:
    def model(y: torch.Tensor) -> None:
        int(dist.LogNormal(3.0, 1.0).sample())
        pyro.deterministic("out", _latent() * 2)

    with caplog.at_level(logging.INFO, logger="pyro_posterior"):
        posterior = sample(model, model, (Y,), engine="sliced", num_samples=9)
    assert posterior.plan.engine == "batched slice"
    assert "test_fallbacks.py" in caplog.text  # names the line that reads


def test_a_draw_outside_sites_that_is_read_as_the_same_each_time() -> None:
    def model(y: torch.Tensor) -> None:
        rare = bool(torch.rand(()) > 1e-6)
        pyro.deterministic("out", _latent() * 2 if rare else _latent() * 3)

    with pytest.raises(CannotSliceError, match="what it does is not known"):
        sample(model, model, (Y,), engine="sliced", num_samples=9)


def _no_guide(model: Callable[..., Any]) -> Callable[..., Any]:
    def guide(y: torch.Tensor) -> None:
        _latent()

    return guide


def _uses_the_loop(
    model: Callable[..., Any], reason: str, data: Callable[[], Any] = lambda: (Y,)
) -> None:
    """Under "sliced" the reason is raised; under "auto" the loop's numbers come, with a line."""
    options: dict[str, Any] = {"num_samples": 9, "return_samples": True}
    with pytest.raises(CannotSliceError, match=reason):
        sample(model, model, data(), engine="sliced", **options)
    loop = sample(model, model, data(), engine="loop", **options)
    auto = sample(model, model, data(), engine="auto", **options)
    assert auto.plan.engine == "loop"
    for name, draws in loop["posterior_samples"].items():
        np.testing.assert_array_equal(auto["posterior_samples"][name], draws)


def test_auto_says_in_one_line_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="pyro_posterior"):
        sample(branch_on_draw, branch_on_draw, (Y,), engine="auto", num_samples=9)
    lines = [r.getMessage() for r in caplog.records if "drawing with the loop" in r.getMessage()]
    assert len(lines) == 1
    assert "test_fallbacks.py" in lines[0]


def test_a_random_state_that_another_thread_moved_is_no_reason_for_the_loop():
    """Threads of the process, a Dask worker's for one, use Python's random numbers now and then."""
    moves = iter([True, False])

    def model(x):
        if next(moves, False):
            random.random()  # as if another thread did, while the draw is recorded
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    found = sample(model, lambda x: model(x), torch.zeros(3), engine="sliced", num_samples=9)
    assert found.plan.engine == "batched slice"


def test_a_thread_that_moves_random_states_for_long_is_no_reason_for_the_loop():
    """Each recording meets it at another place, and it rests when nothing is recorded."""
    calls = iter(range(1, 13))  # two of them in each run

    def model(x):
        for _ in range(next(calls, 0)):
            random.random()
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    sampler = JointSampler(model, lambda x: model(x), 3, None)
    record_first(sampler, Minibatch(0, (torch.zeros(3),)))
    assert next(calls, None) is None


def test_a_model_that_moves_a_random_state_is_found_in_two_runs():
    ran = []

    def model(x):
        ran.append(random.random())
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    sampler = JointSampler(model, lambda x: model(x), 3, None)
    with pytest.raises(CannotSliceError, match="random state"):
        record_first(sampler, Minibatch(0, (torch.zeros(3),)))
    assert len(ran) == 4
