"""Reads that no operation shows, of draws that are nearly always the same, and memory of NumPy's."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from toy_models import sample

ROWS = 9
POOL = concurrent.futures.ThreadPoolExecutor(1)

Value = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _both(value: Value, **options: Any) -> str:
    """The tier under "auto" of ``value(x, k)``, whose draws must be the loop's.

    ``k`` is 0 in nineteen draws of twenty; ``x`` has one large value in the middle minibatch.
    """

    def guide(x: torch.Tensor, index: torch.Tensor) -> None:
        pyro.sample("k", dist.Categorical(torch.tensor([0.95, 0.03, 0.02])))
        with pyro.plate("obs", ROWS, subsample=index):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    def model(x: torch.Tensor, index: torch.Tensor) -> None:
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.95, 0.03, 0.02])))
        with pyro.plate("obs", ROWS, subsample=index):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.deterministic("out", value(x, k) + 0 * z)

    x = torch.linspace(0.0, 1.0, ROWS)
    x[4] = 9.0
    options = {"num_samples": 40, "batch_size": 3, "return_samples": True} | options
    loop, auto = (
        sample(model, guide, (x, torch.arange(ROWS)), engine=engine, **options)
        for engine in ("loop", "auto")
    )
    assert loop["posterior_samples"]["k"].max() > 0
    for name, draws in loop["posterior_samples"].items():
        np.testing.assert_allclose(
            auto["posterior_samples"][name], draws, rtol=1e-5, atol=1e-6, err_msg=name
        )
    return auto.plan.engine


class _Capsule:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def __dlpack__(self, **_: Any) -> Any:
        return torch.utils.dlpack.to_dlpack(self.tensor)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


@torch.jit.script
def scripted_list(k: torch.Tensor) -> float:
    found: int = k.tolist()
    return float(found)


@torch.jit.script
def scripted_branch(x: torch.Tensor) -> torch.Tensor:
    if float(x.max()) > 5:
        return x * 100.0
    return x * 2.0


READS: dict[str, Value] = {
    "constructor": lambda x, k: torch.Tensor([k]),
    "constructor of whole numbers": lambda x, k: torch.LongTensor([k]),
    "nested constructor": lambda x, k: torch.Tensor([[k, 7.0], [7.0, 7.0]]).sum(),
    "constructor of an expression": lambda x, k: torch.Tensor([k * 2 > 3]),
    "capsule": lambda x, k: torch.tensor(float(np.from_dlpack(_Capsule(k)))),
    "TorchScript": lambda x, k: torch.tensor(scripted_list(k)),
    "pool": lambda x, k: torch.full((len(x),), POOL.submit(lambda: float(k)).result()),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_drawn_number_read_unseen_is_for_the_loop(read: Value) -> None:
    assert _both(read) == "loop"


def test_constants_that_python_makes_anew_are_no_drawn_numbers() -> None:
    assert _both(lambda x, k: torch.Tensor([5.0, 7.0])[k.clamp(max=1)]) == "batched slice"


@pytest.mark.parametrize(
    "read",
    [
        lambda x, k: scripted_branch(x) + k,
        lambda x, k: torch.tensor(float(np.from_dlpack(_Capsule(x)).max())) + k,
    ],
    ids=["TorchScript", "capsule"],
)
def test_what_is_read_of_the_data_unseen_is_guarded(read: Value) -> None:
    assert _both(read) == "batched slice"


def test_memory_that_python_writes_to_is_held_by_its_values() -> None:
    state, scratch = torch.zeros(1), np.zeros(1, dtype=np.float32)

    def through_numpy(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        state.numpy()[0] = float((x > 5).any())
        return state + k

    def from_numpy(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        scratch[0] = float((x > 5).any())
        return torch.from_numpy(scratch) + k

    assert _both(through_numpy) == "batched slice"
    assert _both(from_numpy) == "batched slice"


def test_memory_of_numpys_that_changes_within_a_draw_is_for_the_loop() -> None:
    table = np.zeros(2, dtype=np.float32)
    seen = torch.from_numpy(table)

    def value(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        table[:] = 1.0
        before = seen + k
        table[:] = 2.0
        return (before * seen).sum()

    assert _both(value) == "loop"
