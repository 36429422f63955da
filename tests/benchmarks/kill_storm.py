"""A storm of seeded kills on commands with small runs, on demand.

    python tests/benchmarks/kill_storm.py --kills 200 --seed 1

Every command is killed at a random moment, one process of it at a time: its own, a lane's, the
planner, Ray's servers or agents. It is repeated until it ends, and the store is compared with an
undisturbed one. Prints what it does; exit code 1 when a promise was broken.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from _bench import ROOT

sys.path.insert(0, str(ROOT / "tests"))  # for `support`


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    from support.command import invocation
    from support.small import images
    from support.storm import calm, storm

    with tempfile.TemporaryDirectory(prefix="deep-clustering-storm-") as folder:
        work = Path(folder)
        images(work / "bunte Bilder")

        def fit(store: str) -> list[object]:
            where = ["--store", work / store, "--data", work / "data"]
            return ["train", "pac", "--dataset", "digits", "--seeds", 4, *where]

        def train(store: str) -> list[object]:
            return invocation(work, "train", store, "--seeds", 5, "--set", "epochs=40")

        def tune(store: str) -> list[object]:
            space = ("--space", "encoder_lr", "--set", "epochs=30")
            return invocation(work, "tune", store, "--trials", 8, *space)

        begun = time.monotonic()
        commands = [fit, train, tune]
        undisturbed = calm(work, commands)
        took = ", ".join(f"{seconds:.0f} s" for seconds in undisturbed.seconds)
        print(f"undisturbed: {took}", flush=True)
        report = storm(
            work,
            commands,
            undisturbed,
            kills=arguments.kills,
            seed=arguments.seed,
            say=lambda text: print(text, flush=True),
        )
        print(f"seed {arguments.seed}, {time.monotonic() - begun:.0f} s: {report.text()}")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
