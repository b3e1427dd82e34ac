"""The demo's counts are counts, and a short run writes what it says."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("scanpy")
pytest.importorskip("zarr")

from pyro_posterior.demo.counts import (
    load_reference,
    mean_profiles,
    recover_counts,
    stratified_half,
)
from pyro_posterior.demo.run import run_demo
from pyro_posterior.errors import RequestError
from pyro_posterior.posterior import Posterior


def scaled_cells(counts: np.ndarray, per_cell: np.ndarray) -> SimpleNamespace:
    stored = np.log1p(counts / per_cell[:, None] * 1e4)
    n_counts = SimpleNamespace(to_numpy=lambda: per_cell)
    return SimpleNamespace(raw=SimpleNamespace(X=stored), obs={"n_counts": n_counts})


def test_counts_are_recovered_from_scaled_logarithms() -> None:
    generator = np.random.default_rng(0)
    counts = generator.poisson(2.0, size=(20, 30))
    counts[:, 0] = 1  # one molecule somewhere in each cell
    cells = scaled_cells(counts, counts.sum(axis=1).astype(float) + 100)
    np.testing.assert_array_equal(recover_counts(cells), counts)


def test_values_that_are_not_counts_are_refused() -> None:
    counts = np.random.default_rng(0).gamma(2.0, size=(20, 30))
    with pytest.raises(RequestError, match="does not hold scaled counts"):
        recover_counts(scaled_cells(counts, counts.sum(axis=1)))


def test_halves_are_equal_within_each_label() -> None:
    labels = np.repeat([0, 1, 2], [10, 7, 1])
    half = stratified_half(labels, np.random.default_rng(3))
    np.testing.assert_array_equal(np.bincount(labels[half]), [5, 4, 1])


def test_profiles_are_mean_shares() -> None:
    counts = np.array([[3e6, 1e6], [1e6, 1e6], [0, 8e6]])
    profiles = mean_profiles(counts, np.array([0, 0, 1]), 2)
    np.testing.assert_allclose(profiles, [[0.625, 0.375], [0, 1]], atol=1e-4)


def test_bundled_cells() -> None:
    reference = load_reference(seed=0)
    assert reference.counts.shape == (353, 765)
    assert len(reference.types) == 10
    assert (reference.counts == reference.counts.round()).all()
    assert reference.counts.max() == 259
    np.testing.assert_allclose(reference.signatures.sum(axis=1), 1)


@pytest.mark.slow
def test_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_demo(tmp_path / "new", num_samples=40, steps=60, seed=0, show_progress=False)
    assert set(result.posterior.sites) == {
        *("sensitivity", "concentration", "detection", "abundance", "share", "share_by_phase")
    }
    means = result.posterior["post_sample_means"]
    np.testing.assert_allclose(means["share"].sum(axis=1), 1, rtol=1e-4)
    # A tenth of the cells would be right by chance, a third by naming the most frequent type.
    assert result.verdict.accuracy > 0.6
    printed = capsys.readouterr().out
    assert "open      " in printed.splitlines()[-1]

    dividing = result.reference.phases != "G1"
    between = result.posterior.contrast("share_by_phase", "dividing", "resting")
    exact = means["share"][dividing].mean(0) - means["share"][~dividing].mean(0)
    np.testing.assert_allclose(between.mean, exact, atol=1e-5)
    assert f"in the {dividing.sum()} dividing cells than in the {(~dividing).sum()}" in printed
    assert result.zeros.observed == (result.reference.counts == 0).mean()
    assert abs(result.zeros.predicted.mean() - result.zeros.observed) < 0.05

    assert result.picture.read_bytes().startswith(b"\x89PNG")
    with result.table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 353 * 10
    written = np.array([float(row["abundance_means"]) for row in rows]).reshape(353, 10)
    np.testing.assert_allclose(written, means["abundance"], rtol=1e-4)
    with np.load(result.arrays) as arrays:
        np.testing.assert_array_equal(arrays["abundance/means"], means["abundance"])
        assert arrays["cells"].shape == (353,)
    stored = Posterior.open(result.store)["post_sample_means"]["abundance"]
    np.testing.assert_array_equal(stored, means["abundance"])
    page = result.report.read_text(encoding="utf-8")
    assert "<h1>Blood cells: the demo</h1>" in page
    assert f"<strong>Zeros:</strong> {result.zeros}." in page
    assert "<strong>Groups:</strong> the share of " in page
