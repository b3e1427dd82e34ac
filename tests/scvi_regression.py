"""A Bayesian regression of library size on counts, as a scvi-tools model; with or without a per-cell site."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule
from scvi.data import AnnDataManager
from scvi.data.fields import CategoricalObsField, LayerField, NumericalObsField
from scvi.model.base import BaseModelClass, PyroSviTrainMixin
from scvi.model.base import PyroSampleMixin as TheirMixin
from scvi.module.base import PyroBaseModuleClass

import pyro_posterior
from scvi import REGISTRY_KEYS


class Regression(PyroModule):
    """``y[n] ~ Normal(x[n] @ weight + bias + cell[n], sigma)``, x the log counts."""

    def __init__(self, genes: int, n_obs: int, per_cell: bool) -> None:
        super().__init__()
        self.genes, self.n_obs, self.per_cell = genes, n_obs, per_cell
        self.register_buffer("zero", torch.zeros(1))

    def create_plates(self, x, y, index):
        return pyro.plate("obs_plate", size=self.n_obs, dim=-2, subsample=index)

    def forward(self, x, y, index):
        one = self.zero + 1
        plate = self.create_plates(x, y, index)
        weight = pyro.sample(
            "weight", dist.Normal(self.zero, one).expand([self.genes, 1]).to_event(2)
        )
        bias = pyro.sample("bias", dist.Normal(self.zero, one).expand([1, 1]).to_event(2))
        sigma = pyro.sample("sigma", dist.Gamma(2 * one, 2 * one).expand([1, 1]).to_event(2))
        with plate:
            mean = x @ weight + bias
            if self.per_cell:
                mean = mean + pyro.sample("cell", dist.Normal(self.zero, one))
                mean = pyro.deterministic("mean", mean)
        with plate:
            pyro.sample("obs", dist.Normal(mean, sigma), obs=y)


class RegressionModule(PyroBaseModuleClass):
    def __init__(self, genes: int, n_obs: int, per_cell: bool) -> None:
        super().__init__(on_load_kwargs={"accelerator": "cpu", "train_size": 1.0})
        self._model = Regression(genes, n_obs, per_cell)
        self._guide = AutoNormal(
            self._model, init_scale=0.1, create_plates=self._model.create_plates
        )

    @staticmethod
    def _get_fn_args_from_batch(tensors):
        x = tensors[REGISTRY_KEYS.X_KEY]
        y = torch.log(x.sum(1, keepdim=True)) - 7
        return (torch.log1p(x), y, tensors["index"].long().squeeze()), {}

    @property
    def model(self):
        return self._model

    @property
    def guide(self):
        return self._guide

    @property
    def list_obs_plate_vars(self):
        return {"name": "obs_plate", "in": [0], "sites": {"cell": 1, "mean": 1}}


class _Base:
    def __init__(self, adata, per_cell: bool = False) -> None:
        pyro.clear_param_store()  # else it would train the parameters of the model before it
        super().__init__(adata)
        self.module = RegressionModule(adata.n_vars, adata.n_obs, per_cell)
        self._model_summary_string = "regression"
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(cls, adata, **kwargs):
        setup_method_args = cls._get_setup_method_args(**locals())
        adata.obs["index"] = range(adata.n_obs)
        fields = [
            LayerField(REGISTRY_KEYS.X_KEY, None, is_count_data=True),
            CategoricalObsField(REGISTRY_KEYS.BATCH_KEY, None),
            NumericalObsField("index", "index"),
        ]
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)


class RegressionModel(_Base, pyro_posterior.PyroSampleMixin, PyroSviTrainMixin, BaseModelClass):
    """With our mixin in scvi-tools' place."""


class TheirRegressionModel(_Base, TheirMixin, PyroSviTrainMixin, BaseModelClass):
    """With scvi-tools' own mixin."""
