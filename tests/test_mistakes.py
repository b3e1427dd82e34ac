"""Every mistake of the docs' list ends in a message of this library's, with a hint."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from pyro_posterior.functions import module_of_file

for needed in ("zarr", "pandas", "arviz", "anndata"):
    pytest.importorskip(needed)

DOCS = Path(__file__).parents[1] / "docs"
made: Any = module_of_file(DOCS / "mistakes_made.py")


def test_there_are_forty() -> None:
    assert len({mistake.code for mistake in made.MISTAKES}) >= 40


@pytest.mark.parametrize("mistake", made.MISTAKES, ids=lambda mistake: mistake.what)
def test_a_mistake_is_met_with_a_hint(mistake: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = made.message(mistake, tmp_path)
    assert re.search(mistake.says, said), said
    assert len(said) > 30
