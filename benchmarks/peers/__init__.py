"""The parts of the side-by-side runs; `benchmarks/side_by_side.py` is the command."""
