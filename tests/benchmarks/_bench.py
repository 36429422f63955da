"""What the benchmarks share: rows of the table, timing on CPU and CUDA, the device's peak."""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[2]

#: Mean and standard deviation of CIFAR-10 per channel, for whatever has to be normalised.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How to measure."""

    device: torch.device
    quick: bool
    tiny: bool = False  # sizes that try a benchmark itself

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    `ratio` compares with something measured in the same run, named by `of`: "of the step" is shown
    as a percentage, "x PIL" as a factor. An aim is about the ratio if there is one, else the value.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    of: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ok(self) -> bool | None:
        """Whether the aim is met; None without one."""
        if self.at_least is None and self.at_most is None:
            return None
        judged = self.value if self.ratio is None else self.ratio
        low = float("-inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low <= judged <= high

    def line(self) -> str:
        """At most 80 columns."""
        value = f"{_digits(self.value)} {self.unit}"
        ratio = "" if self.ratio is None else self._with_of(self.ratio)
        signs = ((">=", self.at_least), ("<=", self.at_most))
        aim = " ".join(f"{sign} {self._aim(a)}" for sign, a in signs if a is not None)
        if self.at_least is not None and self.at_most is not None:
            aim = f"{self._aim(self.at_least)}-{self._aim(self.at_most)}"
        mark = {None: "", True: "ok", False: "NO"}[self.ok]
        return f"  {self.name:<28}{value:>14}  {ratio:<18}{aim} {mark}".rstrip()

    def _aim(self, aim: float) -> str:
        return f"{100 * aim:g} %" if self.of.startswith("of ") else f"{aim:g}"

    def _with_of(self, ratio: float) -> str:
        if self.of.startswith("of "):
            return f"{100 * ratio:.1f} % {self.of}"
        return f"{ratio:.4g}{self.of}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def attempted(name: str, found: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows that are found; an error is one of them, and ends no more than these."""
    try:
        yield from found()
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        yield Row(name=f"{name}: {type(error).__name__}: {said}", value=1, unit="", at_most=0.0)


def seconds(
    work: Callable[..., Any],
    setting: Setting,
    *,
    prepare: Callable[[], Any] | None = None,
    repeats: int | None = None,
    calls: int = 1,
) -> float:
    """Median time of one call of `work`.

    On CUDA from events around `calls` calls in a row, waits for the host included; on the CPU the
    CPU time of this process, which other programs on the machine hardly change. What `prepare`
    returns is handed to `work`, and its time does not count.
    """
    if repeats is None:
        repeats = (5, 20)[not setting.quick] if setting.cuda else (1, 3)[not setting.quick]
    warm_up = 3 if setting.cuda else 1  # allocations, choice of kernels
    found = []
    for _ in range(warm_up + repeats):
        given = () if prepare is None else (prepare(),)
        found.append(_cuda(work, given, calls) if setting.cuda else _cpu(work, given, calls))
    return statistics.median(found[warm_up:])


def _cuda(work: Callable[..., Any], given: tuple[Any, ...], calls: int) -> float:
    torch.cuda.synchronize()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        work(*given)
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000 / calls


def _cpu(work: Callable[..., Any], given: tuple[Any, ...], calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        work(*given)
    return (time.process_time() - start) / calls


def peak(setting: Setting) -> float:
    """FLOP/s that the device reaches where it is easy.

    On CUDA a large bfloat16 matrix product. On the CPU float32: the better one of a matrix product
    and a 3x3 convolution, because on some processors the product's library uses half the width.
    """
    side = 8192 if setting.cuda else 256 if setting.tiny else 1536
    dtype = torch.bfloat16 if setting.cuda else torch.float32
    a, b = (torch.randn(side, side, device=setting.device).to(dtype) for _ in range(2))
    best = 2 * side**3 / seconds(lambda: a @ b, setting, repeats=20 if setting.cuda else 5)
    if not setting.cuda:
        x, w = torch.randn(16, 512, 8, 8), torch.randn(512, 512, 3, 3)
        took = seconds(lambda: torch.nn.functional.conv2d(x, w, padding=1), setting, repeats=5)
        best = max(best, 2 * 9 * w.shape[0] * x.numel() / took)
    return best


def flops(network: nn.Module, view: Tensor) -> tuple[float, float]:
    """FLOP per image of a forward pass, and of a forward and a backward pass."""
    counter = FlopCounterMode(display=False)
    with counter:
        result = network(view)
    forward = counter.get_total_flops()
    with counter:
        result.sum().backward()
    both = forward + counter.get_total_flops()
    for parameter in network.parameters():
        parameter.grad = None
    return forward / len(view), both / len(view)


def device(asked: str) -> torch.device:
    """The device of an option: "cpu", "cuda", or "auto", which is CUDA where there is one."""
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(asked)


def machine(where: torch.device | None = None) -> dict[str, Any]:
    """What was measured on."""
    where = device("auto") if where is None else where
    cuda = where.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(where) if cuda else "cpu",
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }


def find_package() -> None:
    """Makes `deep_clustering` importable from the sources where it is not installed."""
    try:
        import deep_clustering.methods  # noqa: F401
    except ModuleNotFoundError:
        package = ModuleType("deep_clustering")
        package.__path__ = [str(ROOT)]
        sys.modules["deep_clustering"] = package


def paths(folder: Path) -> dict[str, str]:
    """An environment in which other processes find the package (by links in a folder)."""
    package = folder / "deep_clustering"
    package.mkdir(exist_ok=True)
    for name in ("platform", "methods", "search_spaces", "ablations"):
        if not (package / name).exists():
            (package / name).symlink_to(ROOT / name)
    known = [str(folder), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, known))}


def parts(known: Collection[str]) -> Callable[[str], list[str]]:
    """For argparse: reads the names of some parts of a benchmark, with commas between them."""

    def read(text: str) -> list[str]:
        asked = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in asked if name not in known]
        if unknown or not asked:
            raise argparse.ArgumentTypeError(
                f"there is no part '{', '.join(unknown)}'; the parts are {', '.join(known)}"
            )
        return asked

    return read
