"""One recording serves the minibatches it fits; others are recorded again, a bounded number of times."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.contracts import Block, Minibatch, Site
from pyro_posterior.draws import draw_block
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler
from pyro_posterior.loop import LoopProgram
from pyro_posterior.sliced import courses, study
from pyro_posterior.sliced.build import build_sliced
from pyro_posterior.sliced.program import SlicedProgram
from pyro_posterior.sliced.record import record
from toy_models import sample

CPU = torch.device("cpu")


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Draws that are recorded, as they come."""
    seen: list[int] = []

    def counted(sampler: Any, minibatch: Any, draw: int, *others: Any) -> Any:
        seen.append(draw)
        return record(sampler, minibatch, draw, *others)

    monkeypatch.setattr(study, "record", counted)
    return seen


Z = Site("z", "latent", "local", (4,), torch.float32, batch_axis=-1)
OUT = Site("out", "deterministic", "local", (4,), torch.float32, batch_axis=-1)


def with_out(value: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., None]:
    """A model with a local site ``z`` and ``out`` computed from it and the data."""

    def model(x: torch.Tensor, *others: Any) -> None:
        with pyro.plate("obs", 100, subsample=torch.arange(len(x))):
            z = pyro.sample("z", dist.Normal(x, 1.0))
            pyro.deterministic("out", value(x, z))

    return model


def program_of(
    model: Callable[..., Any], batches: list[Minibatch], *, strict: bool = True
) -> SlicedProgram:
    sampler = JointSampler(model, model, 11, "obs")
    ends = (batches[0], batches[-1])
    return build_sliced(sampler, ends, (Z, OUT), 20, device=CPU, strict=strict)


def minibatches(*data: torch.Tensor) -> list[Minibatch]:
    return [Minibatch(i, (x,)) for i, x in enumerate(data)]


def agrees(program: SlicedProgram, model: Callable[..., Any], minibatch: Minibatch) -> bool:
    sampler = JointSampler(model, model, 11, "obs")
    block: Block = {}
    for part in program.parts(minibatch, (Z, OUT)):
        block |= draw_block(part, 8, None, lambda _: None)[0]
    for row in (0, 3, 7):
        values = sampler.values(minibatch, row, ("z", "out"))
        for name, value in values.items():
            torch.testing.assert_close(block[name][row], value, rtol=1e-5, atol=1e-6)
    return True


def positive(size: int, seed: int) -> torch.Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed)) + 0.1


def test_one_recording_serves_minibatches_of_one_shape(recordings: list[int]) -> None:
    model = with_out(lambda x, z: z * x.sum())
    batches = minibatches(*(positive(4, i) for i in range(6)))
    program = program_of(model, batches)
    before = len(recordings)
    assert all(agrees(program, model, batch) for batch in batches)
    assert len(recordings) == before == 3


def test_another_shape_is_recorded_for_itself(recordings: list[int]) -> None:
    model = with_out(lambda x, z: z * x.sum())
    batches = minibatches(positive(4, 0), positive(7, 1), positive(4, 2), positive(1, 3))
    program = program_of(model, batches)
    assert all(agrees(program, model, batch) for batch in batches)
    before = len(recordings)
    assert agrees(program, model, batches[1])
    assert len(recordings) == before


def test_a_value_read_from_the_data_is_a_guard() -> None:
    model = with_out(lambda x, z: z * 2 if x[0] > 0 else z - 1)
    batches = minibatches(positive(4, 0), -positive(4, 1), positive(4, 2))
    program = program_of(model, batches)
    assert all(agrees(program, model, batch) for batch in batches)
    assert "guards" in program.describe()


