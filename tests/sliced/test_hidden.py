"""Reads and writes that torch's dispatch does not see are guarded, or the loop draws."""

from __future__ import annotations

import concurrent.futures
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pyro_posterior.errors import CannotSliceError, RequestError
from toy_models import sample

ROWS = 14

Out = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def with_out(value: Out) -> tuple[Callable[..., None], Callable[..., None]]:
    """A model with a local ``z`` and ``out`` computed from the data and it, and its guide."""

    def guide(x: torch.Tensor, index: torch.Tensor) -> None:
        with pyro.plate("obs", ROWS, subsample=index):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    def model(x: torch.Tensor, index: torch.Tensor) -> None:
        with pyro.plate("obs", ROWS, subsample=index):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.deterministic("out", value(x, z) + 0 * z)

    return model, guide


def _both(model: Any, guide: Any, data: Any, **options: Any) -> str:
    """The tier under "auto", whose draws must be the loop's."""
    options = {"num_samples": 200, "batch_size": 4, "return_samples": True} | options
    loop = sample(model, guide, data, engine="loop", **options)
    auto = sample(model, guide, data, engine="auto", **options)
    for name, draws in loop["posterior_samples"].items():
        np.testing.assert_allclose(
            auto["posterior_samples"][name], draws, rtol=1e-5, atol=1e-6, err_msg=name
        )
    return auto.plan.engine


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Data of which one value in the middle is unlike the others."""
    x = torch.linspace(0.0, 1.0, ROWS)
    x[5] = 9.0
    return x, torch.arange(ROWS)


# ------------------------------------------------------------------- the data under another name


def _asked_again(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return torch.frombuffer(memoryview(x.numpy()), dtype=torch.float32)


ALIASES: dict[str, Out] = {
    "Parameter": lambda x, z: torch.nn.Parameter(x, requires_grad=False),
    "subclass": lambda x, z: torch.Tensor._make_subclass(torch.Tensor, x),
    "dlpack": lambda x, z: torch.from_dlpack(torch.utils.dlpack.to_dlpack(x)),
    "dlpack of a part": lambda x, z: torch.from_dlpack(torch.utils.dlpack.to_dlpack(x[1:])).sum(),
    "numpy": lambda x, z: torch.from_numpy(x.numpy()),
    "buffer": _asked_again,
    "pickle": lambda x, z: pickle.loads(pickle.dumps(x)),
    "drawn": lambda x, z: torch.nn.Parameter(z, requires_grad=False),
    "drawn dlpack": lambda x, z: torch.from_dlpack(torch.utils.dlpack.to_dlpack(z)),
}


@pytest.mark.parametrize("alias", ALIASES.values(), ids=ALIASES)
def test_memory_of_the_data_under_another_name_is_no_constant(alias: Out) -> None:
    _both(*with_out(alias), rows())


def test_another_object_over_the_data_keeps_the_batched_slice() -> None:
    assert _both(*with_out(ALIASES["Parameter"]), rows()) == "batched slice"


# ------------------------------------------------------------------------------ values read in C++


def test_boundaries_given_as_tensors() -> None:
    cuts = torch.tensor([1, 2, 0, 0, 2, 3, 0, 0, 1, 2, 0, 0, 1, 1])

    def model(x: torch.Tensor, cuts: torch.Tensor, index: torch.Tensor) -> None:
        head = torch.tensor_split(x, cuts[:2])[0].sum()
        with pyro.plate("obs", ROWS, subsample=index):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.deterministic("out", head + 0 * z)

    def guide(x: torch.Tensor, cuts: torch.Tensor, index: torch.Tensor) -> None:
        with pyro.plate("obs", ROWS, subsample=index):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    _both(model, guide, (torch.arange(float(ROWS)), cuts, torch.arange(ROWS)))


@pytest.mark.parametrize("layer", [torch.nn.GRU, torch.nn.LSTM, torch.nn.RNN])
def test_packed_sequences(layer: Any) -> None:
    torch.manual_seed(0)
    net = layer(1, 2, batch_first=True).requires_grad_(False)
    x = torch.randn(10, 3, 1)
    lengths = torch.tensor([1, 2, 3, 1, 3, 3, 3, 3, 1, 2])

    def model(x: torch.Tensor, lengths: torch.Tensor, index: torch.Tensor) -> None:
        with pyro.plate("obs", 10, subsample=index):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def guide(x: torch.Tensor, lengths: torch.Tensor, index: torch.Tensor) -> None:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        padded, _ = pad_packed_sequence(net(packed)[0], batch_first=True, total_length=3)
        with pyro.plate("obs", 10, subsample=index):
            pyro.sample("z", dist.Normal(10 * padded.sum((1, 2)), 0.01))

    _both(model, guide, (x, lengths, torch.arange(10)))


# --------------------------------------------------------------------------------- hidden writes


def _set_data(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    own = torch.zeros(len(x))
    own.data = (z > 2.4).float()
    return own


def _set(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    own = torch.zeros(len(x))
    own.set_((x > 5).float())
    return own


WRITES: dict[str, Out] = {
    "data": _set_data,
    "set_": _set,
    "apply_": lambda x, z: z.clone().apply_(lambda v: min(v, 2.5)),
    "map_": lambda x, z: z.clone().map_(z, lambda v, _: min(v, 2.5)),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writes_that_leave_no_trace_are_for_the_loop(write: Out) -> None:
    model, guide = with_out(write)
    assert _both(model, guide, rows()) == "loop"
    with pytest.raises(CannotSliceError, match="test_hidden.py"):
        sample(model, guide, rows(), engine="sliced", num_samples=9)


def test_a_refusal_that_the_model_swallows_is_one_still() -> None:
    def careful(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        own = torch.zeros(len(x))
        try:
            own.data = (x > 5).float()
        except RuntimeError:
            return own - 1
        return own

    assert _both(*with_out(careful), rows()) == "loop"


# -------------------------------------------------------------------------------------- threads


def _in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _thread_reads(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    seen: list[bool] = []
    _in_thread(lambda: seen.append(bool(x.max() > 5)))
    return torch.full((len(x),), float(seen[0]))


def _thread_writes(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    own = torch.zeros(len(x))
    _in_thread(lambda: own.copy_((x > 5).float()))
    return own


def _pool_reads(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return torch.full((len(x),), float(pool.submit(lambda: bool(x.max() > 5)).result()))


@pytest.mark.parametrize("value", [_thread_reads, _thread_writes, _pool_reads])
def test_threads_of_the_model_are_for_the_loop(value: Out) -> None:
    assert _both(*with_out(value), rows()) == "loop"


# ------------------------------------------------------------------------ loaders and what is read


class Refilling:
    """A loader that fills the same tensors again for each batch."""

    def __init__(self) -> None:
        self.x, self.index = torch.empty(4), torch.empty(4, dtype=torch.long)

    def __iter__(self) -> Iterator[Any]:
        for start in (0, 4, 8):
            self.x.copy_(torch.arange(start, start + 4))
            self.index.copy_(torch.arange(start, start + 4))
            yield self.x, self.index


READS: dict[str, Out] = {
    "numpy": lambda x, z: torch.from_numpy(np.sqrt(x.numpy() ** 2)),
    "constructor": lambda x, z: torch.Tensor([x[0]]),
    "list": lambda x, z: torch.tensor(sum(x.tolist())),
    "text": lambda x, z: torch.tensor(float(str(x.sum().item()))),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_loader_that_fills_the_same_tensors_again(read: Out) -> None:
    model, guide = with_out(read)
    got = {
        engine: sample(model, guide, Refilling(), engine=engine, num_samples=9, obs_plate="obs")
        for engine in ("loop", "auto")
    }
    for key, sites in got["loop"].items():
        np.testing.assert_allclose(got["auto"][key]["out"], sites["out"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_what_python_reads_of_the_data_is_guarded_by_its_content(read: Out) -> None:
    _both(*with_out(read), rows())


# --------------------------------------------------------------------- what is beside the arguments


@pytest.mark.parametrize("engine", ["auto", "sliced"])
def test_state_that_to_args_sets_is_found_at_the_second_minibatch(engine: str) -> None:
    class Model:
        now = 0.0

        def __call__(self, x: torch.Tensor, index: torch.Tensor) -> None:
            with pyro.plate("obs", ROWS, subsample=index):
                pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
                pyro.deterministic("out", 0 * x + self.now)

    model = Model()

    def to_args(batch: Any) -> Any:
        model.now = float(batch[2])
        return batch[:2], {}

    _, guide = with_out(lambda x, z: x)
    x, index = rows()
    batches = [(x[s : s + 4], index[s : s + 4], s) for s in range(0, ROWS, 4)]
    with pytest.raises(RequestError, match=r"minibatch 1 .*beside their arguments"):
        sample(model, guide, batches, to_args=to_args, engine=engine, num_samples=8)
