"""The peers' own virtual environments, made once below ``.venvs/`` and never part of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venvs"

#: What each environment holds, one pip call after the other. pyro-posterior itself comes by its
#: source folder, so its own dependencies stand here too.
PACKAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "scvi": (
        ("torch==2.13.0",),
        ("scvi-tools==1.4.2", "pyro-ppl==1.9.2", "lightning-fabric", "scanpy", "tqdm"),
        ("--no-deps", "cell2location==0.1.5"),
    ),
    "numpyro": (("numpyro==0.22.0", "jax==0.10.2"),),
}


def python_of(name: str, given: str | None) -> str:
    """Path of an environment's Python; the environment is made where it does not stand yet.

    Parameters
    ----------
    name
        A key of `PACKAGES`.
    given
        A Python that has the packages already, used as it is; None: ``.venvs/bench-<name>``.
    """
    if given:
        return given
    folder = FOLDER / f"bench-{name}"
    python, mark = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(" ".join(call) for call in PACKAGES[name])
    if mark.exists() and mark.read_text() == wanted:
        return str(python)
    print(f"making {folder.relative_to(ROOT)} ...", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["-c", str(ROOT / "constraints.txt")]
    for call in PACKAGES[name]:
        subprocess.run([*pip, *call], check=True)
    mark.write_text(wanted)
    return str(python)
