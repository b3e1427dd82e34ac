"""One run: a fresh process, pinned, its threads counted; the same for every side."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers.environments import ROOT

TIME_LIMIT = 3600.0  # seconds for one run


@dataclass(frozen=True)
class Side:
    """One thing to measure."""

    label: str
    task: str  # a function of `peers.worker`
    options: Mapping[str, Any]
    environment: str = "scvi"  # whose Python runs it
    times: int = 1  # measured on fewer draws, its seconds multiplied by this

    def key(self, cpus: int) -> str:
        """Runs with the same key measure the same thing."""
        return f"{self.task} {json.dumps(dict(self.options), sort_keys=True)} cpus={cpus}"


@dataclass(frozen=True)
class Run:
    """What one process reported."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    notes: Mapping[str, Any] = field(default_factory=dict)


class FailedRun(RuntimeError):
    """A process ended without a report."""


def pinned_cpus(count: int) -> list[int]:
    """The first ``count`` of the CPUs this process may use."""
    return sorted(os.sched_getaffinity(0))[:count]


def run_once(side: Side, python: str, cpus: int) -> Run:
    """Measure ``side`` in a new process on the first ``cpus`` CPUs, with as many threads.

    Raises
    ------
    FailedRun
        With the end of what the process wrote.
    """
    pinned = pinned_cpus(cpus)
    threads = str(len(pinned))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT / "src")]),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [python, "-W", "ignore", "-m", "peers.worker", side.task, json.dumps(dict(side.options))],
        env=environment,
        cwd=Path(__file__).resolve().parents[1],
        preexec_fn=lambda: os.sched_setaffinity(0, pinned),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )
    if done.returncode != 0:
        raise FailedRun(f"{side.label} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return Run(**json.loads(done.stdout.strip().splitlines()[-1]))


class Record:
    """All runs so far, by key; kept in a file of one line per run where one is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._runs: dict[str, list[Run]] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                self._runs.setdefault(entry.pop("key"), []).append(Run(**entry))

    def of(self, key: str) -> list[Run]:
        """Runs of one key, in the order made."""
        return self._runs.get(key, [])

    def add(self, key: str, run: Run) -> None:
        """Keep one more."""
        self._runs.setdefault(key, []).append(run)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps({"key": key, **vars(run)}) + "\n")
