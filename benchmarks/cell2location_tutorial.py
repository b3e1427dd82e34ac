"""The steps of cell2location's tutorial on simulated spots, with pyro-posterior underneath.

    python benchmarks/cell2location_tutorial.py [--spots 2000] [--out FOLDER]

Signatures from single cells, cell types mapped to spots, both exported and their quality plotted
by cell2location's own methods; then the same posterior once more by `to_anndata`.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import matplotlib
import numpy as np

import scvi
from pyro_posterior.exports.anndata import to_anndata
from pyro_posterior.scvi import allow_cell2location, use_in
from simulated_tissue import signatures, single_cells, spots


def main() -> None:
    """Run the steps and print what each took and what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spots", type=int, default=2000)
    parser.add_argument("--genes", type=int, default=500)
    parser.add_argument("--types", type=int, default=8)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    args = parser.parse_args()

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    allow_cell2location()
    from cell2location.models import Cell2location, RegressionModel

    use_in(RegressionModel, Cell2location)
    scvi.settings.seed = 0
    rng = np.random.default_rng(0)
    args.out.mkdir(parents=True, exist_ok=True)
    truth = signatures(args.genes, args.types, rng)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    sample_kwargs = {"num_samples": args.draws, "batch_size": 500, "show_progress": False}

    cells = single_cells(truth, 1000, rng)
    RegressionModel.setup_anndata(cells, batch_key="batch", labels_key="type")
    reference = RegressionModel(cells)
    timed("train RegressionModel", reference.train, max_epochs=60, batch_size=250, **quiet)
    cells = timed("export_posterior", reference.export_posterior, cells, sample_kwargs)
    timed("plot_QC", reference.plot_QC)
    plt.savefig(args.out / "reference_qc.png")

    means = cells.varm["means_per_cluster_mu_fg"].copy()
    means.columns = list(cells.uns["mod"]["factor_names"])
    tissue = spots(truth, args.spots, rng)
    Cell2location.setup_anndata(tissue, batch_key="batch")
    model = Cell2location(tissue, cell_state_df=means, N_cells_per_location=8, detection_alpha=20)
    timed(
        "train Cell2location",
        model.train,
        max_epochs=args.epochs,
        batch_size=None,
        lr=0.02,
        **quiet,
    )
    tissue = timed("export_posterior", model.export_posterior, tissue, sample_kwargs)
    plt.figure()
    timed("plot_QC", model.plot_QC)
    plt.savefig(args.out / "cell2location_qc.png")
    tissue.write_h5ad(args.out / "spots.h5ad")

    found = tissue.obsm["q05_cell_abundance_w_sf"].to_numpy()
    known = tissue.obsm["abundance"][means.columns].to_numpy()
    print(f"exported by {type(model.samples).__name__}, engine {model.samples.plan.engine}")
    print(
        f"correlation of q05 with the true abundance {np.corrcoef(found.flat, known.flat)[0, 1]:.3f}"
    )
    to_anndata(model.samples, tissue, factor_names=list(means.columns))
    print("obsm", sorted(key for key in tissue.obsm if key.startswith("means_")))
    print("varm", sorted(key for key in tissue.varm if key.startswith("means_")))


def timed(name: str, function, *args, **kwargs):
    """Call and print the seconds it took."""
    started = time.perf_counter()
    result = function(*args, **kwargs)
    print(f"{name:24s} {time.perf_counter() - started:7.2f} s", flush=True)
    return result


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
