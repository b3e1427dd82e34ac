"""pyro-posterior beside its peers: measures the cases and prints one table.

    python benchmarks/side_by_side.py [case ...] [--quick] [--profile]

Every run is a fresh process, pinned to the same CPUs with the same number of threads on every
side; the clock covers the whole call, and memory is the peak above what the process held before.
Sides take turns. Peers live in environments of their own, which the first run makes (.venvs/).
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path

from peers.cases import CASES, Case
from peers.environments import PACKAGES, python_of
from peers.runs import FailedRun, Record, Run, Side, pinned_cpus, run_once
from peers.table import cost_of, lines_of, printed

STAGES_HEAD = ("stage", "CPU seconds", "share")


def main() -> None:
    """Parse, measure, print."""
    args = _arguments()
    known = {case.name: case for case in CASES}
    cases = [known[name] for name in args.case] or list(CASES)
    if args.cpus:
        cases = [replace(case, cpus=args.cpus) for case in cases]
    if args.quick:
        cases = [_smaller(case) for case in cases]
    given = {"scvi": args.python_scvi, "numpyro": args.python_numpyro}
    needed = {side.environment for case in cases for group in case.sides for side in group}
    if args.profile:
        needed = {"scvi"}
    pythons = {name: python_of(name, given[name]) for name in PACKAGES if name in needed}
    print(_machine(), flush=True)
    if args.profile:
        for case in cases:
            _profile(case, pythons)
        return
    record = Record(args.record)
    rows = []
    for case in cases:
        measure(case, pythons, record, 1 if args.quick else args.runs, args.theirs)
        rows += lines_of(case, record)
        print("\n".join(" | ".join(row) for row in lines_of(case, record)), file=sys.stderr)
    print(printed(rows))


def measure(
    case: Case, pythons: dict[str, str], record: Record, rounds: int, theirs: int | None
) -> None:
    """Run the sides in turn until each has ``rounds`` runs, the others ``theirs`` where given.

    Of alternatives, all are run in the first round and only the fastest later.
    """
    for turn in range(1, rounds + 1):
        for place, group in enumerate(case.sides):
            if place and theirs is not None and case.compare and turn > theirs:
                continue
            for side in _worth_running(case, group, record, turn):
                _run_upto(turn, side, case.cpus, pythons[side.environment], record)


def _worth_running(
    case: Case, group: tuple[Side, ...], record: Record, turn: int
) -> tuple[Side, ...]:
    if turn == 1:
        return group
    timed = [(record.of(side.key(case.cpus)), side) for side in group]
    seconds = [(cost_of(side, runs).seconds, i) for i, (runs, side) in enumerate(timed) if runs]
    return (group[min(seconds)[1]],) if seconds else ()


def _run_upto(count: int, side: Side, cpus: int, python: str, record: Record) -> None:
    key = side.key(cpus)
    if len(record.of(key)) >= count:
        return
    try:
        run = run_once(side, python, cpus)
    except FailedRun as failure:
        print(failure, file=sys.stderr, flush=True)
        return
    record.add(key, run)
    load = os.getloadavg()[0]
    print(
        f"{side.label}: {run.seconds:.3f} s, {run.peak_mib:.0f} MiB, {dict(run.notes)}, "
        f"load {load:.1f}",
        file=sys.stderr,
        flush=True,
    )


def _profile(case: Case, pythons: dict[str, str]) -> None:
    """Print where the CPU time of our side goes, on one CPU so that threads do not wait in it."""
    for side in (side for group in case.sides for side in group if side.task.endswith("_ours")):
        told = replace(side, options={**side.options, "profile": True})
        run: Run = run_once(told, pythons[side.environment], 1)
        shares = run.notes["shares"]
        total = sum(shares.values())
        rows = [(name, f"{s:.3f}", f"{100 * s / total:.1f} %") for name, s in shares.items()]
        print(f"\n{case.name}, {side.label}: {run.seconds:.2f} s of wall time\n")
        print(printed(rows, STAGES_HEAD), flush=True)


def _smaller(case: Case) -> Case:
    """The same case on a tenth of the observations and draws, to see that it runs."""

    def small(side: Side) -> Side:
        options = dict(side.options)
        for name, least in (("observations", 400), ("draws", 10), ("genes", 100)):
            options[name] = max(options[name] // 10, least)
        options["batch_size"] = min(options["batch_size"], options["observations"] // 2)
        if "at_once" in options:
            options["at_once"] = min(options["at_once"], options["draws"])
        return replace(side, options=options)

    groups = tuple(tuple(small(side) for side in group) for group in case.sides)
    return replace(case, sides=groups, title=case.title + " (--quick: a tenth of it)")


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "?")
    return (
        f"{name}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}; runs are pinned to CPUs "
        f"{pinned_cpus(2)} (or {pinned_cpus(1)} where a case says 1), OMP_NUM_THREADS as many; "
        f"Linux {platform.release()}; packages: "
        + "; ".join(" ".join(call) for calls in PACKAGES.values() for call in calls)
        + "\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [case.name for case in CASES]
    parser.add_argument("case", nargs="*", help=f"which to run, of {', '.join(names)}; all")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, one run each")
    parser.add_argument("--profile", action="store_true", help="where our time goes, by stage")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("--cpus", type=int, help="CPUs (and threads) of every run")
    parser.add_argument("--theirs", type=int, help="runs of the other sides, where fewer will do")
    parser.add_argument("--record", type=Path, help="file that keeps runs; those in it count")
    for name in PACKAGES:
        variable = f"BENCH_PYTHON_{name.upper()}"
        parser.add_argument(
            f"--python-{name}",
            default=os.environ.get(variable),
            help=f"a Python that has the packages ({variable}); .venvs/bench-{name}",
        )
    args = parser.parse_args()
    if unknown := sorted(set(args.case) - set(names)):
        parser.error(f"unknown case {unknown[0]!r}; there are {', '.join(names)}")
    return args


if __name__ == "__main__":
    main()
