"""`platform doctor`: what this machine can do, and what is missing."""

import importlib.util
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deep_clustering.platform.commands._answer import Answer

_COLOURS = {"ok": "green", "missing": "red", "none": "yellow"}
_PACKAGES = ("ray", "torch", "torchvision", "optuna", "pyarrow", "polars", "scikit-learn")


def examine(store: str | None, data: Path | None) -> Answer:
    """Print a line for each thing a run needs; the code is 0 when all is there, else 5."""
    import psutil

    from deep_clustering.platform.data import catalogue, dataset
    from deep_clustering.platform.errors import PlatformError
    from deep_clustering.platform.places import absolute
    from deep_clustering.platform.request.options import default_store
    from deep_clustering.platform.store.store import Store

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    lines: list[dict[str, object]] = []

    def line(name: str, good: bool, text: str, needed: bool = True) -> None:
        state = "ok" if good else "missing" if needed else "none"
        lines.append({"what": name.strip(), "state": state, "text": text})
        table.add_row(name, f"[{_COLOURS[state]}]{state}[/]", Text(text))

    line("python", sys.version_info >= (3, 11), sys.version.split()[0])
    for package in _PACKAGES:
        try:
            line(package, True, version(package))
        except PackageNotFoundError:
            line(package, False, f"pip install {package}")
    faiss = importlib.util.find_spec("faiss") is not None
    line("faiss", faiss, _faiss() if faiss else "pip install faiss-gpu, or faiss-cpu")

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory()
    line("CPU", True, f"{cpus} cores")
    free = memory.available / 2**30
    line("memory", free > 2, f"{free:.1f} of {memory.total / 2**30:.1f} GiB free; a lane needs 1.5")
    gpus = _gpus()
    line("GPU", bool(gpus), "; ".join(gpus) or "training runs on the CPU", needed=False)

    root = absolute(data or dataset.default_root())
    near = next(p for p in (root, *root.parents) if p.exists())
    disk = shutil.disk_usage(near).free / 2**30
    usable = near.is_dir() and os.access(near, os.W_OK | os.X_OK)
    of = f"{disk:.0f} GiB free" if usable else "which is not a folder that you can write in"
    line("data", usable and disk > 1, f"{root}, {of}")
    try:
        opened = Store.open(store or default_store(), create=False)
        line("store", True, f"{opened.uri}, {len(opened.finished())} runs")
    except PlatformError as error:
        line("store", False, str(error), needed=False)
    if os.environ.get("RAY_ADDRESS"):
        address = os.environ["RAY_ADDRESS"]
        line("Ray", True, f"RAY_ADDRESS={address} is set and not used; give --address to use it")
    else:
        line("Ray", True, "each command starts its own, with a secret token and no dashboard")
    for name, entry in catalogue.CATALOGUE.items():
        status = catalogue.status(entry, root)
        line(f"  {name}", status.kind in ("ready", "readable"), status.text, needed=False)
    Console(highlight=False).print(table)
    missing = any(line["state"] == "missing" for line in lines)
    return Answer(code=5 if missing else 0, tables={"checks": lines})


def _faiss() -> str:
    import faiss

    return (
        f"{faiss.__version__}, {faiss.get_num_gpus() if hasattr(faiss, 'get_num_gpus') else 0} GPUs"
    )


def _gpus() -> list[str]:
    import torch

    return [
        f"{p.name}, {p.total_memory / 2**30:.0f} GiB"
        for p in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    ]
