"""Any chunking, order and number of threads give the same draws; fixed values are not copied."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.contracts import Block, Minibatch, Site
from pyro_posterior.draws import draw_block
from pyro_posterior.errors import RequestError
from pyro_posterior.joint import JointSampler
from pyro_posterior.sliced import program as module
from pyro_posterior.sliced import sizes
from pyro_posterior.sliced.build import build_sliced
from pyro_posterior.sliced.program import SlicedProgram
from toy_models import sample

ROWS = 6
G = Site("g", "latent", "global", (2,), torch.float32)
SHARE = Site("share", "deterministic", "global", (), torch.float32)
Z = Site("z", "latent", "local", (ROWS,), torch.float32, batch_axis=-1)
RATE = Site("rate", "latent", "local", (ROWS,), torch.float32, batch_axis=-1)
Y = Site("y", "observed", "local", (ROWS,), torch.float32, batch_axis=-1)
SITES = (G, SHARE, Z, RATE, Y)


def model(y: torch.Tensor) -> None:
    """Fills (normal) and value-dependent samplers (gamma), global and local."""
    g = pyro.sample("g", dist.Gamma(torch.tensor([2.0, 0.5]), 1.0).to_event(1))
    share = pyro.deterministic("share", g[0] / g.sum())
    with pyro.plate("obs", 30, subsample=torch.arange(len(y))):
        z = pyro.sample("z", dist.Normal(y * share, 1.0))
        pyro.sample("rate", dist.Gamma(g[1], 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def batches(count: int = 3) -> list[Minibatch]:
    data = torch.linspace(-2.0, 2.0, ROWS * count).split(ROWS)
    return [Minibatch(i, (x,)) for i, x in enumerate(data)]


def program(function: Callable[..., Any] = model, num_samples: int = 40) -> SlicedProgram:
    sampler = JointSampler(function, function, 4, "obs")
    ends = (batches()[0], batches()[-1])
    return build_sliced(sampler, ends, SITES, num_samples, device=torch.device("cpu"), strict=True)


def drawn(prog: SlicedProgram, minibatch: Minibatch, count: int = 40) -> Block:
    block: Block = {}
    for part in prog.parts(minibatch, SITES):
        block |= draw_block(part, count, None, lambda _: None)[0]
    return block


def chunk_of(prog: SlicedProgram) -> int:
    return min(part.chunk for part in prog.parts(batches()[0], SITES))


@pytest.mark.parametrize("budget", [1, 8 * (2 + 2 * ROWS) * 4])
def test_chunks_of_any_size_give_the_same_draws(
    budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = program()
    expected = drawn(whole, batches()[1])
    monkeypatch.setattr(sizes, "cache_bytes", lambda: budget)
    cut = program()
    assert chunk_of(cut) < chunk_of(whole)
    for name, values in drawn(cut, batches()[1]).items():
        torch.testing.assert_close(values, expected[name], rtol=1e-6, atol=1e-6)


def test_the_last_chunk_is_cut_to_what_was_asked() -> None:
    prog = program(num_samples=37)
    block = drawn(prog, batches()[0], 37)
    sampler = JointSampler(model, model, 4, "obs")
    assert all(len(values) == 37 for values in block.values())
    for name, value in sampler.values(batches()[0], 36, ("g", "z", "rate")).items():
        torch.testing.assert_close(block[name][36], value, rtol=1e-5, atol=1e-6)


def test_two_threads_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "cache_bytes", lambda: 1)
    prog = program()
    expected = {batch.index: drawn(prog, batch) for batch in batches()}
    prog = program()
    jobs = [
        (batch.index, start, part)
        for batch in reversed(batches())
        for part in prog.parts(batch, SITES)
        for start in reversed(range(0, 40, part.chunk))
    ]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda job: job[2].draw(range(job[1], job[1] + job[2].chunk)), jobs))
    for (index, start, part), block in zip(jobs, found, strict=True):
        for name, values in block.items():
            assert torch.equal(values, expected[index][name][start : start + part.chunk])


def test_globals_are_the_same_behind_all_minibatches() -> None:
    prog = program()
    first, *others = (drawn(prog, batch) for batch in batches())
    for other in others:
        assert torch.equal(first["g"], other["g"])
        assert torch.equal(first["share"], other["share"])
        assert not torch.equal(first["z"], other["z"])


def test_globals_that_do_not_fit_are_made_anew_and_stay_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = drawn(program(), batches()[2])
    monkeypatch.setattr(module, "KEPT_GLOBALS_BYTES", 0)
    for name, values in drawn(program(), batches()[2]).items():
        assert torch.equal(values, expected[name])


def test_local_sites_alone_are_those_drawn_together_with_globals() -> None:
    prog = program()
    together = drawn(prog, batches()[1])
    (part,) = prog.parts(batches()[1], (Z,))
    alone = draw_block(part, 40, None, lambda _: None)[0]
    assert list(alone) == ["z"]
    assert torch.equal(alone["z"], together["z"])


def test_values_no_draw_enters_are_expanded_without_copies() -> None:
    block = drawn(program(), batches()[0])
    assert block["y"].shape == (40, ROWS)
    assert block["y"].stride(0) == 0
    assert torch.equal(block["y"][17], batches()[0].args[0])


def test_rows_differ() -> None:
    block = drawn(program(), batches()[0])
    block["rate"] = block["rate"][block["g"][:, 1] > 0.1]  # a tiny shape gives the smallest number
    for name in ("g", "z", "rate"):
        rows = block[name]
        assert len(rows) > 10
        assert len(torch.unique(rows.reshape(len(rows), -1), dim=0)) == len(rows)


def test_randomly_subsampled_plates_give_the_loops_draws() -> None:
    def subsampling(y: torch.Tensor) -> None:
        g = pyro.sample("g", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 30, subsample_size=5) as index:
            pyro.sample("h", dist.Normal(g + torch.arange(30.0)[index], 1.0))

    options: dict[str, Any] = {"num_samples": 11, "return_samples": True, "return_sites": ["g"]}
    data = (torch.zeros(30),)
    loop = sample(subsampling, subsampling, data, engine="loop", **options)
    sliced = sample(subsampling, subsampling, data, engine="sliced", **options)
    np.testing.assert_allclose(
        sliced["posterior_samples"]["g"], loop["posterior_samples"]["g"], rtol=1e-5, atol=1e-6
    )
    assert sliced.plan.engine in ("batched slice", "unbatched slice")


def test_an_operation_without_a_batched_form_is_drawn_one_at_a_time() -> None:
    def unbatched(y: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        pyro.deterministic("scaled", torch._foreach_mul([z, z + 1], 2.0)[1])

    options: dict[str, Any] = {"num_samples": 11, "return_samples": True}
    loop = sample(unbatched, unbatched, (torch.zeros(3),), engine="loop", **options)
    sliced = sample(unbatched, unbatched, (torch.zeros(3),), engine="sliced", **options)
    assert sliced.plan.engine == "unbatched slice"
    for name, draws in loop["posterior_samples"].items():
        np.testing.assert_array_equal(sliced["posterior_samples"][name], draws)


def test_the_description_prints_every_graph_and_what_fell_away() -> None:
    text = program().describe()
    for part in ("batched slice", "# prologue", "# globals", "# body", "fell away", "draw_normal_"):
        assert part in text


def test_threads_are_an_argument_and_the_numbers_do_not_depend_on_it() -> None:
    before = torch.get_num_threads()
    options: dict[str, Any] = {"num_samples": 300, "return_samples": True, "engine": "sliced"}
    data = (torch.linspace(-1.0, 1.0, 30),)
    one, two = (sample(model, model, data, threads=count, **options) for count in (1, 2))
    assert ", 1 chunks side by side" in one.program
    assert ", 2 chunks side by side" in two.program
    assert torch.get_num_threads() == before
    for name, draws in one["posterior_samples"].items():
        np.testing.assert_array_equal(two["posterior_samples"][name], draws)
    with pytest.raises(RequestError, match="threads must be at least 1"):
        sample(model, model, data, threads=0)
