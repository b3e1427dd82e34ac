"""Blocks of draws are put together from chunks, whatever the chunk and the number of workers."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from pyro_posterior.contracts import Part, Site
from pyro_posterior.draws import chunks, draw_block, workers_of

SITES = (
    Site("number", "latent", "global", (2,), torch.float32),
    Site("constant", "deterministic", "global", (3,), torch.float32),
)


class Counting:
    """A program whose draws are their own numbers; later chunks finish first."""

    tier = "counting"

    def __init__(self, chunk, workers=1, slow=False):
        self.chunk, self.workers, self.slow = chunk, workers, slow
        self.threads = set()

    def part(self):
        return Part(SITES, self.chunk, self.draw, "counting", fixed=frozenset({"constant"}))

    def draw(self, draws):
        if self.slow:
            time.sleep(0.02 / (1 + draws.start))
        self.threads.add(threading.get_ident())
        number = torch.arange(draws.start, draws.stop).float()[:, None].expand(-1, 2) * 1.0
        return {"number": number, "constant": torch.ones(3).expand(len(draws), 3)}

    def describe(self):
        return ""


@pytest.mark.parametrize("num_samples", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("chunk", [8, 16])
def test_every_draw_is_in_its_place(num_samples, workers, chunk):
    program, done = Counting(chunk, workers, slow=workers > 1), []
    with workers_of(program) as pool:
        block, _ = draw_block(program.part(), num_samples, pool, done.append)
    expected = torch.arange(num_samples).float()[:, None].expand(-1, 2)
    assert torch.equal(block["number"], expected)
    assert torch.equal(block["constant"], torch.ones(num_samples, 3))
    assert sum(done) == num_samples
    assert len(done) == len(chunks(num_samples, chunk))


def test_values_that_no_draw_enters_are_not_copied():
    with workers_of(Counting(8)) as pool:
        block, _ = draw_block(Counting(8).part(), 40, pool, lambda _: None)
    assert block["constant"].stride(0) == 0


def test_workers_run_torch_on_one_thread_and_put_it_back():
    threads = torch.get_num_threads()
    with workers_of(Counting(8, workers=2)) as pool:
        assert pool is not None
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads
    with workers_of(Counting(8)) as pool:
        assert pool is None


def test_an_error_in_a_worker_is_raised():
    class Broken(Counting):
        def draw(self, draws):
            if draws.start == 16:
                raise KeyError("broken")
            return super().draw(draws)

    program = Broken(8, workers=2)
    with workers_of(program) as pool, pytest.raises(KeyError, match="broken"):
        draw_block(program.part(), 40, pool, lambda _: None)


def test_chunks_cover_all_draws():
    assert chunks(20, 8) == [range(0, 8), range(8, 16), range(16, 20)]
    assert chunks(8, 8) == [range(0, 8)]
    assert chunks(1, 8) == [range(0, 1)]
