"""``run`` draws what the function draws, refuses what does not fit, and goes on where it was cut."""

from __future__ import annotations

import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pyro_posterior.cli import main
from pyro_posterior.errors import StoreError
from pyro_posterior.posterior import Posterior
from pyro_posterior.sampling import sample_posterior


def test_run_writes_what_the_function_gives(call, fits, in_batches, here):
    pytest.importorskip("zarr")
    words = ("--seed", 4, "--store", "s.zarr", "--report", "r.html")
    code, out, err = call("run", f"{fits}:in_batches", *words)
    assert code == 0, err
    assert "Posterior of 40 observations, 24 draws, seed 4, engine loop" in out
    assert "Sampling posterior: 100%" in err
    assert (here / "r.html").read_text().startswith("<!DOCTYPE html>")
    ours = sample_posterior(**in_batches(), seed=4, show_progress=False)
    stored = Posterior.open(here / "s.zarr")
    for key, arrays in ours.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(stored[key][name], array)


def test_flags_win_over_the_function(here, fits, capsys):
    pytest.importorskip("zarr")
    words = [
        *("run", f"{fits}:in_batches", "--num-samples", "5", "--batch-size", "7"),
        *("--exclude-sites", "w", "g", "--return-observed", "--return-samples", "--no-progress"),
        *("--summary", "median=numpy:median", "--summary", f"first={fits}:first_draw"),
        *("--to-args", f"{fits}:halves", "--obs-plate", "cells", "--accelerator", "cpu"),
        *("--device", "auto", "--engine", "loop", "--seed", "1", "--store", "s.zarr"),
    ]
    assert main(words) == 0
    assert "Sampling" not in capsys.readouterr().err
    stored = Posterior.open("s.zarr")
    assert list(stored.sites) == ["z", "y"]
    assert list(stored) == ["post_sample_median", "post_sample_first", "posterior_samples"]
    assert stored.plan.batch_sizes == (7, 7, 7, 7, 7, 5)
    draws = np.asarray(stored["posterior_samples"]["z"])
    assert draws.shape == (5, 40)
    np.testing.assert_array_equal(stored["post_sample_first"]["z"], draws[0])
    assert main([*words, "--seed", "2"]) == 1
    assert main([*words, "--seed", "2", "--overwrite"]) == 0


def test_module_in_the_current_folder(here, fits):
    Path("local_fit.py").write_text(Path(fits).read_text())
    assert main(["run", "local_fit:in_batches", "--report", "r.html", "--no-progress"]) == 0
    sys.modules.pop("local_fit")
    sys.path.remove(str(here))


def test_a_result_that_would_be_lost_is_refused(refused, fits):
    assert "give --store FOLDER, --report FILE" in refused("run", f"{fits}:fitted")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere", "neither a directory nor of the form module:function"),
        ("no_such_module:f", "no module 'no_such_module'"),
        ("no_such_file.py:f", "no file 'no_such_file.py'"),
        ("{fits}:fited", "has no function 'fited'; it has: .*fitted"),
        ("{fits}:two_things", r"must return \(model, guide, data\).*found tuple of 2"),
        ("{fits}:misspelt", "returned 'num_sample', which sample_posterior does not take"),
    ],
)
def test_targets_that_do_not_fit(target, message, here, fits, refused):
    assert re.search(message, refused("run", target.format(fits=fits), "--report", "r.html"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--num-samples", 0), "--num-samples must be at least 1"),
        (("--return-sites", "q"), "--return-sites names 'q'"),
        (("--summary", "numpy:median"), "not of the form NAME=MODULE:FUNCTION"),
        (("--adata", "x.h5ad"), "--adata goes with the directory"),
    ],
)
def test_options_that_do_not_fit(words, message, here, fits, refused):
    assert message in refused(
        "run", f"{fits}:in_batches", *words, "--report", "r.html", "--no-progress"
    )


def test_a_folder_that_is_no_model(here, refused):
    assert "directory without model.pt" in refused("run", here, "--report", "r.html")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as SIGINT")
def test_ctrl_c_says_how_to_go_on_and_going_on_gives_the_same(here, fits, start):
    words = ("run", f"{fits}:slow", "--store", "cut.zarr", "--no-progress")
    pytest.importorskip("zarr")
    started = start(*words, SECONDS_PER_DRAW="0.05")
    deadline = time.monotonic() + 100
    while not (here / "cut.zarr" / "zarr.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130, err
    assert out == ""
    assert err.count("interrupted") == 1
    assert "Traceback" not in err
    assert f"pyro-posterior run {fits}:slow --store cut.zarr --no-progress" in err
    with pytest.raises(StoreError, match="is unfinished"):
        Posterior.open("cut.zarr")
    again = start(*words)
    assert again.wait(timeout=100) == 0, again.communicate()
    stored = Posterior.open("cut.zarr")
    whole = start(*words[:2], "--store", "whole.zarr", "--no-progress", "--seed", str(stored.seed))
    assert whole.wait(timeout=100) == 0, whole.communicate()
    for key, arrays in Posterior.open("whole.zarr").items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(stored[key][name], array)
