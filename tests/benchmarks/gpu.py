"""Everything that is to be known of a GPU, by one command that takes at most 8 minutes.

    python tests/benchmarks/gpu.py --data cifar10-jpg.tar.xz --output gpu.json
    python tests/benchmarks/gpu.py --only run --seconds 30000 --pretrain-epochs 1000 --epochs 100 \\
        --data cifar10-jpg.tar.xz --encoder moco.pt --output run.json

Needs the repository, PyTorch, torchvision, NumPy, SciPy and scikit-learn, and nothing else: no
installation, Ray, Optuna or polars. `--data` is the packed archive of CIFAR-10's pictures
(SPLIT/CLASS/FILE); without it pictures of the same number and size are made up.

Each part is a process of its own with a limit of time, so that none can take the others'. A figure
is written the moment it is known, to FILE.jsonl beside the output, and printed and put into the
JSON file at once. The second form is a whole pretraining and training.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _bench

#: Seconds that all parts have together.
WHOLE = 480.0

#: Part -> seconds of these that it may take at most, in the order in which they run; the last one
#: may take all that is left.
PARTS = {
    "data": 60.0,
    "correct": 100.0,
    "tests": 60.0,
    "fast": 60.0,
    "peaks": 20.0,
    "step": 60.0,
    "epochs": 90.0,
    "run": 120.0,
    "compiled": 120.0,
    "packed": 45.0,
}
#: And that the last part keeps when those before it take all of their time.
_KEPT = 40.0
#: A part with less time than that compiles no encoder, but for the one that is about it.
_COMPILING = 600.0


@dataclass(frozen=True)
class Ended:
    """How a part ended."""

    seconds: float
    how: str  # "done", "time was up", "it has not ended", or the last line of its error
    rows: list[dict[str, Any]]


def main() -> int:
    arguments = _parsed()
    if arguments.part is not None:
        import _gpu_parts

        _gpu_parts.carry_out(arguments)
        return 0
    begun = time.monotonic()
    lines = arguments.output.with_suffix(".jsonl")
    lines.write_text("")
    parts: dict[str, Ended] = {}
    machine = _bench.machine(_bench.device(arguments.device))
    with tempfile.TemporaryDirectory(prefix="deep-clustering-gpu-") as work:
        for name in arguments.only:
            left = arguments.seconds - (time.monotonic() - begun)
            # Each has its own limit, and the last one all that is left.
            scale = arguments.seconds / WHOLE
            most = left
            if name != arguments.only[-1]:
                most = min(PARTS[name] * scale, left - _KEPT * scale)

            def told(ended: Ended, name: str = name) -> None:
                parts[name] = ended
                _write(arguments.output, machine, parts)

            _part(name, max(0.0, most), Path(work), lines, arguments.device, told)
    print(f"\n{'part':<10}{'seconds':>8}  how it ended")
    for name, ended in parts.items():
        print(f"{name:<10}{ended.seconds:>8.1f}  {ended.how}")
    missed = sum(row["ok"] is False for ended in parts.values() for row in ended.rows)
    print(f"{missed} aims missed; all figures in {arguments.output}")
    return 0 if all(ended.how == "done" for ended in parts.values()) else 1


def _part(
    name: str, seconds: float, work: Path, lines: Path, device: str, told: Callable[[Ended], None]
) -> None:
    """Carries out a part in a process of its own; `told` gets what it has so far, and its end."""
    begun, before = time.monotonic(), lines.stat().st_size
    command = [sys.executable, __file__, *sys.argv[1:], "--part", name]
    own = max(1.0, 0.9 * seconds - 5)  # what it plans with: its imports come before
    command += ["--work", str(work), "--lines", str(lines), "--limit", f"{own:.0f}"]
    environment = dict(os.environ)
    if name != "compiled" and seconds < _COMPILING:
        environment["TORCH_COMPILE_DISABLE"] = "1"
    if _bench.device(device).type == "cpu":
        environment["TRITON_INTERPRET"] = "1"  # its programs then run on the CPU, for the part fast
    print(f"\n{name}", flush=True)
    if seconds < 1:
        told(Ended(0.0, "no time was left", []))
        return
    errors = work / f"{name}.errors"
    rows: list[dict[str, Any]] = []
    with errors.open("wb") as file:
        # A group of its own: with it ends whatever it has started.
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=file, env=environment, process_group=0
        )
    until = begun + seconds + _grace(seconds)
    try:
        running, size = True, before
        while running:
            running = child.poll() is None and time.monotonic() < until
            if lines.stat().st_size == size:
                time.sleep(0.1)
                continue
            size, known, rows = lines.stat().st_size, len(rows), _rows(lines, before)
            for row in rows[known:]:
                given = {k: v for k, v in row.items() if k not in ("ok", "part")}
                print(_bench.Row(**given).line(), flush=True)
            told(Ended(time.monotonic() - begun, "it has not ended", rows))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    if child.returncode is None:
        how = "time was up"
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(10)  # a process that a driver holds may outlast its end
    else:
        wrong = errors.read_text(errors="replace").strip().splitlines() or ["it was killed"]
        how = "done" if child.returncode == 0 else wrong[-1]
    told(Ended(time.monotonic() - begun, how, rows))


def _rows(lines: Path, before: int) -> list[dict[str, Any]]:
    """The whole lines of the file from a place on."""
    with lines.open() as file:
        file.seek(before)
        return [json.loads(line) for line in file if line.endswith("\n")]


def _grace(seconds: float) -> float:
    """Seconds after its limit that a part gets which looks at the clock itself."""
    return min(10.0, seconds / 10)


def _write(output: Path, machine: dict[str, Any], parts: dict[str, Ended]) -> None:
    """The JSON file, whole or as it was before."""
    told = {n: {"seconds": p.seconds, "how": p.how, "rows": p.rows} for n, p in parts.items()}
    beside = output.with_suffix(".partial")
    beside.write_text(json.dumps({"machine": machine, "parts": told}, indent=1))
    os.replace(beside, output)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        type=_bench.parts(PARTS),
        default=list(PARTS),
        metavar="PARTS",
        help=", ".join(PARTS),
    )
    parser.add_argument("--data", type=Path, metavar="ARCHIVE", help="see above")
    parser.add_argument("--output", type=Path, default=Path("gpu.json"), metavar="FILE.json")
    parser.add_argument("--seconds", type=float, default=WHOLE, help="for all parts together")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--tiny", action="store_true", help="sizes that try the script itself")
    run = parser.add_argument_group("the part `run`")
    run.add_argument("--pretrain-epochs", type=int, help="of MoCo. [default: what fits]")
    run.add_argument("--epochs", type=int, help="of CDC. [default: what fits]")
    run.add_argument(
        "--encoder",
        type=Path,
        metavar="FILE.pt",
        help="pretrained weights: used in place of the pretraining if there, else written, at "
        "least once a minute",
    )
    run.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    run.add_argument("--seed", type=int, default=0)
    for hidden, kind in (("part", str), ("work", Path), ("lines", Path), ("limit", float)):
        parser.add_argument(f"--{hidden}", type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    _bench.find_package()
    sys.exit(main())
