"""A call that runs what an earlier one ran takes its program, with its own constants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyro_posterior import sample_posterior
from pyro_posterior.errors import RequestError
from pyro_posterior.sliced import again, study

Y = torch.linspace(-1.0, 1.0, 6)


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Numbers of the draws that were recorded to make programs; none is kept from before."""
    found: list[int] = []

    def counted(sampler: Any, minibatch: Any, draw: int, *args: Any) -> Any:
        found.append(draw)
        return original(sampler, minibatch, draw, *args)

    original = study.record
    monkeypatch.setattr(study, "record", counted)
    again._programs.held.clear()
    pyro.clear_param_store()
    guide(Y, torch.arange(6))
    yield found
    again._programs.held.clear()


def guide(y: torch.Tensor, index: torch.Tensor) -> None:
    loc = pyro.param("loc", torch.tensor(0.5))
    scale = pyro.param("scale", torch.tensor(0.2), constraint=dist.constraints.positive)
    pyro.sample("g", dist.Normal(loc, scale))
    with pyro.plate("obs", 6, subsample=index):
        pyro.sample("z", dist.Normal(y * loc, scale))


def model(y: torch.Tensor, index: torch.Tensor) -> None:
    g = pyro.sample("g", dist.Normal(0.0, 1.0))
    with pyro.plate("obs", 6, subsample=index):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.deterministic("sum", z + g * y)
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def draws(engine: str = "sliced", **options: Any) -> dict[str, np.ndarray]:
    usual = {"model": model, "guide": guide, "data": (Y, torch.arange(6)), "num_samples": 20}
    fixed = {"obs_plate": "obs", "return_samples": True, "show_progress": False}
    found = sample_posterior(**(usual | {"seed": 4} | options), **fixed, engine=engine)
    return found["posterior_samples"]


def assert_loops(**options: Any) -> None:
    loop, sliced = draws("loop", **options), draws(**options)
    for name, values in loop.items():
        np.testing.assert_allclose(sliced[name], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [None, 2, 4])
def test_a_second_call_records_nothing_for_its_program(
    recordings: list[int], batch_size: int | None
) -> None:
    first = draws(batch_size=batch_size)
    several = batch_size == 4  # another shape at the end: its course is not kept
    assert recordings
    before = len(recordings)
    second = draws(batch_size=batch_size)
    assert (len(recordings) > before) == several
    for name, values in first.items():
        np.testing.assert_array_equal(second[name], values)


def test_changed_parameters_and_data_are_those_of_the_call(recordings: list[int]) -> None:
    draws()
    before = len(recordings)
    with torch.no_grad():
        pyro.param("loc").unconstrained().fill_(3.0)
        pyro.param("scale").unconstrained().fill_(-1.0)
    assert_loops(data=(Y.flip(0) * 2, torch.arange(6)))
    assert len(recordings) == before
    assert draws()["g"].mean() == pytest.approx(3.0, abs=0.05)


def test_another_seed_or_how_draws_are_spread_needs_no_other_program(recordings: list[int]) -> None:
    draws()
    before = len(recordings)
    assert_loops(seed=9)
    assert_loops(draws="independent")
    assert len(recordings) == before


def other_code(y: torch.Tensor, index: torch.Tensor) -> None:
    g = pyro.sample("g", dist.Normal(0.0, 1.0))
    with pyro.plate("obs", 6, subsample=index):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.deterministic("sum", z - g * y)
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


@pytest.mark.parametrize(
    "options",
    [
        {"model": other_code},
        {"num_samples": 21},
        {"data": (torch.linspace(0.0, 1.0, 4), torch.arange(4))},
        {"data": (Y.double(), torch.arange(6))},
        {"return_sites": ["z"]},
        {"do": {"g": 2.0}},
        {"derived": {"twice": lambda s: 2 * s["g"]}},
    ],
)
def test_whatever_is_another_program_is_made_anew(
    recordings: list[int], options: dict[str, Any]
) -> None:
    draws()
    before = len(recordings)
    assert_loops(**options)
    assert len(recordings) > before


def test_parameters_in_other_memory_are_looked_at_anew(recordings: list[int]) -> None:
    draws()
    before = len(recordings)
    pyro.clear_param_store()
    pyro.param("loc", torch.tensor(-2.0))
    pyro.param("scale", torch.tensor(0.2), constraint=dist.constraints.positive)
    assert_loops()
    assert len(recordings) > before
    assert draws()["g"].mean() == pytest.approx(-2.0, abs=0.1)


def _stateful(after: int) -> Callable[..., None]:
    """A model whose number changes with every run, from the given run on."""
    runs = [0]

    def stateful(y: torch.Tensor, index: torch.Tensor) -> None:
        runs[0] += 1
        with pyro.plate("obs", 6, subsample=index):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.deterministic("late", z * torch.tensor(float(max(1, runs[0] - after))))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    return stateful


def local_guide(y: torch.Tensor, index: torch.Tensor) -> None:
    with pyro.plate("obs", 6, subsample=index):
        pyro.sample("z", dist.Normal(y, 0.1))


def test_a_model_that_changes_between_calls_is_noticed(recordings: list[int]) -> None:
    """Its first call is one program; in the second each draw is another."""
    changing = _stateful(10**6)
    options: dict[str, Any] = {"model": changing, "guide": local_guide}
    sample = dict(options, num_samples=12)
    draws(**sample)
    runs = changing.__closure__
    assert runs is not None
    cell = next(c.cell_contents for c in runs if isinstance(c.cell_contents, list))
    cell[0] = 10**6 - 1
    with pytest.raises(RequestError, match="'late': two runs of the same draw .* keeps something"):
        draws("auto", **sample)


def test_what_is_kept_holds_no_tensor_alive(recordings: list[int]) -> None:
    import gc
    import weakref

    pyro.clear_param_store()
    guide_ = AutoNormal(model)
    guide_(Y, torch.arange(6))
    draws(guide=guide_)
    assert again._programs.held
    held = weakref.ref(next(guide_.parameters()))
    pyro.clear_param_store()
    del guide_
    gc.collect()
    assert held() is None


def test_few_programs_are_kept(recordings: list[int]) -> None:
    for number in range(again.MOST_KEPT + 3):
        draws(num_samples=5 + number)
    assert len(again._programs.held) == again.MOST_KEPT


def reads_a_free_draw(y: torch.Tensor, index: torch.Tensor) -> None:
    if torch.rand(()) > 0.5:  # of no consequence
        pass
    model(y, index)


def test_a_free_read_without_consequence_is_looked_into_once(recordings: list[int]) -> None:
    draws(model=reads_a_free_draw)
    before = len(recordings)
    assert_loops(model=reads_a_free_draw)
    assert len(recordings) == before
