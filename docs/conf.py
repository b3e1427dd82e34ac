"""Sphinx configuration: Markdown pages by MyST, reference from the docstrings."""

from importlib.metadata import version as installed_version

project = "pyro-posterior"
author = "The pyro-posterior developers"
copyright = "2026, the pyro-posterior developers"
release = version = installed_version("pyro-posterior")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "pyro-posterior"

myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "code"
nitpicky = False
