"""Error rates and power of the verdicts, simulated: `python tests/benchmarks/verdicts.py`.

About seven minutes on one core. The first table: suites with a false verdict at any of the looks
after 2, 3, ... 20 seeds, and of those that add seeds until settled (3 to 20 seeds a row). The
second: what becomes of true, half as large and absent effects. The third: the seeds that adding
until settled takes.
"""

import itertools
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import simulated
from support.simulated import MARGIN, PUBLISHED, Setting

SUITES, SEEDS = 1000, 20
FEWER, BEGIN = 300, 3  # suites, and seeds of every row to begin with, of those until settled
LOOKS = tuple(range(2, SEEDS + 1))


def main() -> int:
    begun = time.process_time()
    print(f"suites with any false verdict, looked at after each of 2 to {SEEDS} seeds; %")
    print(
        f"{SUITES} suites a line: standard error at most {100 * (0.05 * 0.95 / SUITES) ** 0.5:.1f}"
    )
    print(f"{'':<42} {'every look':<21} until settled")
    heads = ("no effect", "half size") * 2
    print(f"{'claims':>6} {'r':>4} {'runs':<30} " + " ".join(f"{head:>10}" for head in heads))
    worst = [0.0, 0.0]
    for setting, words in _settings():
        rates, settled = [], []
        for effect in (0.0, MARGIN):
            changed = replace(setting, effect=effect)
            drawn = simulated.differences(changed, suites=SUITES, seeds=SEEDS, seed=len(rates))
            rates.append(simulated.error(simulated.verdicts(drawn, looks=LOOKS), effect))
            codes, _ = simulated.until_settled(drawn[:FEWER], begin=BEGIN, most=SEEDS)
            settled.append(simulated.error(codes, effect))
        worst = [max(worst[0], *rates), max(worst[1], *settled)]
        shown = " ".join(f"{100 * rate:>10.1f}" for rate in (*rates, *settled))
        print(f"{setting.claims:>6} {setting.correlation:>4} {words:<30} {shown}", flush=True)
    print(f"largest: {100 * worst[0]:.1f} %; until settled {100 * worst[1]:.1f} % (of {FEWER})\n")
    _power()
    _settled()
    print(f"{time.process_time() - begun:.0f} s of one core")
    return 0


def _settings() -> list[tuple[Setting, str]]:
    alike = [
        (Setting(claims=claims, correlation=r), "normal, alike")
        for claims, r in itertools.product((1, 3, 9, 27), (0.0, 0.8))
    ]
    kinds = {
        "one row spreads 5 times as much": simulated.one_wide,
        "every other row does": simulated.half_wide,
        "spreads from .2 to 4.5": simulated.graded,
    }
    unlike = [
        (Setting(claims=claims, correlation=r, spreads=make(claims)), words)
        for claims, r in itertools.product((4, 9, 27), (0.0, 0.8))
        for words, make in kinds.items()
        if (claims, r) != (4, 0.0)
    ]
    odd = [
        (Setting(claims=9, correlation=r, noise="heavy", spreads=spreads), words)
        for r in (0.0, 0.8)
        for spreads, words in ((1.0, "heavy tails"), (simulated.one_wide(9), "heavy, one wide"))
    ]
    odd += [(Setting(claims=9, correlation=0.5, noise="collapse"), "a tenth of runs collapses")]
    return alike + unlike + odd


def _power() -> None:
    print(f"published difference {PUBLISHED:g} sd of a run, margin half of it; % of claims")
    names = ("REPLICATED", "SMALLER", "DIRECTION ONLY", "NOT REPLICATED", "INCONCLUSIVE")
    print(
        f"{'claims':>6} {'r':>4} {'truth':<8} {'seeds':>5} " + " ".join(f"{n:>14}" for n in names)
    )
    for claims, r in itertools.product((1, 9, 27), (0.0, 0.5)):
        for effect, word in ((PUBLISHED, "true"), (MARGIN, "half"), (0.0, "none")):
            setting = Setting(claims=claims, correlation=r, effect=effect)
            drawn = simulated.differences(
                setting, suites=max(100, 2000 // claims), seeds=10, seed=3
            )
            for n in (3, 5, 8, 10):
                codes = simulated.verdicts(drawn, looks=[n])
                shares = (100 * simulated.share(codes, name) for name in names)
                print(
                    f"{claims:>6} {r:>4} {word:<8} {n:>5} "
                    + " ".join(f"{share:>14.0f}" for share in shares)
                )


def _settled() -> None:
    print(f"\nuntil settled, from {BEGIN} to {SEEDS} seeds a row, beside {SEEDS} seeds for all")
    heads = ("seeds a row", "settled, %", "all at 20, %")
    print(f"{'claims':>6} {'r':>4} {'truth':<8} " + " ".join(f"{head:>12}" for head in heads))
    for claims, r in itertools.product((1, 9), (0.0, 0.5)):
        for effect, word in ((PUBLISHED, "true"), (MARGIN, "half"), (0.0, "none")):
            setting = Setting(claims=claims, correlation=r, effect=effect)
            drawn = simulated.differences(setting, suites=FEWER, seeds=SEEDS, seed=5)
            codes, n = simulated.until_settled(drawn, begin=BEGIN, most=SEEDS)
            fixed = simulated.verdicts(drawn, looks=[SEEDS])
            left = [simulated.share(x, "INCONCLUSIVE") for x in (codes, fixed)]
            print(
                f"{claims:>6} {r:>4} {word:<8} {n.mean():>12.1f} "
                + " ".join(f"{100 * (1 - share):>12.0f}" for share in left)
            )


if __name__ == "__main__":
    sys.exit(main())
