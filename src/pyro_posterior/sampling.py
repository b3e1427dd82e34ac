"""READ FIRST. `sample_posterior` wires the steps: batches, sites, program, draws, summaries, store."""

from __future__ import annotations

import functools
import logging
import math
import numbers
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer.autoguide.effect import AutoMessenger
from tqdm.auto import tqdm

from pyro_posterior import settings
from pyro_posterior.batches import Batches, ToArgs, leading_sizes, open_batches
from pyro_posterior.contracts import (
    Engine,
    Minibatch,
    Program,
    Results,
    RunPlan,
    Site,
    Store,
    SummaryFunction,
)
from pyro_posterior.devices import resolve_device
from pyro_posterior.draws import draw_block, workers_of
from pyro_posterior.errors import RequestError
from pyro_posterior.joint import JointSampler
from pyro_posterior.parameters import check_fitted, modules_of, own_parameters, placed, stored_names
from pyro_posterior.posterior import Posterior
from pyro_posterior.program import check_engine, look_first, make_program
from pyro_posterior.randomness import fresh_seed, untouched_random_state
from pyro_posterior.reductions.plan import SummaryPlan, plan_summaries
from pyro_posterior.sites import SiteTable, read_sites
from pyro_posterior.stores.digest import identity_of
from pyro_posterior.stores.memory import MemoryStore
from pyro_posterior.stores.zarr import open_zarr_store, seed_of_unfinished

logger = logging.getLogger(__name__)


def sample_posterior(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    data: Any,
    *,
    num_samples: int = 1000,
    return_sites: Iterable[str] | None = None,
    exclude_sites: Iterable[str] | None = None,
    obs_plate: str | None = None,
    to_args: ToArgs | None = None,
    batch_size: int | None = None,
    accelerator: Any = "auto",
    device: int | str | torch.device = "auto",
    return_observed: bool = False,
    return_samples: bool = False,
    summary_fun: Mapping[str, SummaryFunction] | None = None,
    seed: int | None = None,
    engine: Engine = "auto",
    store: str | Path | None = None,
    overwrite: bool = False,
    show_progress: bool = True,
) -> Posterior:
    """Draw from the posterior of a fitted Pyro model and summarise every site.

    Parameters
    ----------
    model, guide
        Pyro model and its fitted guide, called with the same arguments.
    data
        A tensor, or a tuple or dict of tensors (full data), or any re-iterable of batches such as
        a DataLoader that does not shuffle.
    num_samples
        Number of joint draws.
    return_sites, exclude_sites
        Names of the sites to return, or to leave out. By default all latent and deterministic
        ones are returned.
    obs_plate
        Name of the plate whose rows are the observations; by default the one that subsamples.
    to_args
        ``to_args(batch) -> (args, kwargs)``, where a batch is not already the model's arguments.
    batch_size
        Observations per minibatch of full data, cut along the first axis; None: all at once.
    accelerator, device
        As in lightning: "auto", "cpu", "gpu", "cuda", "mps", "tpu" or an ``Accelerator``; the
        device by index or name.
    return_observed
        Also return observed sites, with the values they have in the run.
    return_samples
        Also return all draws, as ``posterior_samples``.
    summary_fun
        ``{name: fun}``, each called as ``fun(draws, axis=0)``. By default means, standard
        deviations (ddof 0) and exact 5 % and 95 % quantiles.
    seed
        The same seed gives the same numbers. None: `pyro_posterior.settings.seed`, or a fresh one,
        kept in the result.
    engine
        "sliced" (fast), "loop" (reference), or "auto": sliced where it gives the loop's numbers.
    store
        Folder of a Zarr store for results that last; None: in memory. The same call on a store
        that is not finished goes on with it, and draws in the result stay on disk.
    overwrite
        Remove what the store holds and start anew.
    show_progress
        Show a progress bar.

    Returns
    -------
    Posterior
        A dict ``{"post_sample_means": {site: array}, "post_sample_stds": ..., "post_sample_q05":
        ..., "post_sample_q95": ...}`` of NumPy arrays shaped as one draw of the site, the axis of
        the observations in the loader's order; with ``return_samples`` also
        ``"posterior_samples"``, shaped ``(num_samples, *site shape)``.

    Raises
    ------
    RequestError
        An argument, the data or the guide does not fit; nothing has been drawn.
    CannotSliceError
        Under ``engine="sliced"``, where only the loop gives the right numbers.
    StoreError
        The store holds another run, or cannot be written; what was complete is kept.
    """
    return run(
        model,
        guide,
        lambda device: open_batches(data, batch_size, to_args, device),
        num_samples=num_samples,
        return_sites=return_sites,
        exclude_sites=exclude_sites,
        obs_plate=obs_plate,
        accelerator=accelerator,
        device=device,
        return_observed=return_observed,
        return_samples=return_samples,
        summary_fun=summary_fun,
        seed=seed,
        engine=engine,
        store=store,
        overwrite=overwrite,
        show_progress=show_progress,
    )


