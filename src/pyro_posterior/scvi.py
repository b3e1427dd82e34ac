"""Trained scvi-tools models as they are: a function for one model, and `use_in` for their classes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pyro_posterior.errors import MissingPackageError, RequestError
from pyro_posterior.kept import keep_parameters
from pyro_posterior.mixin import PyroSampleMixin
from pyro_posterior.posterior import Posterior
from pyro_posterior.saved import allow_cell2location

__all__ = ["InUse", "allow_cell2location", "keep_parameters", "sample_posterior", "use_in"]


def sample_posterior(trained_model: Any, /, *args: Any, **kwargs: Any) -> Posterior:
    """Draw from the posterior of a trained scvi-tools model whose class cannot be changed.

    Parameters
    ----------
    trained_model
        A trained model, such as ``RESOLVI`` or cell2location's ``Cell2location``.
    *args, **kwargs
        As for its own ``sample_posterior``, of this and earlier releases of scvi-tools, and
        ``seed``, ``engine`` and ``store``; see `PyroSampleMixin.sample_posterior`. ``model=`` is
        a function to be used instead of ``trained_model.module.model``.

    Returns
    -------
    Posterior
        As `pyro_posterior.sample_posterior` gives it.

    Examples
    --------
    >>> posterior = sample_posterior(trained, num_samples=1000, batch_size=2048)  # doctest: +SKIP
    """
    return PyroSampleMixin.sample_posterior(trained_model, *args, **kwargs)


class InUse:
    """What `use_in` changed; leaving it as a context manager, or `restore`, puts all back."""

    def __init__(self, classes: tuple[type, ...]) -> None:
        self._before: list[tuple[type, str, Any]] = []
        for cls in classes:
            self._change(cls)

    def _change(self, cls: type) -> None:
        if not any(hasattr(cls, name) for name in ("sample_posterior", "train", "load")):
            raise RequestError(
                f"{cls.__name__} has no sample_posterior to replace: pass classes of scvi-tools "
                "models such as RESOLVI, or nothing for all of them"
            )
        if hasattr(cls, "sample_posterior"):
            self._set(cls, "sample_posterior", PyroSampleMixin.sample_posterior)
        if hasattr(cls, "train"):
            self._set(cls, "train", _keeping_after_train(cls.train))
        if hasattr(cls, "load"):
            self._set(cls, "load", _keeping_after_load(inspect.getattr_static(cls, "load")))

    def _set(self, cls: type, name: str, value: Any) -> None:
        self._before.append((cls, name, cls.__dict__.get(name)))
        setattr(cls, name, value)

    def restore(self) -> None:
        """Give the classes their own methods back."""
        while self._before:
            cls, name, own = self._before.pop()
            if own is None:
                delattr(cls, name)
            else:
                setattr(cls, name, own)

    def __enter__(self) -> InUse:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()


def use_in(*classes: type) -> InUse:
    """Let already imported scvi-tools classes draw with pyro-posterior.

    ``sample_posterior`` of the classes becomes `PyroSampleMixin.sample_posterior`, so their own
    methods that call it (``export_posterior``, ``predict``, ``get_neighbor_abundance``) draw with
    it too; ``train`` and ``load`` also keep the fitted parameters for their model (see
    `keep_parameters`). Call it as a function to change the classes for good, or as a context
    manager to have their own methods back on leaving.

    Parameters
    ----------
    *classes
        Classes such as ``RESOLVI``, ``Cell2location``, ``RegressionModel``. None: the classes of
        scvi-tools that all Pyro models are built on, and so all of these.

    Returns
    -------
    InUse
        With ``restore()``; also a context manager.

    Raises
    ------
    RequestError
        A class without ``sample_posterior``.
    MissingPackageError
        No classes were given, and scvi-tools is not installed.

    Examples
    --------
    >>> with use_in(Cell2location):  # doctest: +SKIP
    ...     adata = model.export_posterior(adata, sample_kwargs={"num_samples": 1000})
    """
    return InUse(classes or _all_classes())


def _all_classes() -> tuple[type, ...]:
    try:
        from scvi.model import base
    except ModuleNotFoundError as error:
        raise MissingPackageError("scvi-tools", "scvi", "use_in() without classes") from error
    return (base.PyroSampleMixin, base.PyroSviTrainMixin, base.BaseModelClass)


def _keeping_after_train(train: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(train)
    def train_and_keep(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = train(self, *args, **kwargs)
        keep_parameters(self)
        return result

    return train_and_keep


def _keeping_after_load(load: Any) -> Any:
    """``load`` is a classmethod, here as it lies in the class."""

    @functools.wraps(load.__func__)
    def load_and_keep(cls: type, *args: Any, **kwargs: Any) -> Any:
        model = load.__func__(cls, *args, **kwargs)
        keep_parameters(model)
        return model

    return classmethod(load_and_keep)
