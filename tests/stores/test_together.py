"""Many processes and one store: each ends with the whole result, and none takes another's."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyro_posterior import Posterior
from pyro_posterior.errors import StoreError
from pyro_posterior.stores.create import open_zarr_store
from pyro_posterior.testing.stores import toy_result, toy_run
from store_helpers import Batches, assert_same_bytes, run
from toy_models import ConjugateNormal, assert_same

pytest.importorskip("zarr")

CALL = """
import sys
sys.path.insert(0, sys.argv[2])
from pyro_posterior.stores.create import open_zarr_store
from pyro_posterior.testing.stores import toy_result, toy_run
from store_helpers import run
from toy_models import ConjugateNormal
toy = ConjugateNormal(40)
found = run(toy, toy.data, batch_size=4, seed=int(sys.argv[3]), store=sys.argv[1])
sys.stdout.write(str(float(found["posterior_samples"]["z"][...].sum())))
"""


def calls(store: Path, count: int, seed: int = 1) -> list[subprocess.Popen[str]]:
    folder = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", CALL, str(store), folder, str(seed)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen(command, **pipes) for _ in range(count)]


def test_three_processes_make_the_same_call(tmp_path):
    toy = ConjugateNormal(40)
    alone = run(toy, toy.data, batch_size=4, store=tmp_path / "alone.zarr")
    total = float(alone["posterior_samples"]["z"][...].sum())
    processes = calls(tmp_path / "shared.zarr", 3)
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, said
    assert {float(out) for out, _ in said} == {total}
    assert_same(alone, Posterior.open(tmp_path / "shared.zarr"))
    assert_same_bytes(tmp_path / "alone.zarr", tmp_path / "shared.zarr")


def test_a_run_whose_store_is_taken_over_stops(tmp_path):
    toy, store = ConjugateNormal(), tmp_path / "s.zarr"
    with pytest.raises(StoreError, match=r"taken over by another run \(seed 2"):
        _taken_over(store, toy)
    assert_same(run(toy, toy.data, batch_size=2, seed=2), Posterior.open(store))


def _taken_over(store: Path, other: ConjugateNormal) -> None:
    plan, segments = toy_run()
    with open_zarr_store(store, plan, segments, 3, {}) as mine:
        mine.write(toy_result(plan, segments[0]))
        run(other, other.data, batch_size=2, store=store, seed=2, overwrite=True)
        mine.write(toy_result(plan, segments[1]))


def test_what_is_no_part_of_a_store_is_left_alone(tmp_path):
    toy, store = ConjugateNormal(), tmp_path / "s.zarr"
    held = run(toy, toy.data, batch_size=5, store=store)
    for name in ("notes.txt", "figures/a.png", "post_sample_means/z/mine.npy", "segments/x.json"):
        file = store / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
        with pytest.raises(StoreError, match="what is no part of it: .* Nothing was removed"):
            run(toy, toy.data, batch_size=5, seed=2, store=store, overwrite=True)
        assert file.read_text() == "mine"
        file.unlink()
    (store / "figures").rmdir()
    assert_same(held, Posterior.open(store))
    (store / "post_sample_means/z/c/1").unlink()
    (store / "post_sample_means/z/c/1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="what is no part of it: post_sample_means/z/c/1"):
        run(toy, toy.data, batch_size=5, seed=2, store=store, overwrite=True)


def test_a_call_without_room_leaves_the_store(tmp_path):
    toy, store = ConjugateNormal(), tmp_path / "s.zarr"
    held = run(toy, toy.data, batch_size=5, store=store)
    plan, segments = toy_run()
    huge = replace(plan, num_samples=10**12)
    with pytest.raises(StoreError, match="are to be written to"):
        open_zarr_store(store, huge, segments, 3, {}, overwrite=True)
    assert_same(held, Posterior.open(store))


def test_links_are_not_followed_when_writing(tmp_path):
    toy, store, sizes = ConjugateNormal(), tmp_path / "s.zarr", [2] * 11
    victim = tmp_path / "victim"

    def stop(index: int) -> None:
        if store.exists() and index == 4:
            raise KeyError

    with pytest.raises(KeyError):
        run(toy, Batches(toy, sizes, stop), obs_plate="obs", store=store)
    (store / "post_sample_means/z/c").rename(victim)
    (store / "post_sample_means/z/c").symlink_to(victim)
    before = {file.name: file.read_bytes() for file in victim.iterdir()}
    with pytest.raises(StoreError, match="is a link or a file where a folder belongs"):
        run(toy, Batches(toy, sizes), obs_plate="obs", store=store)
    assert {file.name: file.read_bytes() for file in victim.iterdir()} == before


def test_leftovers_of_a_killed_beginning(tmp_path):
    toy, store = ConjugateNormal(), tmp_path / "s.zarr"
    (store / "segments/locks").mkdir(parents=True)
    (store / "segments/locks/0").touch()
    left = store / f".zarr.json.{'0' * 32}.partial"
    left.write_text("{")
    run(toy, toy.data, batch_size=5, store=store)
    assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_changed_data_and_names_that_meet(tmp_path):
    toy, store = ConjugateNormal(), tmp_path / "s.zarr"
    run(toy, toy.data, batch_size=2, store=store)
    changed = toy.y.clone()
    changed[10:12] += 100
    with pytest.raises(StoreError, match="data: other values in the observations 10 to 11"):
        run(toy, (changed, toy.data[1]), batch_size=2, store=store)
    with pytest.raises(ValueError, match="differs in capitals alone"):
        run(toy, toy.data, store=tmp_path / "t", summary_fun={"a": np.mean, "A": np.median})
