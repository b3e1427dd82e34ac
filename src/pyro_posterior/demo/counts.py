"""Real counts for the demo: blood cells that come inside the scanpy package, no download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyro_posterior.errors import MissingPackageError, RequestError

#: Largest distance of a recovered count from a whole number, relative to the count.
TOLERANCE = 0.002
#: Molecules of the average profile that are added to each type's molecules in the signature.
PSEUDO_MOLECULES = 200.0


@dataclass(frozen=True)
class Reference:
    """Held-out cells to explain, and what the other half of the cells says about their types."""

    counts: np.ndarray  # (cell, gene), whole numbers, held-out half
    labels: np.ndarray  # (cell,), index of the annotated type
    names: np.ndarray  # (cell,), barcodes
    phases: np.ndarray  # (cell,), of the cell cycle: "G1", "S" or "G2M"
    genes: np.ndarray  # (gene,)
    types: np.ndarray  # (type,), names
    signatures: np.ndarray  # (type, gene), rows sum to one
    reference_cells: np.ndarray  # (type,), cells behind each signature


def load_reference(seed: int = 0) -> Reference:
    """Split the bundled cells in halves: signatures from one, counts of the other.

    Parameters
    ----------
    seed
        Decides which cells go into which half; within every annotated type the halves are equal.

    Raises
    ------
    MissingPackageError
        scanpy is not installed.
    RequestError
        The recovered counts are not whole numbers.
    """
    try:
        import scanpy
    except ImportError as error:
        raise MissingPackageError("scanpy", "demo", "The demo") from error
    cells = scanpy.datasets.pbmc68k_reduced()
    counts = recover_counts(cells)
    annotation = cells.obs["bulk_labels"].astype("category").cat
    types, labels = np.asarray(annotation.categories, dtype=str), annotation.codes.to_numpy()
    held_out = stratified_half(labels, np.random.default_rng(seed))
    return Reference(
        counts=counts[held_out],
        labels=labels[held_out],
        names=cells.obs_names.to_numpy()[held_out].astype(str),
        phases=cells.obs["phase"].to_numpy()[held_out].astype(str),
        genes=cells.raw.var_names.to_numpy().astype(str),
        types=types,
        signatures=mean_profiles(counts[~held_out], labels[~held_out], len(types)),
        reference_cells=np.bincount(labels[~held_out], minlength=len(types)),
    )


def recover_counts(cells: Any) -> np.ndarray:
    """Counts behind ``cells.raw``, which holds ``log1p`` of counts scaled to 10,000 per cell.

    A cell's smallest positive value stands for one molecule, so dividing by it gives the counts;
    that they are whole numbers, and that one molecule is 10,000 over the cell's total, is checked.
    """
    stored = cells.raw.X
    scaled = np.expm1((stored.toarray() if hasattr(stored, "toarray") else stored).astype(float))
    molecule = np.where(scaled > 0, scaled, np.inf).min(axis=1)
    exact = scaled / molecule[:, None]
    counts = np.rint(exact)
    off = np.abs(exact - counts) / np.maximum(counts, 1)
    per_cell = np.abs(molecule * cells.obs["n_counts"].to_numpy() / 1e4 - 1)
    if off.max() > TOLERANCE or per_cell.max() > TOLERANCE:
        raise RequestError(
            "pbmc68k_reduced does not hold scaled counts: values are up to "
            f"{max(off.max(), per_cell.max()):.2%} away from whole numbers (allowed {TOLERANCE:.1%}); "
            "another release of scanpy may bundle other data"
        )
    return counts


def stratified_half(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """True for half of the cells (rounded up) of every label, chosen at random."""
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        chosen[members[: (len(members) + 1) // 2]] = True
    return chosen


def mean_profiles(counts: np.ndarray, labels: np.ndarray, num_types: int) -> np.ndarray:
    """Mean share of each gene in the cells of each type, ``(type, gene)``; rows sum to one.

    A little of the average profile is mixed in, most where a type has few molecules, so that no
    gene is impossible in any type.
    """
    shares = counts / counts.sum(axis=1, keepdims=True)
    average = shares.mean(axis=0)
    profiles = np.empty((num_types, counts.shape[1]))
    for label in range(num_types):
        mine = labels == label
        molecules = counts[mine].sum()
        profile = shares[mine].mean(axis=0) * molecules + average * PSEUDO_MOLECULES
        profiles[label] = profile / (molecules + PSEUDO_MOLECULES)
    return profiles / profiles.sum(axis=1, keepdims=True)
