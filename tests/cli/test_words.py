"""Messages name flags, hold no codes that a terminal obeys, and point at a user's own line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_posterior.cli import main
from pyro_posterior.cli.words import in_flags


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("num_samples must be at least 1", "--num-samples must be at least 1"),
        ("draw with return_samples=True", "draw with --return-samples"),
        ("leave them out with exclude_sites=['a', 'b c']", "leave them out with --exclude-sites a b c"),
        ("engine='fast' is unknown", "--engine fast is unknown"),
        ('needs engine="loop".', "needs --engine loop."),
        ("overwrite=True starts anew", "--overwrite starts anew"),
        ("or say what with summary_fun=", "or say what with --summary"),
        ("pass summary_fun={'sd': np.std}", "pass --summary NAME=MODULE:FUNCTION"),
        ("batch_size=128, seed=3", "--batch-size 128, --seed 3"),
        ("show_progress=False", "--no-progress"),
        # Words of English, other packages' names and what is quoted are left alone.
        ("the seed of the store, the device", "the seed of the store, the device"),
        ("site 'my_batch_size_2' is absent", "site 'my_batch_size_2' is absent"),
        ("self.num_samples(3)", "self.num_samples(3)"),
    ],
)  # fmt: skip
def test_arguments_are_said_as_flags(said, shown):
    assert in_flags(said) == shown


def test_a_mistake_of_the_model_is_one_line_with_its_place(call, fits, here):
    words = ("run", f"{fits}:broken", "--report", "r.html", "--no-progress")
    code, out, err = call(*words)
    assert (code, out) == (1, "")
    assert "error: ZeroDivisionError: the model's own mistake" in err
    assert f"raised in {fits}, line " in err
    assert "in bad: raise ZeroDivisionError(" in err
    assert "-v shows the whole traceback" in err
    assert "Traceback" not in err
    code, _, err = call(*words, "-v")
    assert code == 1
    assert "Traceback (most recent call last)" in err
    assert "-v shows" not in err


def test_a_function_that_raises(refused, fits, here):
    said = refused("run", f"{fits}:raises", "--report", "r.html", code=1)
    lines = Path(fits).read_text().splitlines()
    line = next(n for n, words in enumerate(lines, 1) if 'raise KeyError("counts")' in words)
    assert f"KeyError: 'counts'\n  raised in {fits}, line {line}, in raises" in said
    assert "Traceback" not in said


def test_a_function_that_needs_arguments(refused, fits, here):
    said = refused("run", f"{fits}:takes_something", "--report", "r.html")
    assert "takes_something is called without arguments, but has (path)" in said


def test_codes_for_terminals_are_written_out(refused, here):
    said = refused("report", "no\x1b[2Jthing.zarr")
    assert "no\\x1b[2Jthing.zarr" in said
    assert "\x1b" not in said


def test_a_warning_is_one_line(start, fits, here):
    started = start("run", f"{fits}:never_run", "--report", "r.html", "--no-progress")
    _, err = started.communicate(timeout=100)
    assert started.returncode == 0
    assert "pyro-posterior: warning: the guide has never been run" in err
    assert "warn(" not in err


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (["--num-sample", "10"], "unrecognized arguments: --num-sample 10 (did you mean --num-samples?)"),
        (["--return-site=z"], "(did you mean --return-sites?)"),
        (["--num-samples", "ten"], "argument --num-samples: 'ten' is neither a number nor auto"),
    ],
)  # fmt: skip
def test_a_flag_misspelt_or_misfilled(flag, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["run", "fit.py:fitted", "--report", "r.html", *flag])
    assert said in capsys.readouterr().err
