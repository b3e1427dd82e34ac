"""What happens to stores that are changed, killed, filled up and written by many: counts of each.

    python benchmarks/store_attacks.py                  # all of it, some minutes; full disks need root
    python benchmarks/store_attacks.py --only changes   # or full, reports, kills, processes

Ends with an error where a number was another one, or anything but a `StoreError` came up.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyro_posterior import Posterior
from pyro_posterior.errors import StoreError
from pyro_posterior.stores.read import read_progress
from pyro_posterior.testing.models import ConjugateNormal, draw

PAGE = 4096


def run(store: Path, minibatches: int = 11, **kwargs: Any) -> Posterior:
    """A run of 22 observations, all draws kept."""
    toy = ConjugateNormal()
    options = {"num_samples": 11, "return_samples": True, "batch_size": 22 // minibatches}
    found: Posterior = draw(toy.model, toy.guide, toy.data, store=store, **{**options, **kwargs})
    return found


def numbers(store: Path) -> dict[tuple[str, str], np.ndarray]:
    """All that a store gives whoever opens it."""
    posterior = Posterior.open(store)
    return {(r, n): np.asarray(a) for r, arrays in posterior.items() for n, a in arrays.items()}


def contents(store: Path) -> dict[str, str]:
    """A digest of every file but the record, which has the seconds."""
    return {
        str(file.relative_to(store)): hashlib.blake2b(file.read_bytes()).hexdigest()
        for file in store.rglob("*")
        if file.is_file() and file.name != "run.json"
    }


def changes(folder: Path, count: int) -> None:
    """Single digits and bytes anywhere in a store."""
    chance, store, found = random.Random(0), folder / "s.zarr", Counter[str]()
    labels = {"obs": [f"cell {row}" for row in range(22)]}
    run(store, coords=labels)
    wanted, said = numbers(store), str(Posterior.open(store))
    files = sorted(f for f in store.rglob("*") if f.is_file() and f.stat().st_size)
    for _ in range(count):
        file = chance.choice(files)
        content = file.read_bytes()
        changed = bytearray(content)
        digits = [place for place, byte in enumerate(changed) if chr(byte).isdigit()]
        if file.suffix == ".json" and digits and chance.random() < 0.7:
            place = chance.choice(digits)
            changed[place] = ord(chance.choice("0123456789".replace(chr(changed[place]), "")))
            kind = "a digit"
        else:
            place = chance.randrange(len(changed))
            changed[place] ^= chance.randrange(1, 256)
            kind = "a byte"
        file.write_bytes(changed)
        try:
            now = numbers(store)
        except StoreError:
            found[f"{kind}: StoreError"] += 1
        else:
            assert all(np.array_equal(now[key], wanted[key]) for key in wanted), file
            assert str(Posterior.open(store)) == said, file
            found[f"{kind}: the same numbers"] += 1
        file.write_bytes(content)
    print(f"{count} changes in {len(files)} files: {dict(found)}")


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own, in memory."""
    where = folder / "disk"
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def full(folder: Path, step: int) -> None:
    """Disks with room for any number of pages, or of files, and more room afterwards."""
    whole, options = folder / "whole.zarr", {"minibatches": 2, "return_sites": ["z"]}
    run(whole, **options)
    wanted = contents(whole)
    pages = sum(-(-file.stat().st_size // PAGE) for file in whole.rglob("*") if file.is_file())
    names = sum(1 for _ in whole.rglob("*"))
    for kind, most, unit in (("size", pages, PAGE), ("nr_inodes", names, 1)):
        found = Counter[str]()
        for left in range(1, most + 5, step):
            with disk(folder, f"{kind}={left * unit}") as where:
                store = where / "s.zarr"
                try:
                    run(store, **options)
                    found["enough"] += 1
                except StoreError:
                    found["StoreError"] += 1
                kept = -1
                with contextlib.suppress(StoreError):
                    kept = read_progress(store).complete
                found["some segments kept"] += kept > 0
                more = {"size": "size=64m", "nr_inodes": "nr_inodes=0"}[kind]
                subprocess.run(["mount", "-o", f"remount,{more}", str(where)], check=True)
                run(store, **options)
                assert contents(store) == wanted, (kind, left)
                found["byte-equal after going on"] += 1
        print(f"full disks, {kind} 1 to {most + 4} by {step}: {dict(found)}")


def reports(folder: Path, steps: int) -> None:
    """Reports and tables written over older ones where there is no room."""
    from pyro_posterior.cli.entry import main as command

    store = folder / "s.zarr"
    run(store)
    kinds = {"report": "html", "csv": "csv"}
    for kind, ending in kinds.items():
        name = f"old.{ending}"
        words = ["report"] if kind == "report" else ["export", "--to", kind]

        def write(path: Path, words: list[str] = words) -> int:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                return command([*words, str(store), "-o", str(path)])

        assert write(folder / name) == 0
        need, found = (folder / name).stat().st_size, Counter[str]()
        for step in range(steps):
            pages = -(-need // PAGE) + 1 + (-(-need // PAGE) + 2) * step // steps
            with disk(folder, f"size={pages * PAGE}") as where:
                shutil.copy(folder / name, where / name)
                before = (where / name).read_bytes()
                if write(where / name) == 0:
                    found["enough"] += 1
                    continue
                assert (where / name).read_bytes() == before
                assert [file.name for file in where.iterdir()] == [name]
                found["an error, the old file intact and nothing beside it"] += 1
        print(f"full disks, {kind}, {steps} sizes: {dict(found)}")


def child(work: Callable[[], object]) -> int:
    """Do something in a process of its own; its number."""
    number = os.fork()
    if number == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return number


def ended(number: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def kills(folder: Path, count: int) -> None:
    """SIGKILL at any moment, the beginning and the end included, and the same call again."""
    chance, whole = random.Random(0), folder / "whole.zarr"
    started = time.monotonic()
    assert ended(child(lambda: run(whole))) == 0
    took, wanted, done, stores = time.monotonic() - started, contents(whole), 0, 0
    at = Counter[str]()
    while done < count:
        store, stores, before = folder / f"{stores}.zarr", stores + 1, 0
        for _ in range(5):
            number = child(lambda store=store: run(store))
            time.sleep(chance.uniform(0.2, 1.0) * took)
            os.kill(number, signal.SIGKILL)
            if ended(number) != -signal.SIGKILL:
                break
            done += 1
            complete = -1
            with contextlib.suppress(StoreError):
                complete = read_progress(store).complete
            assert complete >= before, "a complete segment was lost"
            before = max(complete, 0)
            at["before the header" if complete < 0 else f"{before} segments"] += 1
        assert ended(child(lambda store=store: run(store))) == 0
        assert contents(store) == wanted, store
        shutil.rmtree(store)
    print(
        f"{done} kills of {stores} stores, all byte-equal afterwards; at {dict(sorted(at.items()))}"
    )


def processes(folder: Path, rounds: int, many: int = 4) -> None:
    """The same call by several at once, of whom one is killed in every other round."""
    chance, whole = random.Random(0), folder / "whole.zarr"
    started = time.monotonic()
    assert ended(child(lambda: run(whole))) == 0
    took, wanted, found = time.monotonic() - started, contents(whole), Counter[str]()
    for turn in range(rounds):
        store = folder / f"{turn}.zarr"
        running = [child(lambda store=store: run(store)) for _ in range(many)]
        if turn % 2:
            time.sleep(chance.uniform(0.3, 1.0) * many * took / 2)
            os.kill(running[0], signal.SIGKILL)
        for code in map(ended, running):
            found["ended well" if code == 0 else f"ended with {code}"] += 1
            assert code in (0, -signal.SIGKILL)
        assert contents(store) == wanted
        shutil.rmtree(store)
    print(f"{rounds} rounds of {many} processes, all stores byte-equal: {dict(found)}")


def main() -> None:
    """Do all, or one."""
    sizes = {"changes": 500, "full": 1, "reports": 12, "kills": 60, "processes": 10}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sizes)
    parser.add_argument("--count", type=int, help="of changes, kills, ...; step between sizes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run_all = {f.__name__: f for f in (changes, full, reports, kills, processes)}
    for name in [options.only] if options.only else sizes:
        with tempfile.TemporaryDirectory() as folder:
            count = options.count if options.only and options.count else sizes[name]
            started = time.monotonic()
            run_all[name](Path(folder), count)
            print(f"  {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
