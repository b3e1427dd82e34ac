"""Help, versions and exit codes, whatever the command."""

from __future__ import annotations

import inspect
import re

import pytest

from pyro_posterior.cli import main
from pyro_posterior.sampling import sample_posterior

#: Arguments whose flag has another name.
OTHERWISE = {"summary_fun": "--summary", "show_progress": "--no-progress"}

#: Arguments that are no words: they come in the dict that ``module:function`` returns.
IN_THE_DICT = {"model", "guide", "data", "derived", "grouped", "do"}


def test_version(call):
    code, out, err = call("--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"pyro-posterior \S+\n", out)


@pytest.mark.parametrize("name", ["run", "inspect", "report", "export", "demo"])
def test_help_has_an_example_and_the_exit_codes(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    text = capsys.readouterr().out
    assert f"example:\n  pyro-posterior {name} " in text
    assert "130  interrupted" in text


def test_every_option_of_the_function_is_a_flag(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    for name in set(inspect.signature(sample_posterior).parameters) - IN_THE_DICT:
        assert OTHERWISE.get(name, "--" + name.replace("_", "-")) in text


@pytest.mark.parametrize(
    "words",
    [[], ["walk"], ["run"], ["export", "x", "--to", "stone"], ["run", "x:f", "--num", "3"]],
)
def test_wrong_usage_is_two(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert capsys.readouterr().err.startswith("usage: pyro-posterior")


def test_a_target_that_a_flag_took_is_explained(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["run", "--return-sites", "w", "fit.py:fitted"])
    assert "it comes before flags that take several names" in capsys.readouterr().err
