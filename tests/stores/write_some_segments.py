"""Writes every second segment of a run to a store: ``python write_some_segments.py STORE 0|1``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pyro_posterior.drawing import draw_segments
from pyro_posterior.job import prepare
from pyro_posterior.request import Request
from pyro_posterior.sampling import open_store
from pyro_posterior.session import undisturbed
from toy_models import ConjugateNormal

path, part = sys.argv[1], int(sys.argv[2])
toy = ConjugateNormal(40)
request = Request(
    toy.model,
    toy.guide,
    toy.data,
    num_samples=11,
    return_samples=True,
    batch_size=4,
    seed=1,
    engine="loop",
    store=path,
    show_progress=False,
)
with undisturbed(request) as place:
    job = prepare(request, place)
    with open_store(job) as store:
        for result in draw_segments(job, job.segments[part::2]):
            store.write(result)
