"""What an installation of the wheel must do with the core's packages alone; prints what it tried.

Run with an interpreter that has the wheel and what pip installed for it, and nothing else:
``build/core/bin/python -I .ci/core_alone.py``. `make wheel` makes such an environment.
"""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import metadata

OPTIONAL = (
    *("anndata", "arviz", "dask", "matplotlib", "pandas", "scanpy", "scvi", "vl_convert"),
    *("xarray", "zarr"),
)


def main() -> None:
    absent = [name for name in OPTIONAL if importlib.util.find_spec(name) is None]
    assert absent == list(OPTIONAL), f"not the core alone: {set(OPTIONAL) - set(absent)}"

    import pyro
    import pyro.distributions as dist
    import torch

    import pyro_posterior
    from pyro_posterior.errors import MissingPackageError
    from pyro_posterior.exports.arviz import to_arviz
    from pyro_posterior.exports.pandas import to_pandas
    from pyro_posterior.exports.plots import plot_site
    from pyro_posterior.exports.xarray import to_xarray

    assert metadata("pyro-posterior")["Version"] == pyro_posterior.__version__
    for name in pyro_posterior.__all__:
        assert getattr(pyro_posterior, name) is not None, name
    print(f"version {pyro_posterior.__version__}, {len(pyro_posterior.__all__)} public names")

    y = torch.linspace(-1.0, 1.0, 7)

    def model(y: torch.Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("obs", 7, subsample_size=len(y)):
            z = pyro.sample("z", dist.Normal(mu, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(y: torch.Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 0.1))
        with pyro.plate("obs", 7, subsample_size=len(y)):
            pyro.sample("z", dist.Normal((mu + y) / 2, 0.5**0.5))

    for engine in ("loop", "sliced"):
        found = pyro_posterior.sample_posterior(
            model, guide, y, num_samples=400, seed=1, engine=engine, batch_size=3,
            show_progress=False,
        )  # fmt: skip
        means = found["post_sample_means"]["z"]
        assert means.shape == (7,)
        assert all(abs(a - b / 2) < 6 * math.sqrt(0.5 / 400) for a, b in zip(means, y, strict=True))
    print("drawn by both engines")

    with tempfile.TemporaryDirectory() as folder:
        store = os.path.join(folder, "s.zarr")
        asked: list[Callable[[], object]] = [
            lambda: pyro_posterior.sample_posterior(model, guide, y, num_samples=4, store=store),
            lambda: to_xarray(found),
            lambda: to_pandas(found, "z"),
            lambda: to_arviz(found),
            lambda: plot_site(found, "z"),
            lambda: found.report(os.path.join(folder, "report.html")),
        ]
        told: list[str] = []
        for each in asked:
            try:
                each()
            except MissingPackageError as error:
                told.append(str(error))
            else:
                raise AssertionError("an optional package was not missed")

    for words in told:
        assert "pip install 'pyro-posterior[" in words, words
        print(f"without its package: {words}")

    command = os.path.join(os.path.dirname(sys.executable), "pyro-posterior")
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"pyro-posterior {pyro_posterior.__version__}\n", shown
    print("the core alone: passed")


if __name__ == "__main__":
    main()
