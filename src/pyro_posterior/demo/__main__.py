"""``python -m pyro_posterior.demo [folder]``."""

from __future__ import annotations

import sys

from pyro_posterior.demo.run import run_demo

if __name__ == "__main__":
    run_demo(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