def run(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    open_data: Callable[[torch.device], Batches],
    *,
    num_samples: int,
    return_sites: Iterable[str] | None,
    exclude_sites: Iterable[str] | None,
    obs_plate: str | None,
    accelerator: Any,
    device: int | str | torch.device,
    return_observed: bool,
    return_samples: bool,
    summary_fun: Mapping[str, SummaryFunction] | None,
    seed: int | None,
    engine: Engine,
    store: str | Path | None,
    show_progress: bool,
    overwrite: bool = False,
    model_draws: bool = False,
    trained: bool = False,
    coords: Mapping[str, Any] | None = None,
) -> Posterior:
    """The pipeline behind `sample_posterior` and the mixin, step by step."""
    started = time.perf_counter()
    num_samples = _check_count(num_samples)
    seed = _check_seed(seed, None if overwrite else store)
    check_engine(engine)
    summaries = plan_summaries(summary_fun)
    where = resolve_device(accelerator, device)
    modules = modules_of(model, guide)
    with ExitStack() as stack:
        # Under the caller's inference mode operations would come composite, dropout for one.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(untouched_random_state())
        stack.enter_context(placed(modules, where))
        stack.enter_context(own_parameters(modules, where))
        batches = open_data(where)
        first, second = batches.first_two()
        stored = stored_names()
        _set_up_guide(guide, first, seed)
        sampler = JointSampler(model, guide, seed, obs_plate)
        look = look_first(engine, sampler, first)
        table = read_sites(
            sampler,
            first,
            (look.guide_trace, look.trace),
            needs_plate=second is not None,
            model_draws=model_draws,
        )
        seen = look.record
        del look  # its traces hold all that the model computed
        check_fitted(stored, modules, trained=trained)
        sites = table.select(return_sites, exclude_sites, return_observed)
        _check_real(sites, summary_fun)
        sizes: tuple[int, ...] = (table.first_size,)
        last = first
        if second is not None:
            sizes, last = batches.plan(_counter(sampler, table, first), table.first_size)
        plan = RunPlan(
            sites=sites,
            obs_plate=table.obs_plate,
            num_samples=num_samples,
            seed=seed,
            batch_sizes=sizes,
            summaries=summaries.names,
            return_samples=return_samples,
            engine=engine,
        )
        sampler = replace(sampler, obs_plate=table.obs_plate, local_names=table.local_names)
        program = make_program(engine, sampler, seen, (first, last), sites, num_samples, where)
        plan = replace(plan, engine=program.tier)
        kept: Store = MemoryStore(plan)
        if store is not None:
            identity = identity_of(sampler, modules, (first, last), where, summary_fun)
            kept = open_zarr_store(store, plan, identity, coords=coords, overwrite=overwrite)
        needed: Iterable[Minibatch] = (first,)
        if second is not None and plan.local_sites:
            needed = _as_planned(batches, len(sizes))
        _draw_all(plan, needed, program, summaries, kept, show_progress)
    record: dict[str, Any] = {
        "program": program.describe(),
        "info": _info(time.perf_counter() - started),
    }
    results = kept.finish(record)
    plan = replace(plan, engine=program.tier)  # it may have changed on the way
    _warn_nonfinite(kept.nonfinite, plan)
    return Posterior(results, plan, nonfinite=kept.nonfinite, coords=coords, **record)


