"""Mistakes made on purpose: each is a call that must end in a message with a hint.

`docs/conf.py` makes the page "Mistakes and what they say" of them, `tests/test_mistakes.py` a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch.utils.data import DataLoader, TensorDataset

from pyro_posterior import Posterior, PyroSampleMixin, sample_posterior
from pyro_posterior.errors import PosteriorError

Y = torch.linspace(-1.0, 1.0, 8)


def model(y: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("obs", 8, subsample_size=len(y)):
        z = pyro.sample("z", dist.Normal(mu, 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def guide(y: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 0.1))
    with pyro.plate("obs", 8, subsample_size=len(y)):
        pyro.sample("z", dist.Normal((mu + y) / 2, 0.7))


def draw(model: Any = model, guide: Any = guide, data: Any = Y, **options: Any) -> Posterior:
    """A small run, with whatever is wrong."""
    return sample_posterior(
        model, guide, data, **{"num_samples": 4, "seed": 0, "show_progress": False, **options}
    )


def lacks_z(y: torch.Tensor) -> None:
    pyro.sample("mu", dist.Normal(0.0, 0.1))


def complex_site(y: torch.Tensor) -> None:
    pyro.deterministic("wave", torch.ones(2, dtype=torch.complex64))
    guide(y)


def _negative(y: torch.Tensor) -> None:
    pyro.sample("mu", dist.Normal(0.0, -1.0))
    with pyro.plate("obs", 8, subsample_size=len(y)):
        pyro.sample("z", dist.Normal(y, 1.0))


def _raises(y: torch.Tensor) -> None:
    pyro.sample("mu", dist.Normal({}["gene"], 1.0))


def _twice(y: torch.Tensor) -> None:
    pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("mu", dist.Normal(0.0, 1.0))


def _no_plate(y: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("obs", 8):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def _ready() -> AutoNormal:
    guide = AutoNormal(model)
    guide(Y)
    return guide


def _svi() -> SVI:
    return SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())


def _package() -> Any:
    import pyro_posterior

    return pyro_posterior


def _set(name: str, value: Any) -> None:
    setattr(_package().settings, name, value)


class Incomplete(PyroSampleMixin):
    """A class that has no module."""


@dataclass(frozen=True)
class Mistake:
    """What someone does, how, and a part of what is said."""

    what: str
    code: str
    do: Callable[[Path], Any]
    says: str  # a regular expression


def _drawn(**options: Any) -> Posterior:
    return draw(**options)


def _cli(*words: str) -> Any:
    import contextlib
    import io

    from pyro_posterior.cli import main

    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        with contextlib.suppress(SystemExit):  # argparse's own
            main(list(words))
    lines = said.getvalue().strip().splitlines()
    first = next(number for number, line in enumerate(lines) if "error: " in line)
    raise PosteriorError("\n".join(lines[first:]))


def _shell(code: str, says: str, what: str, *words: str) -> Mistake:
    return Mistake(what, code, lambda folder: _cli(*(w.format(folder=folder) for w in words)), says)


def _call(what: str, code: str, says: str, **options: Any) -> Mistake:
    return Mistake(what, code, lambda _: draw(**options), says)


def _frame() -> Any:
    import pandas

    return pandas.DataFrame({"y": ["a", "b"]})


MISTAKES: list[Mistake] = [
    _call("no draws", "num_samples=0", "at least 1", num_samples=0),
    _call("a number of draws that is none", "num_samples=1e3", "whole number", num_samples=1e3),
    _call("a seed that is none", 'seed="a"', "whole number", seed="a"),
    _call("an empty minibatch", "batch_size=0", "batch_size", batch_size=0),
    _call("a batch size that is none", "batch_size=2.5", "batch_size", batch_size=2.5),
    _call("an engine that is none", 'engine="fast"', "choose 'auto'", engine="fast"),
    _call("a site that is misspelt", 'return_sites=["zz"]', "Its sites are", return_sites=["zz"]),
    _call("a string for a list", 'return_sites="mu z"', "Its sites are", return_sites="mu z"),
    _call("excluding what is not there", 'exclude_sites=["w"]', "Its sites", exclude_sites=["w"]),
    _call("excluding everything", 'exclude_sites=["mu", "z"]', "no site", exclude_sites=["mu", "z"]),
    _call("a plate that is misspelt", 'obs_plate="cells"', "cells", obs_plate="cells"),
    _call("a guide that lacks a site", "guide of mu alone", "'z'", guide=lacks_z),
    _call("a guide that is no function", 'guide="AutoNormal"', "must be callable", guide="x"),
    _call("a model that is no function", "model=None", "must be callable", model=None),
    _call("no data", "data=None", "data", data=None),
    _call("data of length 0", "data=torch.zeros(0)", "data", data=torch.zeros(0)),
    _call("an empty loader", "data=[]", "data", data=[]),
    _call("tensors of different lengths", "data=(ones(8), ones(7)), batch_size=4", "different first axes",
          data=(torch.ones(8), torch.ones(7)), batch_size=4),
    _call("text for numbers", 'data=DataFrame({"y": ["a", "b"]})', "where the model needs numbers", data=_frame()),
    _call("a loader that shuffles", "DataLoader(..., shuffle=True)", "shuffle",
          data=DataLoader(TensorDataset(Y), batch_size=4, shuffle=True)),
    _call("an iterator that can be read once", "data=iter(batches)", "again|re-iterable|iterator",
          data=iter([(Y,)])),
    _call("a summary that is no function", 'summary_fun={"m": "mean"}', "summary_fun",
          summary_fun={"m": 3}),
    _call("a summary over all axes", 'summary_fun={"s": my_mean}', "Reduce over axis 0 only",
          summary_fun={"s": lambda x, axis: x.mean()}),
    _call("a summary that takes no axis", 'summary_fun={"s": my_function}', "axis",
          summary_fun={"s": lambda x: x.mean(0)}),
    _call("complex numbers", "a complex site", "exclude_sites", guide=complex_site,
          model=lambda y: (pyro.deterministic("wave", torch.ones(2, dtype=torch.complex64)),
                           model(y))),
    _call("a GPU that is not there", 'accelerator="cuda"', "accelerator|cuda", accelerator="cuda")
    if not torch.cuda.is_available()
    else _call("a device that is not there", 'device="cuda:99"', "device", device="cuda:99"),
    _call("an accelerator that is none", 'accelerator="gpuu"', "accelerator", accelerator="gpuu"),
    _call("a share without a store", "shard=(0, 4)", "needs store=", shard=(0, 4)),
    _call("labels of another number", 'coords={"obs": ["a"]}', "obs", coords={"obs": ["a"]}),
    _call("a name of an axis too many", 'dims={"z": ["a", "b", "c"]}', "z",
          dims={"z": ["a", "b", "c"]}),
    Mistake("a key that is no result", 'posterior["means"]', lambda _: draw()["means"],
            "posterior.means"),
    Mistake("draws that were not kept", 'posterior.draws["z"]', lambda _: draw().draws["z"],
            "return_samples=True"),
    Mistake("a summary that was not asked for", 'posterior["post_sample_median"]',
            lambda _: draw()["post_sample_median"], "summary_fun"),
    Mistake("a site of the result that is misspelt", 'posterior.means["zz"]',
            lambda _: draw().means["zz"], "did you mean 'z'"),
    Mistake("ArviZ without draws", "posterior.to_arviz()", lambda _: draw().to_arviz(),
            "return_samples=True"),
    Mistake("a picture of a site that is not there", 'posterior.plot("w")',
            lambda _: draw().plot("w"), "Its sites are|has"),
    Mistake("an AnnData of other cells", "posterior.to_anndata(adata)",
            lambda _: draw().to_anndata(_adata(3)), "observations"),
    Mistake("opening what is no store", 'Posterior.open("nothing")',
            lambda folder: Posterior.open(folder / "nothing"), "nothing"),
    Mistake("opening a folder of something else", 'Posterior.open("folder")',
            lambda folder: Posterior.open(folder), "store|zarr"),
    Mistake("another run into the same store", 'store="s.zarr", seed=1', lambda folder: [
        draw(store=folder / "s.zarr", seed=seed) for seed in (0, 1)], "overwrite=True"),
    _call("an argument of another package", "n_samples=100", "did you mean num_samples", n_samples=4),
    Mistake("data of two tensors, one by one", "sample_posterior(model, guide, x, y)",
            lambda _: sample_posterior(model, guide, Y, Y), "as a tuple"),
    Mistake("no guide", "sample_posterior(model, data=y)",
            lambda _: sample_posterior(model, data=Y), "lacks guide"),
    _call("the class of a guide", "guide=AutoNormal", "make one of it", guide=AutoNormal),
    _call("what fitted the guide", "guide=svi", "svi.guide", guide=_svi()),
    _call("a guide for all rows, and minibatches", "AutoNormal(model), batch_size=3", "create_plates=",
          guide=AutoNormal(model), batch_size=3),
    _call("a guide for other data", "data=y[:5]", "create_plates=", guide=_ready(), data=Y[:5]),
    _call("a model that raises", "data['gene']", "raised by the model", model=_raises),
    _call("two sites of one name", 'pyro.sample("mu", ...) twice', "name of its own", model=_twice),
    _call("a batch dimension without a plate", "Normal(zeros(3), 1) in a plate of 8", "to_event",
          model=_no_plate, guide=AutoNormal(_no_plate)),
    _call("data by another name", 'data={"x": y}', "to_args=", data={"x": Y}),
    _call("the name of a file for data", 'data="cells.h5ad"', "data is a str", data="cells.h5ad"),
    Mistake("AnnData for data", "data=adata", lambda _: draw(data=_adata(8)), "to_args="),
    _call("a list of numbers", "data=[1.0, 2.0]", "torch.tensor", data=[1.0, 2.0]),
    _call("to_args by name", 'to_args="f"', "must be a function", data=[Y], to_args="f"),
    _call("to_args that gives one thing", "to_args=lambda batch: batch", "args, kwargs",
          data=[Y], to_args=lambda batch: batch),
    _call("a summary's name that is none", 'summary_fun=["meen"]', "There are 'mean'",
          summary_fun=["meen"]),
    _call("a function by itself", "summary_fun=np.mean", "list of names", summary_fun=np.mean),
    _call("a site both wanted and not", 'return_sites=["z"], exclude_sites=["z"]', "keep one",
          return_sites=["z"], exclude_sites=["z"]),
    _call("an observed site", 'return_sites=["y"]', "return_observed=True", return_sites=["y"]),
    _call("a device misspelt", 'device="gpu0"', "cuda:0", device="gpu0"),
    _call("the address of a Dask scheduler", 'client="tcp://..."', "Client\\(address\\)",
          client="tcp://localhost:1"),
    _call("errors of four draws", "mcse=True", "at least 16", mcse=True),
    _call("a derived quantity of a site that is not there", 'derived={"d": lambda s: s["q"]}',
          "there are mu", derived={"d": lambda s: s["q"]}),
    _call("groups of another length", 'grouped={"g": ("z", "aabb", "mean")}', "one for each",
          grouped={"g": ("z", list("aabb"), "mean")}),
    _call("setting what is not there", 'do={"q": 1.0}', "Its sites are", do={"q": 1.0}),
    Mistake("LOO without log densities", "posterior.loo()", lambda _: draw().loo(),
            "log_likelihood=True"),
    Mistake("a summary by a wrong attribute", "posterior.mean", lambda _: draw().mean,
            "did you mean 'means'"),
    Mistake("a site for a result", 'posterior["z"]', lambda _: draw()["z"], "one step deeper"),
    Mistake("a store named as a file", 'posterior.save("run.nc")',
            lambda folder: draw().save(folder / "run.nc"), "to_netcdf"),
    Mistake("names of factors that are too few", 'to_anndata(adata, factor_names=["a"])',
            lambda _: draw().to_anndata(_adata(8), factor_names=["a"]), "no site is a table"),
    Mistake("a setting misspelt", "settings.sed = 1", lambda _: _set("sed", 1), "the settings are"),
    Mistake("a setting that does not fit", 'settings.seed = "a"', lambda _: _set("seed", "a"),
            "whole number"),
    Mistake("a name of this package misspelt", "pyro_posterior.sample_postrior",
            lambda _: _package().sample_postrior, "did you mean 'sample_posterior'"),
    Mistake("a mixin without a module", "MyModel().sample_posterior()",
            lambda _: Incomplete().sample_posterior(), "module"),
    Mistake("a model that is not trained by use_in", "use_in(dict)", lambda _: _use_in_dict(),
            "no sample_posterior to replace"),
    _shell("pyro-posterior run nowhere", "neither a directory nor", "a target that is not there",
           "run", "nowhere", "--report", "{folder}/r.html"),
    _shell("pyro-posterior run fit.py:fitted (no fit.py)", "no file", "a file that is not there",
           "run", "{folder}/fit.py:fitted", "--report", "{folder}/r.html"),
    _shell("pyro-posterior run json:loadz", "has no function 'loadz'", "a function misspelt",
           "run", "json:loadz", "--report", "{folder}/r.html"),
    _shell("pyro-posterior run json:loads", "without arguments", "a function that needs an argument",
           "run", "json:loads", "--report", "{folder}/r.html"),
    _shell("pyro-posterior run fit.py:fitted", "give --store", "no place for the result",
           "run", "json:loads"),
    _shell("pyro-posterior run model/ (no --adata)", "model.pt|--adata", "a folder without a model",
           "run", "{folder}", "--report", "{folder}/r.html"),
    _shell("pyro-posterior report nothing.zarr", "no store", "a store that is not there",
           "report", "{folder}/nothing.zarr"),
    _shell("pyro-posterior report s.zarr -o folder/", "it is a folder", "a folder for a file",
           "report", "{folder}/s.zarr", "-o", "{folder}"),
    _shell("pyro-posterior run --return-sites w fit.py:f", "before flags", "the target last",
           "run", "--return-sites", "w", "fit.py:f"),
]  # fmt: skip


def _adata(rows: int) -> Any:
    import anndata

    return anndata.AnnData(np.ones((rows, 2), "float32"))


def _use_in_dict() -> Any:
    from pyro_posterior.scvi import use_in

    return use_in(dict)


def never_run() -> Any:
    """Warned of, since it may be meant."""
    return draw(guide=AutoNormal(model))


def message(mistake: Mistake, folder: Path) -> str:
    """What is said; `AssertionError` where it is not an error of this library."""
    pyro.clear_param_store()
    try:
        mistake.do(folder)
    except PosteriorError as error:
        return re.sub(r" at 0x\w+", "", str(error).replace(str(folder), "folder"))
    except AttributeError as error:  # Python's own, with a hint
        if "did you mean" in str(error):
            return str(error)
        raise
    except Exception as error:
        if notes := getattr(error, "__notes__", ()):  # the user's own error, with a note of ours
            return "; ".join([f"{type(error).__name__}: {str(error).splitlines()[0]}", *notes])
        raise AssertionError(f"{mistake.what}: a raw {type(error).__name__}: {error}") from error
    raise AssertionError(f"{mistake.what}: nothing was said")
