"""Functions of a finished posterior; optional packages are imported from here outward only."""
