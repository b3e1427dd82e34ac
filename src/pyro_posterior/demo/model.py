"""The demo's model of counts by abundances of known types, its guide, and their fit by minibatch SVI."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.infer import SVI, Trace_ELBO
from pyro.nn import PyroModule, PyroParam

from pyro_posterior.demo.counts import Reference

#: Spread of a gene's sensitivity around one, in log units.
SENSITIVITY_SPREAD = 0.3
#: Gamma shape of an abundance: below one, most types are nearly absent from a cell.
ABUNDANCE_SHAPE = 0.3
#: Gamma shape of a cell's detection level: about 30 % spread around one.
DETECTION_SHAPE = 10.0


class CountModel(PyroModule):
    """Counts of a cell as a sum of type signatures.

    Expected count of gene g in cell c: ``detection[c] * sensitivity[g] * sum over types of
    abundance[c, t] * signature[t, g]``, with gamma noise of a gene's own size around it. Signatures
    are scaled so that one unit of abundance is one typical cell.
    """

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.num_cells, self.num_genes = reference.counts.shape
        self.num_types = len(reference.types)
        molecules = float(np.median(reference.counts.sum(axis=1)))
        self.register_buffer("signatures", _tensor(reference.signatures * molecules))

    def forward(self, counts: torch.Tensor, cells: torch.Tensor) -> None:
        """Run on a minibatch: ``counts`` of shape (cell, gene), and which ``cells`` these are."""
        ones = counts.new_ones(())
        with pyro.plate("genes", self.num_genes, dim=-1):
            sensitivity = pyro.sample(
                "sensitivity", dist.LogNormal(0 * ones, SENSITIVITY_SPREAD * ones)
            )
            concentration = pyro.sample("concentration", dist.LogNormal(ones, ones))
        with self.cells(cells):
            detection = pyro.sample(
                "detection", dist.Gamma(DETECTION_SHAPE * ones, DETECTION_SHAPE * ones)
            )
            with pyro.plate("types", self.num_types, dim=-1):
                abundance = pyro.sample(
                    "abundance",
                    dist.Gamma(ABUNDANCE_SHAPE * ones, ABUNDANCE_SHAPE * self.num_types * ones),
                )
            pyro.deterministic("share", abundance / abundance.sum(-1, keepdim=True), event_dim=1)
            mean = detection * sensitivity * (abundance @ self.signatures)
            with pyro.plate("genes_observed", self.num_genes, dim=-1):
                noise = dist.GammaPoisson(concentration, concentration / mean.clamp(min=1e-6))
                pyro.sample("counts", noise, obs=counts)

    def cells(self, cells: torch.Tensor) -> pyro.plate:
        """The plate of the observations, at the ones in this minibatch."""
        return pyro.plate("cells", self.num_cells, subsample=cells, dim=-2)


class CountGuide(PyroModule):
    """Normal in log units: independent over genes, with a full covariance within each cell.

    The covariance matters: a cell's abundances compete for the same counts, and all of them trade
    off against its detection level. Independent normals would give intervals that are too narrow.
    """

    def __init__(self, model: CountModel) -> None:
        super().__init__()
        self.num_genes, self.num_types, self.cells = model.num_genes, model.num_types, model.cells
        local = 1 + model.num_types
        for name in ("sensitivity", "concentration"):
            setattr(self, f"{name}_loc", PyroParam(torch.zeros(model.num_genes)))
            setattr(
                self,
                f"{name}_scale",
                PyroParam(torch.full((model.num_genes,), 0.1), constraints.softplus_positive),
            )
        start = torch.zeros(model.num_cells, local)
        start[:, 1:] = -2.0
        self.cell_loc = PyroParam(start)
        self.cell_tril = PyroParam(
            0.1 * torch.eye(local).repeat(model.num_cells, 1, 1),
            constraints.softplus_lower_cholesky,
        )

    def forward(self, counts: torch.Tensor, cells: torch.Tensor) -> None:
        with pyro.plate("genes", self.num_genes, dim=-1):
            pyro.sample("sensitivity", dist.LogNormal(self.sensitivity_loc, self.sensitivity_scale))
            pyro.sample(
                "concentration", dist.LogNormal(self.concentration_loc, self.concentration_scale)
            )
        loc, tril = self.cell_loc[cells], self.cell_tril[cells]
        with self.cells(cells):
            logs = pyro.sample(
                "logs",
                dist.MultivariateNormal(loc.unsqueeze(-2), scale_tril=tril.unsqueeze(-3)),
                infer={"is_auxiliary": True},
            ).squeeze(-2)
            _exponential("detection", logs[:, :1])
            with pyro.plate("types", self.num_types, dim=-1):
                _exponential("abundance", logs[:, 1:])


def _exponential(name: str, logs: torch.Tensor) -> None:
    """A site that is ``exp(logs)``, with the density that the change of variable gives it."""
    pyro.sample(name, dist.Delta(logs.exp(), log_density=-logs))


def fit(
    model: CountModel,
    guide: CountGuide,
    counts: torch.Tensor,
    *,
    steps: int,
    batch_size: int,
    seed: int,
) -> list[float]:
    """Fit the guide by SVI on random minibatches; the loss (negative ELBO) of every step."""
    pyro.set_rng_seed(seed)
    pyro.clear_param_store()
    decay = 0.02 ** (1 / steps)
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.05, "lrd": decay}), Trace_ELBO())
    batches = _random_batches(len(counts), batch_size, torch.Generator().manual_seed(seed))
    return [svi.step(counts[cells], cells) for cells, _ in zip(batches, range(steps), strict=False)]


def _random_batches(size: int, batch: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Endless epochs of minibatches without replacement."""
    while True:
        yield from torch.randperm(size, generator=generator).split(batch)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(array, dtype=torch.float32)
