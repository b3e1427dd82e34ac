"""Each stage on small models whose graphs are known: recording, slicing, batching, emitting."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler
from pyro_posterior.keyed.keys import Where
from pyro_posterior.sliced.batching import batch_slice
from pyro_posterior.sliced.graphs import build_graphs
from pyro_posterior.sliced.record import Record, record
from pyro_posterior.sliced.same import same_slice
from pyro_posterior.sliced.slicing import BATCH, DRAW, slice_record

Y = torch.linspace(-1.0, 1.0, 5)


def model(y: torch.Tensor) -> None:
    """One global, one local site, and a likelihood with a matrix that no site needs."""
    g = pyro.sample("g", dist.Normal(0.0, 1.0))
    pyro.deterministic("twice", 2 * g)
    pyro.deterministic("data", y.exp())
    pyro.deterministic("fixed", torch.ones(3) * 7)
    with pyro.plate("obs", 20, subsample=torch.arange(len(y))):
        z = pyro.sample("z", dist.Normal(y.exp() + g, 1.0))
        pyro.sample("y", dist.Normal((z[:, None] * torch.ones(40)).mean(-1), 1.0), obs=y)


def sampler(function: Callable[..., Any] = model) -> JointSampler:
    return JointSampler(function, function, seed=3, obs_plate="obs")


def recorded(
    *names: str, draw: int = 0, y: torch.Tensor = Y, function: Callable[..., Any] = model
) -> Record:
    return record(sampler(function), Minibatch(0, (y,)), draw, names)


def op_names(ops: list[Any]) -> list[str]:
    return [op.name for op in ops]


# --------------------------------------------------------------------------------------- recording


def test_recording_gives_the_loops_values() -> None:
    found = recorded("g", "z", draw=5)
    expected = sampler().values(Minibatch(0, (Y,)), 5, ("g", "z"))
    for name, value in expected.items():
        assert torch.equal(found.values[name], value)


def test_the_likelihood_is_recorded_and_its_tensors_are_freed() -> None:
    held: list[Any] = []

    def watched(y: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        large = z * torch.ones(1000)
        held.append(weakref.ref(large))
        pyro.sample("y", dist.Normal((large * 2).mean(), 1.0), obs=y[0])

    found = recorded("z", function=watched)
    gc.collect()
    assert "mean" in op_names(found.tape.ops)
    assert held[-1]() is None


def test_random_operations_carry_the_key_of_their_site() -> None:
    keys = [op.key for op in recorded("z").tape.ops if op.key is not None]
    assert [(key.site, key.local) for key in keys] == [("g", False), ("z", True)]


def test_a_constant_may_be_written_by_the_run_that_made_it() -> None:
    def model(y: torch.Tensor) -> None:
        total = torch.tensor(1.0)
        total += pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.deterministic("total", total * 1)

    found = recorded("z", "total", function=model)
    assert torch.equal(found.values["total"], found.values["z"] + 1)


def test_the_data_attribute_is_followed() -> None:
    def model(y: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.deterministic("out", (z + 1).data * 2)

    cut = slice_record(recorded("out", function=model), ("out",))
    assert cut.level(cut.outputs["out"]) == DRAW


# ----------------------------------------------------------------------------------------- slicing


def test_the_slice_holds_what_a_site_needs_and_nothing_else() -> None:
    cut = slice_record(recorded("z"), ("z",))
    names = op_names(cut.ops)
    assert names.count("normal_") == 2
    assert names.count("exp") == 1
    assert "mean" not in names
    assert len(cut.ops) < len(cut.tape.ops)
    assert op_names(slice_record(recorded("g"), ("g",)).ops).count("normal_") == 1


def test_levels_say_what_a_value_depends_on() -> None:
    names = ("g", "twice", "data", "fixed", "z")
    cut = slice_record(recorded(*names), names)
    levels = {name: cut.level(uid) for name, uid in cut.outputs.items()}
    assert levels == {"g": DRAW, "twice": DRAW, "data": BATCH, "fixed": 0, "z": BATCH | DRAW}


def test_a_write_in_place_raises_the_level_of_the_memory() -> None:
    def model(y: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        out = torch.zeros(3)
        out[1] = z
        pyro.deterministic("out", out * 1)

    cut = slice_record(recorded("out", function=model), ("out",))
    assert {cut.level_of(op) for op in cut.ops if op.name in ("zeros", "copy_")} == {DRAW}


def test_a_constant_written_after_a_draw_has_read_it_is_refused() -> None:
    def model(y: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        scale = torch.tensor(2.0)
        first = z * scale
        scale += 1.0
        pyro.deterministic("out", first + z * scale)

    with pytest.raises(CannotSliceError, match="in place after"):
        slice_record(recorded("out", function=model), ("out",))


def test_other_draws_and_other_data_give_the_same_slice() -> None:
    cuts = [
        slice_record(found, ("g", "z"))
        for found in (recorded("g", "z"), recorded("g", "z", draw=9), recorded("g", "z", y=Y + 1))
    ]
    assert [same_slice(cuts[0], cut) for cut in cuts[1:]] == ["", ""]


def test_another_constant_is_another_slice() -> None:
    def scaled(by: float) -> Callable[..., Any]:
        def model(y: torch.Tensor) -> None:
            pyro.deterministic("out", pyro.sample("z", dist.Normal(0.0, 1.0)) * torch.tensor(by))

        return model

    one, other = (slice_record(recorded("out", function=scaled(by)), ("out",)) for by in (2.0, 2.5))
    assert same_slice(one, other)


# ------------------------------------------------------------------------------ batching, emitting


def test_every_row_of_a_batched_slice_is_a_draw_of_the_loop() -> None:
    names = ("g", "twice", "data", "fixed", "z")
    graphs = build_graphs(
        batch_slice(slice_record(recorded(*names), names), [Y], Where(3, range(8), 0), 8)
    )
    prologue = graphs.prologue(Y)
    for start in (0, 16):
        where = Where(3, range(start, start + 8), 0)
        glob = graphs.globals(where)
        body = graphs.body(where, *prologue, *glob)
        found = {"constant": graphs.constants, "prologue": prologue, "globals": glob, "body": body}
        for row in range(8):
            expected = sampler().values(Minibatch(0, (Y,)), start + row, names)
            for name, (source, position) in graphs.sources.items():
                value = found[source][position]
                value = value[row] if source in ("globals", "body") else value
                torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-6)


def test_each_value_is_made_in_the_graph_of_its_level() -> None:
    names = ("g", "twice", "data", "fixed", "z")
    graphs = build_graphs(
        batch_slice(slice_record(recorded(*names), names), [Y], Where(3, range(8), 0), 8)
    )
    assert {name: source for name, (source, _) in graphs.sources.items()} == {
        "g": "globals",
        "twice": "globals",
        "data": "prologue",
        "fixed": "constant",
        "z": "body",
    }
    assert "aten.exp." in graphs.prologue.code
    assert "aten.exp." not in graphs.body.code
    assert graphs.globals.code.count("draw_normal_") > 0


def test_without_a_chunk_one_draw_is_made_to_the_last_bit() -> None:
    graphs = build_graphs(
        batch_slice(slice_record(recorded("z"), ("z",)), [Y], Where(3, range(1), 0), None)
    )
    for draw in (0, 7, 11):
        where = Where(3, range(draw, draw + 1), 0)
        body = graphs.body(where, *graphs.prologue(Y), *graphs.globals(where))
        expected = sampler().values(Minibatch(0, (Y,)), draw, ("z",))["z"]
        assert torch.equal(body[graphs.sources["z"][1]], expected)
