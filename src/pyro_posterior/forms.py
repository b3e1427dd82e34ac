"""Forms that a posterior takes: methods of `Posterior`, each a call of a file in ``exports/``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_posterior.errors import RequestError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pyro_posterior.posterior import Posterior

#: ``{site: names}`` of the axes of one draw, all or the last ones.
Dims = Mapping[str, Sequence[str]]


class Forms:
    """The part of `Posterior` that makes tables, pictures and files of it."""

    def _itself(self) -> Posterior:
        return self  # type: ignore[return-value]  # nothing else has this part

    def summary(self, sites: str | Iterable[str] | None = None) -> Any:
        """A table with a row for every value; see `pyro_posterior.exports.table.summary`."""
        from pyro_posterior.exports.table import summary

        return summary(self._itself(), sites)

    def to_xarray(
        self, *, dims: Dims | None = None, coords: Mapping[str, Any] | None = None
    ) -> Any:
        """Everything as a DataTree; see `pyro_posterior.exports.xarray.to_xarray`."""
        from pyro_posterior.exports.xarray import to_xarray

        return to_xarray(self._itself(), dims=dims, coords=coords)

    def to_dataset(
        self,
        result: str = "post_sample_means",
        *,
        sites: Sequence[str] | None = None,
        dims: Dims | None = None,
        coords: Mapping[str, Any] | None = None,
    ) -> Any:
        """One result as a Dataset; see `pyro_posterior.exports.xarray.to_dataset`."""
        from pyro_posterior.exports.xarray import to_dataset

        return to_dataset(self._itself(), result, sites=sites, dims=dims, coords=coords)

    def to_arviz(self, *, dims: Dims | None = None, coords: Mapping[str, Any] | None = None) -> Any:
        """Draws for ArviZ; see `pyro_posterior.exports.arviz.to_arviz`."""
        from pyro_posterior.exports.arviz import to_arviz

        return to_arviz(self._itself(), dims=dims, coords=coords)

    def to_netcdf(
        self,
        path: str | PathLike[str],
        *,
        dims: Dims | None = None,
        coords: Mapping[str, Any] | None = None,
    ) -> Path:
        """Draws as a NetCDF file; see `pyro_posterior.exports.netcdf.write_netcdf`."""
        from pyro_posterior.exports.netcdf import write_netcdf

        return write_netcdf(self._itself(), path, dims=dims, coords=coords)

    def to_pandas(
        self,
        site: str | None = None,
        *,
        draws: bool = False,
        dims: Dims | None = None,
        coords: Mapping[str, Any] | None = None,
    ) -> Any:
        """One site as a tidy table; see `pyro_posterior.exports.pandas.to_pandas`."""
        from pyro_posterior.exports.pandas import to_pandas

        return to_pandas(self._itself(), site, draws=draws, dims=dims, coords=coords)

    def to_anndata(
        self,
        adata: Any,
        *,
        factor_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        sites: Iterable[str] | None = None,
        uns_key: str = "pyro_posterior",
    ) -> Any:
        """Summaries put into an AnnData; see `pyro_posterior.exports.anndata.to_anndata`."""
        from pyro_posterior.exports.anndata import to_anndata

        return to_anndata(
            self._itself(), adata, factor_names=factor_names, sites=sites, uns_key=uns_key
        )

    def plot(
        self,
        site: str | Iterable[str] | None = None,
        ax: Axes | None = None,
        *,
        kind: str | None = None,
        **options: Any,
    ) -> Any:
        """A picture of one site, or ArviZ's of one or several.

        Without ``kind`` the picture suits the size of the site, see
        `pyro_posterior.exports.plots.plot_site`; "forest", "posterior", "pair" and "trace" are
        ArviZ's, of the draws, see `pyro_posterior.exports.arviz_plots.plot_by_arviz`.
        """
        if kind is not None:
            from pyro_posterior.exports.arviz_plots import plot_by_arviz

            return plot_by_arviz(
                self._itself(), kind, site, **({} if ax is None else {"ax": ax}), **options
            )
        from pyro_posterior.exports.plots import plot_site

        if site is None and len(self._itself().plan.sites) == 1:
            site = self._itself().plan.sites[0].name
        if not isinstance(site, str):
            raise RequestError(
                f"plot needs one site, found {site!r}; the posterior has {list(self._itself().sites)}. "
                "Several at once are drawn by kind='forest', 'posterior', 'pair' or 'trace'"
            )
        return plot_site(self._itself(), site, ax, **options)

    def report(
        self,
        path: str | PathLike[str] = "report.html",
        *,
        title: str = "Posterior report",
        sites: Iterable[str] | None = None,
        spatial: Any = None,
        answers: Sequence[str] = (),
    ) -> Path:
        """The posterior as one web page; see `pyro_posterior.exports.report.write_report`."""
        from pyro_posterior.exports.report import write_report

        return write_report(
            self._itself(), path, title=title, sites=sites, spatial=spatial, answers=answers
        )

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> Path:
        """Keep everything in a folder that `open` reads; see `pyro_posterior.exports.save.save`."""
        from pyro_posterior.exports.save import save

        return save(self._itself(), path, overwrite=overwrite)
