"""Where results live while they grow: in memory, or in a Zarr store that can be resumed."""
