"""Writing to a store: memory, speed against plain Zarr, and what summaries alone cost.

    python benchmarks/store.py                       # 100,000 observations, 8 GB of draws
    python benchmarks/store.py --observations 10000

Every measurement runs in a process of its own; the files are removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

VALUES = 20


def _posterior(options: argparse.Namespace, **kwargs: Any) -> Any:
    """Draws of one site with 20 values per observation from a model that costs little."""
    import pyro
    import pyro.distributions as dist
    import torch

    from pyro_posterior import sample_posterior

    def model(x: torch.Tensor) -> None:
        with pyro.plate("obs", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), VALUES), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("obs", len(x)):
            loc = x[:, None] * torch.linspace(-1.0, 1.0, VALUES)
            pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))

    x = torch.linspace(-1.0, 1.0, options.observations)
    return sample_posterior(
        model,
        guide,
        x,
        num_samples=options.draws,
        batch_size=options.batch_size,
        obs_plate="obs",
        seed=0,
        accelerator="cpu",
        show_progress=False,
        **kwargs,
    )


def draws(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """A whole call with ``return_samples=True``, and the part of it spent in writing."""
    from pyro_posterior.stores.write import ZarrStore

    written = 0.0
    write = ZarrStore._write

    def timed(self: Any, *args: Any) -> None:
        nonlocal written
        started = time.perf_counter()
        write(self, *args)
        written += time.perf_counter() - started

    ZarrStore._write = timed  # type: ignore[method-assign]
    started = time.perf_counter()
    posterior = _posterior(options, return_samples=True, store=folder / "draws.zarr")
    seconds = time.perf_counter() - started
    array = posterior["posterior_samples"]["z"]
    return {
        "seconds": seconds,
        "writing": written,
        "GB": array.nbytes / 1e9,
        "GB on disk": _size(folder / "draws.zarr") / 1e9,
        "MB/s of the call": array.nbytes / 1e6 / seconds,
        "MB/s of writing": array.nbytes / 1e6 / written,
        "tier": posterior.plan.engine,  # type: ignore[dict-item]
        "chunk": str(array.chunks),  # type: ignore[dict-item]
    }


def writing(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """The same draws written by the store and by plain Zarr, piece by piece in turn.

    A busy machine is then equally unfair to both. Chunks and codecs are the same; the store also
    writes summaries and marks, and waits until every file is on the disk.
    """
    import torch
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    from pyro_posterior.contracts import RunPlan, SegmentResult, Site
    from pyro_posterior.segments import cut
    from pyro_posterior.stores.create import open_zarr_store
    from pyro_posterior.stores.layout import chunk_shape

    rows = options.batch_size
    sizes = (rows,) * (options.observations // rows)
    site = Site("z", "latent", "local", (rows, VALUES), torch.float32, -2)
    names = ("post_sample_means", "post_sample_stds", "post_sample_q05", "post_sample_q95")
    plan = RunPlan((site,), "obs", options.draws, 0, sizes, names, True, "none")
    segments = cut(plan, rows)
    store = open_zarr_store(folder / "store.zarr", plan, segments, rows, {})
    shape = (options.draws, sum(sizes), VALUES)
    codecs = {
        "plain": [BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
        "plain, default codecs": "auto",
    }
    arrays = {
        name: zarr.create_array(
            folder / f"{name}.zarr",
            shape=shape,
            chunks=chunk_shape(shape, 4, 1, rows, True),
            dtype="f4",
            compressors=chosen,
        )
        for name, chosen in codecs.items()
    }
    noise = np.random.default_rng(0).standard_normal((options.draws, rows, VALUES), np.float32)
    results = {name: {"z": noise[0]} for name in names} | {"posterior_samples": {"z": noise}}
    seconds: dict[str, list[float]] = {"store": [], **{name: [] for name in arrays}}
    for index in range(len(sizes)):
        for name, times in seconds.items():
            started = time.perf_counter()
            if name == "store":
                store.write(SegmentResult(segments[index], results))
                store.missing()  # until it is written
            else:
                arrays[name][:, index * rows : (index + 1) * rows] = noise
            times.append(time.perf_counter() - started)
    found = {f"MB/s, {name}": noise.nbytes * len(t) / 1e6 / sum(t) for name, t in seconds.items()}
    ratios = [a / b for a, b in zip(seconds["store"], seconds["plain"], strict=True)]
    return found | {"store / plain, median": statistics.median(ratios)}


def summaries(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Summaries alone, in memory and in a store, alternating; medians of seven.

    Seconds of the clock, and of the processor, which a busy machine disturbs less.
    """
    seconds: dict[str, list[float]] = {"memory": [], "store": []}
    cpu: dict[str, list[float]] = {"memory": [], "store": []}
    _posterior(options)
    _posterior(options, store=folder / "first.zarr")
    for repeat in range(7):
        for where, times in seconds.items():
            kwargs = {"store": folder / f"s{repeat}.zarr"} if where == "store" else {}
            started, used = time.perf_counter(), time.process_time()
            _posterior(options, **kwargs)
            times.append(time.perf_counter() - started)
            cpu[where].append(time.process_time() - used)
    medians = {where: statistics.median(times) for where, times in seconds.items()}
    ratios = [b / a for a, b in zip(seconds["memory"], seconds["store"], strict=True)]
    used = {where: statistics.median(times) for where, times in cpu.items()}
    return {
        **medians,
        "ratio of medians": medians["store"] / medians["memory"],
        "median of ratios": statistics.median(ratios),
        "processor: memory": used["memory"],
        "processor: store": used["store"],
        "processor: ratio": used["store"] / used["memory"],
    }


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


MEASUREMENTS = {"writing": writing, "draws": draws, "summaries": summaries}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--observations", type=int, default=100_000)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--only", choices=MEASUREMENTS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        found = MEASUREMENTS[options.only](options, options.folder)
        found["peak memory GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(json.dumps(found))
        return
    size = 4 * options.observations * options.draws * VALUES
    free = shutil.disk_usage(options.folder).free
    if free < 3.5 * size:
        sys.exit(f"{size / 1e9:.1f} GB of draws need more room than {free / 1e9:.1f} GB")
    for name in [options.only] if options.only else MEASUREMENTS:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            sizes = ["--observations", options.observations, "--draws", options.draws]
            sizes += ["--batch-size", options.batch_size]
            command = [sys.executable, __file__, "--here", "--only", name, "--folder", folder]
            done = subprocess.run(
                [*command, *map(str, sizes)], stdout=subprocess.PIPE, check=True, text=True
            )
        print(f"{name}:")
        for what, value in json.loads(done.stdout.splitlines()[-1]).items():
            print(f"  {what:24} {value if isinstance(value, str) else format(value, '.4g')}")


if __name__ == "__main__":
    main()
