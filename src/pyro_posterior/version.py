"""The version that is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pyro-posterior")
except PackageNotFoundError:  # run from a folder, not installed
    __version__ = "unknown"
