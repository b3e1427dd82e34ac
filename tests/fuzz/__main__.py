"""``python tests/fuzz FIRST COUNT``: that many random models; exit status 1 where any differs."""

from __future__ import annotations

import sys
import time
from collections import Counter

from both_engines import outcome
from random_models import case


def main(first: int, count: int) -> int:
    """Draw the cases and say what came of them."""
    tiers: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    wrong, started = [], time.perf_counter()
    for number in range(first, first + count):
        try:
            found = outcome(case(number))
        except Exception as error:
            wrong.append(number)
            print(f"model {number}: {type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        tiers[found.tier] += 1
        if found.tier != "batched slice":
            reasons[found.reason] += 1
        if found.differences:
            wrong.append(number)
            print(f"model {number} ({found.tier}): {', '.join(found.differences)}")
    seconds = time.perf_counter() - started
    print(f"{count} models in {seconds:.0f} s, {len(wrong)} wrong: {wrong}")
    print(", ".join(f"{tier}: {n} ({100 * n / count:.1f} %)" for tier, n in tiers.items()))
    for reason, n in reasons.most_common():
        print(f"  {n} x {reason}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
