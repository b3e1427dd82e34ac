"""What a task frees stays at hand until it ends, and no longer."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pyro_posterior.executors.allocator import _library, freed_memory_kept

#: Pages that the system fills while 16 MB are taken and freed 20 times, before, inside and afterwards.
COUNT = """
import resource
import torch
from pyro_posterior.executors.allocator import freed_memory_kept

def filled():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(4_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = filled()
with freed_memory_kept():
    inside = filled()
print(before, inside, filled())
"""


@pytest.mark.skipif(_library() is None, reason="another C library")
def test_memory_is_filled_by_the_system_once_and_given_back_at_the_end():
    pages = 16_000_000 // os.sysconf("SC_PAGE_SIZE")
    env = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
    words = subprocess.check_output([sys.executable, "-c", COUNT], env=env, text=True).split()
    before, inside, afterwards = map(int, words)
    assert before > 15 * pages
    assert inside < 3 * pages
    assert afterwards > 0.9 * pages


@pytest.mark.parametrize("given", ["", "much"])
def test_nothing_changes_where_nothing_is_asked_for(monkeypatch, given):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", given)
    with pytest.raises(KeyError), freed_memory_kept():
        raise KeyError
