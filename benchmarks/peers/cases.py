"""What is compared with what, in the order of importance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peers.runs import Side

#: Sides of which only the fastest in the first round is measured again.
Alternatives = tuple[Side, ...]


@dataclass(frozen=True)
class Case:
    """Sides measured in turn; the first is ours, and others are compared with it."""

    name: str
    title: str
    sides: tuple[Alternatives, ...]
    cpus: int = 2
    target: str = ""  # of theirs / ours
    compare: bool = True  # False: rows are ours alone, and show how cost grows


def _cell2location(**options: Any) -> Mapping[str, Any]:
    return {"observations": 2000, "genes": 1000, "factors": 20, "batch_size": 2000} | options


def _ours(label: str, **options: Any) -> Alternatives:
    return (Side(label, "cell2location_ours", _cell2location(**options)),)


def _scvi(label: str, times: int = 1, **options: Any) -> Alternatives:
    return (Side(label, "cell2location_scvi", _cell2location(**options), times=times),)


OURS, SCVI = "pyro-posterior", "scvi-tools"
LOCAL = (
    "n_s_cells_per_location",
    "b_s_groups_per_location",
    "z_sr_groups_factors",
    "w_sf",
    "detection_y_s",
)


def _factor_model() -> Case:
    options = {"observations": 20_000, "genes": 500, "factors": 20, "batch_size": 2000}
    full = options | {"draws": 1000}
    numpyro = tuple(
        Side(
            f"NumPyro, {random}, parallel={parallel}",
            "factor_numpyro",
            full | {"parallel": parallel, "random": random},
            environment="numpyro",
        )
        for random in ("threefry2x32", "rbg")
        for parallel in (False, True)
    )
    predictive = tuple(
        Side(
            f"pyro.infer.Predictive, parallel={parallel}, 100 draws x 10",
            "factor_predictive",
            options | {"draws": 100, "at_once": at_once, "parallel": parallel},
            times=10,
        )
        for parallel, at_once in ((False, 100), (True, 20))
    )
    return Case(
        "factor-model",
        "hierarchical Poisson-gamma factor model, 20,000 observations x 500 genes x 20 factors, "
        "batch 2000, 1,000 draws, no summaries",
        ((Side(OURS, "factor_ours", full),), numpyro, predictive),
        target="NumPyro 2, Predictive 20",
    )


CASES: tuple[Case, ...] = (
    Case(
        "genes12000-200",
        "cell2location, 2,000 observations x 12,000 genes, batch 2000, 200 draws, all sites",
        (_ours(OURS, genes=12_000, draws=200), _scvi(SCVI, genes=12_000, draws=200)),
        target="60; peak memory 10",
    ),
    Case(
        "genes12000-1000",
        "the same, 1,000 draws",
        (
            _ours(OURS, genes=12_000, draws=1000),
            _scvi(f"{SCVI}, 200 draws x 5", times=5, genes=12_000, draws=200),
        ),
        target="100; peak memory 10",
    ),
    Case(
        "genes1000",
        "cell2location, 2,000 observations x 1,000 genes, batch 200, 200 draws, all sites",
        (_ours(OURS, batch_size=200, draws=200), _scvi(SCVI, batch_size=200, draws=200)),
        target="20",
    ),
    _factor_model(),
    Case(
        "observations32000",
        "cell2location, 32,000 observations x 1,000 genes, batch 2000, 100 draws, all sites",
        (
            _ours(OURS, observations=32_000, draws=100),
            _scvi(SCVI, observations=32_000, draws=100),
        ),
        target="25",
    ),
    Case(
        "floor",
        "cell2location, 2,000 observations x 12,000 genes, batch 2000, 1,000 draws: against "
        "torch.randn of all values drawn and np.sort of all values summarised",
        (
            _ours(OURS, genes=12_000, draws=1000),
            (Side("floor", "floor", _cell2location(genes=12_000, draws=1000)),),
        ),
        cpus=1,
        target="0.5",
    ),
    Case(
        "floor1000",
        "the same, 1,000 genes",
        (
            _ours(OURS, genes=1000, draws=1000),
            (Side("floor", "floor", _cell2location(genes=1000, draws=1000)),),
        ),
        cpus=1,
        target="0.5",
    ),
    Case(
        "grow-observations",
        "how cost grows with observations: cell2location, 1,000 genes, batch 2000, 100 draws",
        tuple(
            _ours(f"{count:,} observations", observations=count, draws=100)
            for count in (2000, 8000, 32_000, 128_000)
        ),
        compare=False,
    ),
    Case(
        "grow-draws",
        "how cost grows with draws: cell2location, 2,000 observations x 1,000 genes, batch 200",
        tuple(
            _ours(f"{draws:,} draws", batch_size=200, draws=draws) for draws in (100, 1000, 10_000)
        ),
        compare=False,
    ),
    Case(
        "grow-genes",
        "how cost grows with genes where no site of genes is asked for: cell2location, 2,000 "
        "observations, batch 2000, 1,000 draws, the five sites of observations",
        tuple(
            _ours(f"{genes:,} genes", genes=genes, draws=1000, sites=list(LOCAL))
            for genes in (1000, 4000, 12_000)
        ),
        compare=False,
    ),
)
