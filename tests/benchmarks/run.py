"""The benchmark table, on demand: what to look for is a change of a ratio, not of a time.

    python tests/benchmarks/run.py                       all but two, about 5 minutes on 2 cores
    python tests/benchmarks/run.py --only step,kmeans    some parts

Times on the CPU are CPU seconds of one thread unless a line says "wall", on CUDA they are taken
with events; both are medians. The peak that shares refer to is what simple work reaches in the same
run. Needs PyTorch, NumPy and Pillow; a part that needs more than there is says so and is left out.
`gpu.py` beside it is for a GPU, a whole pretraining and training included.
"""

import argparse
import importlib
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _bench
import torch

#: Part -> the module whose `rows(setting)` measures it; in the order of the table.
PARTS = {
    "step": "step",
    "data": "data_path",
    "kmeans": "kmeans_quality",
    "pac": "pac",
    "platform": "platform_cost",
    "store": "store_cost",
    "tune": "tune_cost",
    "growth": "growth",
}
#: Parts that run only when they are named: each takes many minutes.
LONG = ("tune", "growth")


def main() -> int:
    arguments = _parsed()
    device = _bench.device(arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    setting = _bench.Setting(device=device, quick=arguments.quick)
    report: dict[str, Any] = {"machine": _bench.machine(device), "quick": arguments.quick}
    print(" ".join(f"{k} {v}," for k, v in report["machine"].items()).rstrip(","), flush=True)
    missed = 0
    for part in arguments.only:
        rows = _measured(part, setting)
        report[part] = [asdict(row) | {"ok": row.ok} for row in rows]
        missed += sum(row.ok is False for row in rows)
        _write(arguments.output, report)
    print(f"{missed} aims missed" if missed else "every aim met")
    return 0


def _measured(part: str, setting: _bench.Setting) -> list[_bench.Row]:
    begun = time.monotonic()
    try:
        module = importlib.import_module(PARTS[part])
        rows: list[_bench.Row] = list(module.rows(setting))
    except ModuleNotFoundError as error:
        print(f"\n{part}: skipped, there is no {error.name}", flush=True)
        return []
    print(f"\n{part}: {module.title(setting)} ({time.monotonic() - begun:.0f} s)")
    for row in rows:
        print(row.line(), flush=True)
    return rows


def _write(output: Path | None, report: dict[str, Any]) -> None:
    if output is not None:
        output.write_text(json.dumps(report, indent=1))


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        type=_bench.parts(PARTS),
        default=[p for p in PARTS if p not in LONG],
        metavar="PARTS",
        help=", ".join(PARTS),
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer; under a minute")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="the figures as JSON")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no CUDA device here; leave the option out")
    return arguments


if __name__ == "__main__":
    _bench.find_package()
    sys.exit(main())
