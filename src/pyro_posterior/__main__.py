"""``python -m pyro_posterior`` is the command ``pyro-posterior``."""

from pyro_posterior.cli import main

raise SystemExit(main())