def test_guards_that_differ_while_the_slice_does_not_cost_two_recordings_each(
    recordings: list[int],
) -> None:
    def value(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        for one in x:
            if one > 0.5:  # of no consequence
                pass
        return z * 3

    model = with_out(value)
    batches = minibatches(*(positive(4, i) for i in range(9)))
    program = program_of(model, batches)
    before = len(recordings)
    assert all(agrees(program, model, batch) for batch in batches)
    assert len(recordings) - before <= 2 * 7
    assert tiers(program, batches) == ["batched slice"] * 9


def test_minibatches_cut_from_one_tensor_share_a_recording(recordings: list[int]) -> None:
    model = with_out(lambda x, z: z * x.sum())
    batches = minibatches(*positive(24, 0).split(4))
    program = program_of(model, batches)
    before = len(recordings)
    assert all(agrees(program, model, batch) for batch in batches)
    assert len(recordings) == before


def test_an_offset_that_the_model_reads_is_seen() -> None:
    model = with_out(lambda x, z: z * (x.storage_offset() + 1))
    batches = minibatches(*positive(12, 0).split(4))
    program = program_of(model, batches)
    assert all(agrees(program, model, batch) for batch in batches)
    strided = with_out(lambda x, z: z * x.as_strided((4,), (1,), 4))
    with pytest.raises(CannotSliceError, match="as_strided"):
        program_of(strided, batches)


def test_sizes_that_depend_on_the_data_are_guarded() -> None:
    model = with_out(lambda x, z: z * x[x > 0.6].sum() + torch.zeros(len(x.nonzero())))
    batches = minibatches(*(positive(4, i) for i in range(5)))
    program = program_of(model, batches, strict=False)
    assert all(agrees(program, model, batch) for batch in batches)


def drawn(program: SlicedProgram, minibatch: Minibatch) -> Block:
    block: Block = {}
    for part in program.parts(minibatch, (Z, OUT)):
        block |= draw_block(part, 20, None, lambda _: None)[0]
    return block


def tiers(program: SlicedProgram, batches: list[Minibatch]) -> list[str]:
    return [part.tier for batch in batches for part in program.parts(batch, (Z, OUT))]


def ways(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """As many ways through the model as there are numbers at the head of a minibatch."""
    out = z
    for _ in range(int(x[0])):
        out = out * 1.1 + x.sum()
    if int(x[0]) == 9:
        out = out * float(z[0])  # this one needs the loop
    if int(x[0]) == 4:
        out = torch._foreach_mul([out], 2.0)[0]  # this one has no form for many draws
    return out


@pytest.mark.parametrize("most", [1, 16])
def test_a_minibatch_gets_the_same_bytes_whatever_came_before(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courses, "MOST_COURSES", most)
    model = with_out(ways)
    batches = minibatches(*(torch.tensor([i, 0.5, 0.25, i / 3]) for i in range(12)))
    program = program_of(model, batches, strict=False)
    expected = [drawn(program, batch) for batch in batches]
    kinds = ["batched slice"] * 4 + ["unbatched slice"] + ["batched slice"] * 4 + ["loop"]
    assert tiers(program, batches) == [*kinds, "batched slice", "batched slice"]
    orders = (list(range(6, 12)), list(reversed(range(12))), [3, 9, 3, 4, 0, 4, 9, 11, 7])
    for order in orders:
        fresh = program_of(model, batches, strict=False)
        for index in order:
            for name, values in drawn(fresh, batches[index]).items():
                assert torch.equal(values, expected[index][name])
    assert all(agrees(program, model, batch) for batch in batches)


def test_only_the_minibatch_that_needs_the_loop_is_refused() -> None:
    model = with_out(ways)
    batches = minibatches(*(torch.tensor([i, 0.5, 0.25, i / 3]) for i in (1, 9, 2)))
    program = program_of(model, batches)
    assert tiers(program, [batches[0], batches[2]]) == ["batched slice"] * 2
    with pytest.raises(CannotSliceError, match="depends on a draw"):
        program.parts(batches[1], (Z, OUT))


def test_data_turned_into_numpy_serve_their_own_minibatch_only() -> None:
    model = with_out(lambda x, z: z * torch.from_numpy(x.numpy() * 2))
    batches = minibatches(*(positive(4, i) for i in range(3)))
    program = program_of(model, batches)
    assert all(agrees(program, model, batch) for batch in batches)


@pytest.mark.parametrize("make", [torch.Tensor, torch.FloatTensor])
def test_a_read_that_leaves_no_trace_serves_its_own_minibatch_only(make: Any) -> None:
    model = with_out(lambda x, z: z * make([x[0]]))
    sizes = (1.0, 2.0, 1.0)  # the first and the last are alike
    batches = minibatches(*(torch.full((4,), value) for value in sizes))
    program = program_of(model, batches)
    assert all(agrees(program, model, batch) for batch in batches)


@pytest.mark.parametrize(
    "others", [(1, 2), ("a", "b"), (np.zeros(2000), np.r_[np.zeros(1000), 1, np.zeros(999)])]
)
def test_arguments_that_are_no_tensors_are_part_of_the_program(others: Any) -> None:
    def model(x: torch.Tensor, other: Any) -> None:
        factor = float(np.sum(other)) if not isinstance(other, str) else ord(other)
        with pyro.plate("obs", 100, subsample=torch.arange(len(x))):
            z = pyro.sample("z", dist.Normal(x, 1.0))
            pyro.deterministic("out", z * (factor + 1))

    batches = [Minibatch(i, (positive(4, i), other)) for i, other in enumerate(others)]
    program = program_of(model, batches)
    assert all(agrees(program, model, batch) for batch in batches)


def test_one_tensor_given_twice_is_not_two() -> None:
    def model(x: torch.Tensor, other: torch.Tensor) -> None:
        with pyro.plate("obs", 100, subsample=torch.arange(len(x))):
            z = pyro.sample("z", dist.Normal(x, 1.0))
            pyro.deterministic("out", z + other)

    x = positive(4, 0)
    batches = [Minibatch(0, (x, x)), Minibatch(1, (positive(4, 1), positive(4, 2)))]
    program = program_of(model, batches)
    assert all(agrees(program, model, batch) for batch in batches)


def test_a_later_minibatch_that_needs_the_loop_gets_it_and_the_numbers_stay() -> None:
    def value(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        if x[0] > 5:
            return z * float(z[0])
        return z * 2

    model = with_out(value)
    data = torch.cat([positive(4, 0), positive(4, 1) + 6, positive(4, 2)])
    options: dict[str, Any] = {"num_samples": 20, "batch_size": 4, "return_samples": True}
    loop = sample(model, model, (data,), engine="loop", **options)
    auto = sample(model, model, (data,), engine="auto", **options)
    for name, draws in loop["posterior_samples"].items():
        np.testing.assert_allclose(auto["posterior_samples"][name], draws, rtol=1e-5, atol=1e-6)
    with pytest.raises(CannotSliceError, match="depends on a draw"):
        sample(model, model, (data,), engine="sliced", **options)


class Quiet:
    """An argument whose ``repr`` does not tell what it holds."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "Quiet"


def _tagged(value: float) -> torch.Tensor:
    made: Any = torch.ones(2)
    made.value = value
    return made


@pytest.mark.parametrize("make", [Quiet, _tagged])
def test_what_an_argument_holds_counts_not_its_repr(make: Callable[[float], Any]) -> None:
    def model(x: torch.Tensor, other: Any) -> None:
        with pyro.plate("obs", 100, subsample=torch.arange(len(x))):
            z = pyro.sample("z", dist.Normal(x, 1.0))
            pyro.deterministic("out", z + other.value)

    sizes = (4, 4, 3)
    batches = [Minibatch(i, (torch.ones(n), make(float(i)))) for i, n in enumerate(sizes)]
    program = program_of(model, batches)
    for minibatch in batches:
        assert agrees(program, model, minibatch)


def test_a_deep_copy_of_data_is_an_operation() -> None:
    model = with_out(lambda x, z: z + copy.deepcopy(x))
    batches = minibatches(torch.ones(4), torch.full((4,), 5.0), torch.ones(3))
    program = program_of(model, batches)
    for minibatch in batches:
        assert agrees(program, model, minibatch)


def test_the_loop_copies_what_a_model_writes_again() -> None:
    kept = torch.zeros(4)
    model = with_out(lambda x, z: kept.copy_(z))
    loop = LoopProgram(JointSampler(model, model, 11, "obs"))
    (part,) = loop.parts(Minibatch(0, (kept + 1,)), (Z, OUT))
    block = part.draw(range(8))
    assert torch.equal(block["out"], block["z"])
