"""``python -m pyro_posterior`` is the command ``pyro-posterior``."""

from pyro_posterior.cli.entry import main

raise SystemExit(main())
