"""Writes every second minibatch of a run to a store: ``python write_some_segments.py STORE 0|1``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pyro_posterior.stores.zarr import ZarrStore
from store_helpers import run
from toy_models import ConjugateNormal

store, part = sys.argv[1], int(sys.argv[2])
needs = ZarrStore.needs_minibatch
ZarrStore.needs_minibatch = lambda self, index: index % 2 == part and needs(self, index)
if part:
    ZarrStore.needs_globals = False
ZarrStore.finish = lambda self, record: sys.exit(0)
toy = ConjugateNormal(40)
run(toy, toy.data, batch_size=4, store=store)
