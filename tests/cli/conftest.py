"""The command in this process and in one of its own, and a store to look at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyro
import pytest

from pyro_posterior.cli import main
from pyro_posterior.functions import find_function
from pyro_posterior.sampling import sample_posterior

SOURCE = str(Path(__file__).parents[2] / "src")


@pytest.fixture(autouse=True)
def no_parameters_of_others() -> None:
    """A command begins in a process of its own, where Pyro's store is empty."""
    pyro.clear_param_store()


@pytest.fixture(scope="session")
def fits() -> str:
    """The file of small fits."""
    return str(Path(__file__).parent / "fits.py")


@pytest.fixture(scope="session")
def in_batches(fits):
    """Arguments of `sample_posterior`, as the file's function of that name returns them."""
    return find_function(f"{fits}:in_batches")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder, the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """Starts the command in a process of its own."""

    def _start(*words, **extra):
        path = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
        return subprocess.Popen(
            [sys.executable, "-m", "pyro_posterior", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **extra},
        )

    return _start


@pytest.fixture(scope="session")
def call(start):
    """Runs the command in a process of its own: its code, what it printed, what it said."""

    def _call(*words, **extra):
        process = start(*words, **extra)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    return _call


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail; gives what it said on standard error."""

    def _refused(*words, code=2):
        assert main([str(word) for word in words]) == code
        return capsys.readouterr().err

    return _refused


@pytest.fixture(scope="session")
def store(tmp_path_factory, in_batches) -> Path:
    """A finished store with draws; not to be changed."""
    pytest.importorskip("zarr")
    path = tmp_path_factory.mktemp("stores") / "made.zarr"
    sample_posterior(
        **in_batches(), seed=3, return_samples=True, store=str(path), show_progress=False
    )
    return path
