"""The demo on real counts: ``run_demo(folder)``, or ``python -m pyro_posterior.demo folder``."""

from pyro_posterior.demo.run import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
