"""Random models by both engines; ``make fuzz`` draws thousands of others."""

from __future__ import annotations

from typing import Any

import pytest
from both_engines import outcome
from pyro.infer.autoguide import AutoDelta
from random_models import case

from pyro_posterior.sliced.compiled import Compiled

#: Models drawn here; one test for each block of ten.
MODELS = 200


@pytest.mark.parametrize("block", range(MODELS // 10))
def test_random_models_give_the_loops_draws(block: int) -> None:
    found = {number: outcome(case(number)) for number in range(10 * block, 10 * block + 10)}
    assert not {n: each.differences for n, each in found.items() if each.differences}
    for each in found.values():  # a reason for anything slower, and where the model gives it
        if each.tier != "batched slice":
            assert "random_models.py:" in each.reason or "random_values.py:" in each.reason, (
                each.reason
            )


def test_a_fault_of_a_thousandth_in_one_draw_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Compiled.run
    faults: list[str] = []

    def faulty(
        self: Compiled, prologue: Any, sampler: Any, start: int, *others: Any, **options: Any
    ) -> Any:
        block = run(self, prologue, sampler, start, *others, **options)
        if start == 8 and self.chunk is not None:  # no draw that the program itself is checked on
            for name, value in block.items():
                if value.is_floating_point() and name == "z0" and self.drawn[name]:
                    block[name] = value.clone()
                    block[name][-1] *= 1.001
                    faults.append(name)
        return block

    cases = (case(number) for number in range(400))
    cases = (one for one in cases if not isinstance(one.guide, AutoDelta))  # its sites are fixed
    held = [one for one in cases if one.num_samples == 40 and one.z0 != "count"][:5]
    monkeypatch.setattr("pyro_posterior.sliced.sizes.cache_bytes", lambda: 1)  # chunks of eight
    monkeypatch.setattr(Compiled, "run", faulty)
    sliced = []
    for one in held:
        faults.clear()
        differences = outcome(one).differences
        if faults:
            sliced.append(differences)
    assert len(sliced) > 2
    assert all("z0" in differences for differences in sliced), sliced
