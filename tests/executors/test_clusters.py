"""Schedulers and workers, few, many, slow, started by hand and killed: always the same store."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyro_posterior.cli import main
from store_helpers import assert_same_bytes, complete_segments, run
from toy_models import ConjugateNormal, assert_same

distributed = pytest.importorskip("distributed")
pytest.importorskip("zarr")
pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
CALL = Path(__file__).with_name("dask_call.py")


class ByHand:
    """Processes of Dask on the loopback, as a person would start them; the folder is the test's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = os.pathsep.join(map(str, (TESTS.parent / "src", TESTS)))
        self.running: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def start(self, *words: object, **extra: str) -> subprocess.Popen[bytes]:
        """A process of Python, which ends with the test."""
        env = {**os.environ, "PYTHONPATH": self._path, "OMP_NUM_THREADS": "1", **extra}
        log = (self._folder / f"log {len(self.running)}").open("wb")
        with log:
            self.running.append(
                subprocess.Popen(
                    [sys.executable, *map(str, words)], stdout=log, stderr=log, env=env
                )
            )
        return self.running[-1]

    def scheduler(self) -> subprocess.Popen[bytes]:
        """A scheduler on a free port; `address` is its."""
        file = self._folder / f"scheduler {len(self.running)}.json"
        words = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file)
        found = self.start("-m", "distributed.cli.dask_scheduler", *words)
        while not file.exists() or not file.read_text().endswith("}"):
            assert found.poll() is None, "the scheduler ended"
            time.sleep(0.05)
        self.address = json.loads(file.read_text())["address"]
        return found

    def worker(self, seconds_per_row: float = 0.0) -> subprocess.Popen[bytes]:
        """A worker with one thread."""
        words = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "60")
        return self.start(
            *("-m", "distributed.cli.dask_worker", self.address, *words),
            SECONDS_PER_ROW=str(seconds_per_row),
        )

    def call(self, store: Path, *address: str) -> subprocess.Popen[bytes]:
        """The call of ``dask_call.py``."""
        return self.start(CALL, store, *address)


@pytest.fixture
def by_hand(tmp_path):
    made = ByHand(tmp_path)
    yield made
    for process in made.running:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def wait_for(segments: int, store: Path, process: subprocess.Popen[bytes]) -> None:
    """Until so many segments are complete."""
    while complete_segments(store) < segments:
        assert process.poll() is None, "the call ended before"
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_makes_the_same_store(tmp_path, workers):
    toy = ConjugateNormal(44)
    here = run(toy, toy.data, batch_size=3, store=tmp_path / "here.zarr")
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        path = tmp_path / "there.zarr"
        assert_same(here, run(toy, toy.data, batch_size=3, store=path, client=client))
    assert_same_bytes(tmp_path / "here.zarr", tmp_path / "there.zarr")


def test_a_client_that_is_killed_leaves_a_store_that_the_same_call_finishes(by_hand, tmp_path):
    assert by_hand.call(tmp_path / "here.zarr").wait() == 0
    by_hand.scheduler()
    by_hand.worker(0.2)
    path = tmp_path / "there.zarr"
    client = by_hand.call(path, by_hand.address)
    wait_for(3, path, client)
    client.send_signal(signal.SIGKILL)
    assert client.wait() == -signal.SIGKILL
    assert not (path / "run.json").exists()
    assert by_hand.call(path, by_hand.address).wait() == 0
    assert_same_bytes(tmp_path / "here.zarr", path)


def test_a_scheduler_that_is_killed_leaves_a_store_that_the_same_call_finishes(by_hand, tmp_path):
    assert by_hand.call(tmp_path / "here.zarr").wait() == 0
    scheduler = by_hand.scheduler()
    worker = by_hand.worker(0.2)
    path = tmp_path / "there.zarr"
    client = by_hand.call(path, by_hand.address)
    wait_for(3, path, client)
    scheduler.send_signal(signal.SIGKILL)
    assert client.wait(timeout=120) == 1  # an error, and no waiting for ever
    worker.kill()
    assert not (path / "run.json").exists()
    by_hand.scheduler()
    by_hand.worker()
    assert by_hand.call(path, by_hand.address).wait() == 0
    assert_same_bytes(tmp_path / "here.zarr", path)


def test_a_worker_that_is_slow_changes_nothing(by_hand, tmp_path):
    assert by_hand.call(tmp_path / "here.zarr").wait() == 0
    by_hand.scheduler()
    by_hand.worker()
    by_hand.worker(0.2)
    assert by_hand.call(tmp_path / "there.zarr", by_hand.address).wait() == 0
    assert_same_bytes(tmp_path / "here.zarr", tmp_path / "there.zarr")


def test_the_command_line_draws_on_a_scheduler(by_hand, tmp_path, capsys):
    fits = f"{TESTS / 'cli' / 'fits.py'}:in_batches"
    words = ["run", fits, "--seed", "4", "--no-progress", "--store"]
    assert main([*words, str(tmp_path / "here.zarr")]) == 0
    by_hand.scheduler()
    by_hand.worker()
    with distributed.Client(by_hand.address, timeout=60) as client:
        client.wait_for_workers(1, timeout=60)
    there = [*words, str(tmp_path / "there.zarr"), "--dask", by_hand.address]
    assert main(there) == 0
    assert "Posterior of 40 observations" in capsys.readouterr().out
    assert_same_bytes(tmp_path / "here.zarr", tmp_path / "there.zarr")


SCRIPT = """
import sys
import torch
from store_helpers import run
from toy_models import ConjugateNormal

class Mine(ConjugateNormal):
    def model(self, y, index):
        return super().model(y, index)

if __name__ == "__main__":
    from distributed import Client

    mine = Mine(12)
    with Client(sys.argv[1], timeout=60) as client:
        client.wait_for_workers(1, timeout=60)
        run(mine, mine.data, batch_size=4, client=client)
"""


def test_classes_of_a_script_are_the_same_on_workers_started_by_hand(by_hand, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    by_hand.scheduler()
    by_hand.worker()
    assert by_hand.start(tmp_path / "script.py", by_hand.address).wait() == 0
