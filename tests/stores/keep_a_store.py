"""Writes the small store that is kept for each format version: ``keep_a_store.py FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from pyro_posterior import PyroSampleMixin
from pyro_posterior.labels import full_shape
from pyro_posterior.stores.header import FORMAT_VERSION
from toy_models import ConjugateNormal


class Names:
    """Stands for the names of a table, as AnnData has them."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def to_numpy(self) -> np.ndarray:
        return np.array(self._names, object)


class Table:
    obs_names = Names([f"cell {i}" for i in range(5)])
    var_names = Names(["gene a", "gene b"])


class Host(PyroSampleMixin):
    """A model with a table behind it, in minibatches of two."""

    adata = Table()

    def __init__(self) -> None:
        self.module = ConjugateNormal(5)
        self.module._get_fn_args_from_batch = lambda batch: (batch, {})

    def _make_data_loader(self, batch_size: int) -> list[Any]:
        y, index = self.module.data
        return [(y[low : low + 2], index[low : low + 2]) for low in range(0, 5, 2)]


folder = Path(sys.argv[1])
name = f"version-{FORMAT_VERSION}"
posterior = Host().sample_posterior(
    num_samples=3,
    seed=7,
    return_samples=True,
    engine="loop",
    store=folder / f"{name}.zarr",
    show_progress=False,
    accelerator="cpu",
)
known = {
    "seed": posterior.seed,
    "obs": posterior.coords["obs"].tolist(),
    "shapes": {site.name: list(full_shape(site, 5)) for site in posterior.plan.sites},
    "results": {
        result: {site: np.asarray(array).tolist() for site, array in arrays.items()}
        for result, arrays in posterior.items()
    },
}
(folder / f"{name}.json").write_text(json.dumps(known, indent=1))