def _draw_all(
    plan: RunPlan,
    batches: Iterable[Minibatch],
    program: Program,
    summaries: SummaryPlan,
    store: Store,
    show_progress: bool,
) -> None:
    """Draw, summarise and store minibatch by minibatch what the store does not have yet."""
    bar = _progress_bar(plan, store, show_progress)
    with _telling_what_is_kept(store), bar, workers_of(program) as pool:
        for minibatch in batches:
            sites = _needed(plan, store, minibatch.index)
            if not sites:
                continue
            results: Results = {name: {} for name in plan.result_names}
            tally: dict[str, int] = {}
            for part in program.parts(minibatch, sites):
                size = _values(part.sites, plan, minibatch.index)
                progressed = functools.partial(_advance, bar, size)
                block = draw_block(part, plan.num_samples, pool, progressed)
                _check_rows(block, part.sites, plan, minibatch.index)
                _reduce(block, part.sites, plan, summaries, program.workers, results, tally)
            local, rest = _by_scope(results, sites)
            if rest:
                store.write_globals(rest, _only(tally, plan.global_sites))
            if local:
                store.write_minibatch(minibatch.index, local, _only(tally, plan.local_sites))


def _as_planned(batches: Iterable[Minibatch], planned: int) -> Iterator[Minibatch]:
    """The minibatches, as long as there are as many as there were when the run was planned."""
    given = 0
    for minibatch in batches:
        given += 1
        if given > planned:
            break
        yield minibatch
    if given != planned:
        raise RequestError(
            f"data gave {'more' if given > planned else given} minibatches when drawing where it "
            f"had given {planned}: every pass over it must give the same batches"
        )


def _check_rows(
    block: dict[str, torch.Tensor], sites: Sequence[Site], plan: RunPlan, index: int
) -> None:
    """Raise where a minibatch is not as long as it was when the run was planned."""
    for site in sites:
        if site.batch_axis is None:
            continue
        found, planned = block[site.name].shape[site.batch_axis], plan.batch_sizes[index]
        if found != site.rows(planned):
            raise RequestError(
                f"site {site.name!r} has {found} rows in minibatch {index}, which was counted as "
                f"{planned} observations (so {site.rows(planned)} rows): every pass over the data "
                "must give the same batches"
            )


def _needed(plan: RunPlan, store: Store, index: int) -> tuple[Site, ...]:
    """The sites to draw in minibatch ``index``, in the model's order."""
    rest, local = index == 0 and store.needs_globals, store.needs_minibatch(index)
    return tuple(site for site in plan.sites if (rest if site.scope == "global" else local))


def _reduce(
    block: dict[str, torch.Tensor],
    sites: Sequence[Site],
    plan: RunPlan,
    summaries: SummaryPlan,
    workers: int,
    results: Results,
    tally: dict[str, int],
) -> None:
    """Add summaries (and draws) of one block to ``results``, freeing the draws as it goes.

    Non-finite draws are counted by site in ``tally``.
    """
    for site in sites:
        draws = block.pop(site.name)
        summarised = summaries.compute(draws, workers=workers)
        for name, value in summarised.values.items():
            results[name][site.name] = value
        if plan.return_samples:
            host = draws.cpu()  # NumPy has no bfloat16
            host = host.float() if host.dtype == torch.bfloat16 else host
            results["posterior_samples"][site.name] = host.numpy()
        if summarised.nonfinite:
            tally[site.name] = summarised.nonfinite


def _by_scope(results: Results, sites: Sequence[Site]) -> tuple[Results, Results]:
    """Results of the local sites, and of the global ones (empty where there are none)."""

    def only(scope: str) -> Results:
        names = [site.name for site in sites if site.scope == scope]
        if not names:
            return {}
        return {key: {name: arrays[name] for name in names} for key, arrays in results.items()}

    return only("local"), only("global")


# ---------------------------------------------------------------------------------- checks and words


def _check_count(num_samples: Any) -> int:
    if not isinstance(num_samples, numbers.Integral) or isinstance(num_samples, bool):
        raise RequestError(f"num_samples must be a whole number, found {num_samples!r}")
    if num_samples < 1:
        raise RequestError(f"num_samples must be at least 1, found {num_samples}")
    return int(num_samples)


