"""The README's Python blocks run as printed, each on its own data."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyro
import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.S | re.M)


def run_block(index: int) -> dict:
    pyro.clear_param_store()
    namespace: dict = {"__name__": "readme"}
    # From its place in the file, so that a traceback points into the README.
    code = compile(BLOCKS[index], f"README.md, Python block {index + 1}", "exec")
    exec(code, namespace)
    return namespace


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_block_stands_on_its_own(index: int) -> None:
    run_block(index)


def test_blocks_run_in_order_in_one_namespace() -> None:
    namespace: dict = {"__name__": "readme"}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), namespace)
    schools, people = namespace["posterior"], namespace["result"]
    assert schools["post_sample_means"]["mean"].shape == (12, 1)
    assert people["post_sample_means"]["height"].shape == (50,)
    # Twenty scores with sd 0.5 tell each school's mean to about 0.1; the fit adds a little.
    found = schools["post_sample_means"]["mean"].ravel()
    np.testing.assert_allclose(found, namespace["scores"].mean(1), atol=0.35)
    np.testing.assert_allclose(
        people["post_sample_means"]["centre"], namespace["heights"].mean(), atol=0.1
    )
