"""Sphinx configuration: Markdown pages by MyST, notebooks run by MyST-NB, names from docstrings."""

import importlib.util
import tempfile
import warnings
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

project = "pyro-posterior"
author = "The pyro-posterior developers"
copyright = "2026, the pyro-posterior developers"
release = version = installed_version("pyro-posterior")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "pyro-posterior"

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
nb_execution_mode = "cache"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
maximum_signature_line_length = 80
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "code"

# Every name that a page refers to must have a place. Types of other packages have none here, since
# the pages are made without a network, nor have names that only the signatures use.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|numpy|np|pandas|anndata|xarray|arviz|matplotlib|collections|typing)\..*"),
    (r"py:.*", r"(os|pathlib|contextlib|types|functools|lightning|distributed)\..*"),
    (r"py:class", r"(Any|Callable|Iterable|Mapping|Sequence|Path|PathLike|Axes|optional|AnnData)"),
    (r"py:class", r"pyro_posterior\.(forms\.Forms|questions\.Questions)"),  # parts of Posterior
    (r"py:class", r"pyro_posterior\.options\.Options"),  # keywords, told of in sample_posterior
    (
        r"py:class",
        r"(np\.ndarray|ndarray|Dims|Draws|Engine|Summaries|ToArgs|SiteArrays|array|DataFrame)",
    ),
    (r"py:class", r"pyro_posterior\..*\.(Summaries|Dims|Engine|Kind|Scope|SiteArrays|FactorNames)"),
    (r"py:(class|obj)", r".*(_PosteriorT|Asked|Answer)"),
]


def setup(app: Any) -> None:
    """Write the page of mistakes before pages are read."""
    app.connect("builder-inited", _write_mistakes)


def _write_mistakes(app: Any) -> None:
    here = Path(__file__).parent
    spec = importlib.util.spec_from_file_location("mistakes_made", here / "mistakes_made.py")
    made = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["mistakes_made"] = made
    spec.loader.exec_module(made)
    parts = [
        "# Mistakes and what they say\n",
        f"{len(made.MISTAKES)} mistakes, made on purpose when this page was made, and what each was "
        "met with. Most are arguments of `sample_posterior`.\n",
    ]
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        for number, mistake in enumerate(made.MISTAKES):
            place = Path(folder) / str(number)
            place.mkdir()
            said = made.message(mistake, place)
            parts.append(f"**{mistake.what}**: `{mistake.code}`\n\n```text\n{said}\n```\n")
    page = "\n".join(parts)
    path = here / "mistakes.md"
    if not path.exists() or path.read_text(encoding="utf-8") != page:
        path.write_text(page, encoding="utf-8")
