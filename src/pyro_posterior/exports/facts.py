"""The settings of a run in words, as the report lists them."""

from __future__ import annotations

from pyro_posterior.posterior import Posterior


def settings_of(posterior: Posterior) -> list[tuple[str, str]]:
    plan = posterior.plan
    sizes = sorted(set(plan.batch_sizes))
    batches = f"{len(plan.batch_sizes):,}"
    if sizes:
        of = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        batches += f" of {of} observations"
    pairs = [
        ("draws", f"{plan.num_samples:,}"),
        ("observations", f"{plan.num_obs:,}"),
        ("minibatches", batches),
        ("observation plate", plan.obs_plate or "none"),
        ("seed", str(plan.seed)),
        ("engine", plan.engine),
        ("summaries", ", ".join(plan.summaries) or "none"),
        ("draws kept", "yes" if plan.return_samples else "no"),
    ]
    info = {key: value for key, value in posterior.info.items() if key != "versions"}
    if (seconds := info.pop("seconds", None)) is not None:
        pairs.append(("time", _duration(float(seconds))))
    return pairs + [(str(key), str(value)) for key, value in sorted(info.items())]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