def _only(tally: Mapping[str, int], sites: Sequence[Site]) -> dict[str, int]:
    return {site.name: tally[site.name] for site in sites if site.name in tally}


@contextmanager
def _telling_what_is_kept(store: Store) -> Iterator[None]:
    """Whatever ends the run early carries a note on how to go on."""
    try:
        yield
    except BaseException as error:
        if kept := store.describe():
            logger.warning("interrupted: %s", kept)
            error.add_note(kept)
        raise


def _check_real(sites: Sequence[Site], summary_fun: Any) -> None:
    found = [site.name for site in sites if site.dtype.is_complex]
    if found and summary_fun is None:
        raise RequestError(
            f"the sites {found} have complex numbers, of which there are no quantiles: leave them "
            f"out with exclude_sites={found}, or say what is wanted with summary_fun="
        )


def _check_seed(seed: Any, store: str | Path | None) -> int:
    seed = settings.seed if seed is None else seed
    if seed is None and store is not None:
        seed = seed_of_unfinished(store)
    if seed is None:
        return fresh_seed()
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool):
        raise RequestError(f"seed must be a whole number or None, found {seed!r}")
    return int(seed)


def _set_up_guide(guide: Any, first: Minibatch, seed: int) -> None:
    """Autoguides make their parameters on their first call; their random ones follow the seed."""
    messenger = isinstance(guide, AutoMessenger) and not list(guide.parameters())
    if messenger or getattr(guide, "prototype_trace", True) is None:
        logger.warning(
            "the guide has never been run: it is set up on the first minibatch and its parameters "
            "are the initial ones, not fitted ones"
        )
        torch.manual_seed(seed % 2**63)
        with torch.no_grad():
            guide(*first.args, **first.kwargs)


def _counter(
    sampler: JointSampler, table: SiteTable, first: Minibatch
) -> Callable[[Minibatch], int]:
    """A function that counts the observations of a minibatch: rows of the tensors that had as many.

    Where these disagree (one had as many by chance) the model is run and its plate tells.
    """
    positions = [i for i, size in enumerate(leading_sizes(first)) if size == table.first_size]

    def by_rows(minibatch: Minibatch) -> int:
        sizes = leading_sizes(minibatch)
        found = {sizes[i] for i in positions if i < len(sizes)}
        return found.pop() if len(found) == 1 else by_plate(minibatch)

    def by_plate(minibatch: Minibatch) -> int:
        _, trace = sampler.traces(minibatch, 0)
        frames = [f for node in trace.nodes.values() for f in node.get("cond_indep_stack", ())]
        return next((int(f.size) for f in frames if f.name == table.obs_plate), 1)

    return by_rows


def _values(sites: Iterable[Site], plan: RunPlan, index: int) -> int:
    """Number of values that one draw of these sites has in a minibatch."""
    total = 0
    for site in sites:
        shape = list(site.shape)
        if site.batch_axis is not None:
            shape[site.batch_axis] = site.rows(plan.batch_sizes[index])
        total += math.prod(shape)
    return total


def _advance(bar: Any, size: int, draws: int) -> None:
    bar.update(size * draws)


def _progress_bar(plan: RunPlan, store: Store, show: bool) -> Any:
    """Counts values drawn, so that minibatches and sites of all sizes go at one speed."""
    minibatches = range(len(plan.batch_sizes) if plan.local_sites else 1)
    per_draw = sum(_values(_needed(plan, store, index), plan, index) for index in minibatches)
    return tqdm(
        total=per_draw * plan.num_samples,
        desc="Sampling posterior",
        unit=" values",
        unit_scale=True,
        disable=not show,
    )


def _warn_nonfinite(tally: Mapping[str, int], plan: RunPlan) -> None:
    if tally:
        counts = ", ".join(f"{name!r}: {count}" for name, count in tally.items())
        logger.warning(
            "draws that are NaN or infinite, by site: %s (of %d draws of all values); their "
            "summaries are NaN or infinite too",
            counts,
            plan.num_samples,
        )


def _info(seconds: float) -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("pyro-posterior")
    except PackageNotFoundError:
        own = "unknown"
    versions = {
        "pyro-posterior": own,
        "pyro-ppl": pyro.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    return {"seconds": seconds, "versions": versions}
