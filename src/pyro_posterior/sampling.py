"""READ FIRST. A request becomes a job, the job is drawn segment by segment, a store keeps the result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyro_posterior.contracts import Store
from pyro_posterior.executors import here, processes, workers
from pyro_posterior.executors.shards import resolve_shard, share
from pyro_posterior.extending.totals import described, with_totals
from pyro_posterior.job import Job, prepare
from pyro_posterior.keywords import asked_of
from pyro_posterior.posterior import Posterior
from pyro_posterior.precision import until_precise
from pyro_posterior.progress import preparing
from pyro_posterior.request import Request, takes_arguments_of
from pyro_posterior.session import undisturbed
from pyro_posterior.stores.opening import open_store
from pyro_posterior.versions import versions
from pyro_posterior.warn import warn


@takes_arguments_of(Request)
def sample_posterior(*args: Any, **kwargs: Any) -> Posterior:
    """Draw from the posterior of a fitted Pyro model and summarise every site.

    Parameters
    ----------
    model, guide
        Pyro model and its fitted guide, called with the same arguments.
    data
        Full data: a tensor or array, dense or sparse (of torch or SciPy), a DataFrame, Series or
        DataArray, or a tuple or dict of these. Or any re-iterable of batches, a list or a
        DataLoader that does not shuffle, which gives the same batches on every pass. Or a function
        without arguments that opens one of these.
    num_samples
        Number of joint draws; "auto": as many as ``mcse`` asks for.
    return_sites, exclude_sites
        Names of the sites to return, or to leave out (``exclude_vars`` is a second name). By
        default all latent and deterministic ones are returned.
    obs_plate
        Name of the plate whose rows are the observations; by default the one that subsamples.
    to_args
        ``to_args(batch) -> (args, kwargs)``, where a batch is not already the model's arguments. It
        gets a copy, and DataFrames and AnnData as they are.
    batch_size
        Observations per minibatch of full data, cut along the first axis; None: all at once.
    accelerator, device
        As in lightning: "auto", "cpu", "gpu", "cuda", "mps", "tpu" or an ``Accelerator``; the
        device by index or name. "all", or a list such as ``[0, 1]``: a process on each draws.
    return_observed
        Also return observed sites, with the values they have in the run.
    return_samples
        Also return all draws, as ``posterior_samples``.
    summary_fun
        Names, as in ``["mean", "sd", "median", "q025", "hdi90", "eti50", "prob>0", "mode"]``, or
        ``{name: fun}``, each called as ``fun(draws, axis=0)``, or a list of both. By default
        means, standard deviations (ddof 0) and exact 5 % and 95 % quantiles. An interval's lower
        and upper end lie along a first axis of its own.
    seed
        The same seed gives the same numbers. None: `pyro_posterior.settings.seed`, or a fresh one,
        kept in the result.
    engine
        "sliced" (fast), "loop" (reference), or "auto": sliced where it gives the loop's numbers.
    draws
        "stratified": the draws of every scalar random number are spread evenly, one in each of
        ``num_samples`` equally likely intervals, so that means and quantiles have far smaller
        errors; each draw alone has the same distribution. "independent": as from the model.
    mcse
        Also give the Monte Carlo error of every summary, as ``post_sample_means_mcse`` and so on.
        The draws are divided into 8 independent parts for it, at a cost: errors of stratified
        draws are then several times larger than those of one part as long as all of them. The
        parts are few: 2.4 errors either side hold the truth in 95 of 100 cases (Student's t with
        7 degrees of freedom). A number, such as 0.05, with ``num_samples="auto"``: hypercubes of
        250 draws are added until the largest error of means, 5 % and 95 % quantiles is no larger,
        in units of the posterior's sd, for 99 % of the values of every site; what was reached is
        in ``posterior.info["precision"]``. The first 1,000 draws tell how many are needed, and a
        run with ``store`` or ``summary_fun`` is made once the number is known.
    max_samples
        Most draws for "auto"; a warning says that they were too few.
    store
        Folder of a Zarr store for results that last; None: in memory. The same call on a store
        that is not finished goes on with it, and draws in the result stay on disk.
    overwrite
        Remove what the store holds and start anew.
    show_progress
        Show a progress bar.
    coords
        ``{dimension: labels}`` of positions along dimensions, as in xarray and ArviZ; ``obs``
        stands for the observations. A pandas index keeps its kind: levels, ordered categories,
        intervals, periods, time zones.
    dims
        ``{site: names}`` of the axes of one draw, all or the last ones; plates name theirs.
    predictive
        Draw observed sites anew given each joint draw, and sites without data or guide: ``y`` is
        then the prediction, ``y_observed`` the data. The data may be new ones; latent variables of
        theirs that the guide cannot give are drawn from the model, and "new" asks for that for
        all latent variables of observations.
    expected
        Also ``y_expected``, the mean of the distribution of ``y`` in each joint draw.
    do
        ``{site: value}``: set sites to values, whatever the guide draws for them.
    derived
        ``{name: fun}``: sites computed from one joint draw, ``fun({site: value}) -> tensor``.
    grouped
        ``{name: (site, labels, "mean" or "sum")}``: totals over groups of observations, by a label
        for each (None: in no group), of any site with a row per observation. Draws of them are
        always kept.
    log_likelihood
        Keep log densities of each observation and of model and guide, for `Posterior.loo` and
        `Posterior.khat`: a number per draw and observation.
    infer_discrete
        Draw discrete sites that the fit summed out (``TraceEnum_ELBO``), given each joint draw and
        the data, and give their probabilities as ``z_probs``; "mode": the most probable values.
    client
        A ``dask.distributed.Client`` whose workers draw; model, guide and data are sent to them
        once (``data`` may be a function without arguments that opens the data there).
    shard
        ``(index, count)``: draw this share of the run, into a ``store`` that all shares write to.
        "auto": as a SLURM array job or torchrun numbers it. Whoever finishes last gets the result;
        that of the others is empty, and its ``unfinished`` says what is missing.
    threads
        Threads that draw side by side on a CPU; None: as many as torch has (`torch.set_num_threads`).
        The numbers do not depend on it.

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
        An argument, the data or the guide does not fit. Nearly all such is found before anything
        is drawn; what a function of the caller's returns, and batches that differ on a later
        pass, only then.
    CannotSliceError
        Under ``engine="sliced"``, where only the loop gives the right numbers.
    StoreError
        The store holds another run, or cannot be written; what was complete is kept.
    """
    return run(asked_of(Request, args, kwargs))


def run(request: Request, about: Mapping[str, Any] | None = None) -> Posterior:
    """The pipeline behind every face of the library; ``about`` goes into the record of the run."""
    if request.num_samples == "auto":
        return until_precise(request, run)
    started = time.perf_counter()
    with undisturbed(request) as place:
        with preparing(request.show_progress):
            job = prepare(request, place)
        with open_store(job) as store:
            job = replace(job, plan=store.plan)
            execute(job, store)
            return finish(job, store, started, about or {})


def execute(job: Job, store: Store) -> None:
    """Draw what the store lacks: here, a share of it here, on several devices or other machines."""
    if job.request.client is not None:
        workers.load().execute(job, store)
    elif len(devices := job.request.devices) > 1:
        processes.execute(job, store, devices)
    else:
        here.execute(job, store, share(job.segments, resolve_shard(job.request.shard)))


def finish(job: Job, store: Store, started: float, about: Mapping[str, Any]) -> Posterior:
    """Take the whole result out of the store, with the record of how it was made.

    Where other shares still have segments to write, the result is empty and says so.
    """
    if store.missing():
        return Posterior({}, job.plan, coords=job.coords, unfinished=store.describe())
    finished = store.finish(
        lambda: {"program": job.program.describe(), "info": {**_info(job, started), **about}}
    )
    if finished.nonfinite:
        counts = ", ".join(f"{name!r}: {count}" for name, count in finished.nonfinite.items())
        warn(
            f"draws that are NaN or infinite, by site: {counts} (of {job.plan.num_samples} draws "
            "of all values); their summaries are NaN or infinite too"
        )
    told = with_totals(
        finished.results, job.plan, finished.partials, described(job.reductions), job.summaries
    )
    return Posterior(
        told.results,
        told.plan,
        nonfinite=finished.nonfinite,
        coords={**(job.coords or {}), **told.coords},
        partials=finished.partials,
        **finished.record,
    )


def _info(job: Job, started: float) -> dict[str, Any]:
    info = {"seconds": time.perf_counter() - started, "versions": versions()}
    totals = described(job.reductions)
    return {**info, "grouped": totals} if totals else info
