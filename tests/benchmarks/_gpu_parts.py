"""The parts of `gpu.py` but for the real run; each is carried out in a process of its own."""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import _bench
import numpy as np
import torch
from _bench import MEAN, ROOT, STD, Row, Setting, attempted
from torch import Tensor

from deep_clustering.methods._fields import Precision
from deep_clustering.methods._proven import plainly
from deep_clustering.methods.algorithms.cdc import CDC
from deep_clustering.methods.cdc import CDCConfig
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.pretraining.configs import MoCoConfig
from deep_clustering.methods.pretraining.moco import MoCo

#: Pictures, sides, batches: CIFAR-10's, and what tries the script itself.
COUNT, TINY_COUNT = 60_000, 240
#: Runs that are packed on one card.
PACKED = 4
#: Seconds that a group of NCCL gets.
_NCCL = 25.0


def carry_out(arguments: argparse.Namespace) -> None:
    """A part in this process: writes each row as soon as it is known."""
    device = _bench.device(arguments.device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # as in a lane: shapes never change
    setting = Setting(device=device, quick=True, tiny=arguments.tiny)
    part: Callable[[argparse.Namespace, Setting], Iterator[Row]] = _PARTS[arguments.part]
    with arguments.lines.open("a") as file:
        for row in part(arguments, setting):
            told = asdict(row) | {"ok": row.ok, "part": arguments.part}
            file.write(json.dumps(told) + "\n")
            file.flush()


# ---- the pictures


def _data(arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """Unpacks and decodes the archive once; the other parts map the arrays."""
    begun = time.monotonic()
    pixels, labels = _decoded(arguments, setting)
    np.save(arguments.work / "labels.npy", labels)
    np.save(arguments.work / "images.npy", pixels)  # last: where it is, both are
    yield Row(name="pictures decoded or made", value=len(pixels), unit="")
    yield Row(name="in", value=time.monotonic() - begun, unit="s")


def _decoded(arguments: argparse.Namespace, setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 3, 32, 32) and labels (N,) of the archive, or made up."""
    if arguments.data is None:
        random = np.random.default_rng(0)
        count = TINY_COUNT if setting.tiny else COUNT
        labels = random.integers(0, 10, count)
        colours = random.integers(40, 216, (10, 3, 1, 1))
        noise = random.integers(-40, 40, (count, 3, 32, 32), dtype=np.int16)
        return (colours[labels] + noise).astype(np.uint8), labels
    from io import BytesIO

    from PIL import Image

    found: list[tuple[str, np.ndarray]] = []
    with tarfile.open(arguments.data) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                picture = np.asarray(Image.open(BytesIO(file.read())).convert("RGB"))
                found.append((member.name, picture))
    found.sort(key=lambda pair: pair[0])
    classes = [name.split("/")[-2] for name, _ in found]
    names = {name: i for i, name in enumerate(sorted(set(classes)))}
    pixels = np.stack([picture for _, picture in found]).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels), np.array([names[c] for c in classes])


def pictures(arguments: argparse.Namespace, setting: Setting) -> tuple[Images, np.ndarray]:
    """The images on the device and their labels, which no training sees."""
    if (arguments.work / "images.npy").exists():
        array = np.load(arguments.work / "images.npy", mmap_mode="r")
        labels = np.load(arguments.work / "labels.npy")
    else:  # the part `data` was not asked for, or was cut off
        array, labels = _decoded(arguments, setting)
    return Images(array, mean=MEAN, std=STD, device=setting.device), labels


# ---- whether it is right


def _correct(arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """Views, k-means and a few steps of every method, against float64 on the CPU."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    sys.path.insert(0, str(ROOT / "tests"))
    yield from attempted("views", partial(_views, setting))
    yield from attempted("k-means", partial(_kmeans, setting))
    yield from attempted("steps", partial(_steps, setting))
    yield from attempted("normalised", partial(_normalised, arguments, setting))
    if setting.cuda:
        for world in (1, 2):
            yield from attempted("NCCL", partial(_by_nccl, world, arguments, setting))


def _views(setting: Setting) -> Iterator[Row]:
    """Each view of the same draws here and on the CPU: the largest difference, in levels."""
    from deep_clustering.methods.images.clean import Clean
    from deep_clustering.methods.images.contrastive import Contrastive
    from deep_clustering.methods.images.randaugment import RandAugment
    from deep_clustering.methods.images.strong import Strong
    from deep_clustering.methods.images.weak import Weak

    n, side = (16, 8) if setting.tiny else (512, 32)
    array = np.random.default_rng(0).integers(0, 256, (n, 3, side, side)).astype(np.uint8)
    indices = torch.arange(n)
    views: dict[str, Any] = {
        "clean": Clean(side),
        "weak": Weak(side),
        "strong": Strong(side),
        "contrastive": Contrastive(side=side),
        "randaugment": RandAugment(side, (0.2, 1.0), 0.5),
    }
    for name, view in views.items():
        draws = view.draw(n, torch.Generator().manual_seed(0))
        made = []
        for device in (torch.device("cpu"), setting.device):
            images = Images(array, mean=MEAN, std=STD, device=device)
            made.append(view.apply(images.take(indices), draws, images.mean, images.std).cpu())
        levels = (made[0] - made[1]).abs() * torch.tensor(STD).view(3, 1, 1) * 255
        yield Row(name=f"view {name}", value=float(levels.max()), unit="levels", at_most=1.0)


def _kmeans(setting: Setting) -> Iterator[Row]:
    """Inertia here against float64 on the CPU."""
    from kmeans_reference import features

    from deep_clustering.methods.clustering.kmeans import kmeans

    n, k = (60, 10) if setting.tiny else (1000, 500)
    ratios = []
    for seed in range(1 if setting.tiny else 4):
        x = features(n, 512, seed=seed)
        here, there = kmeans(x.to(setting.device), k), kmeans(x.double(), k)
        ratios.append(float(here.inertia) / float(there.inertia))
    yield Row(
        name=f"k-means inertia, n={n} K={k}",
        value=float(np.mean(ratios)),
        unit="x float64",
        at_least=0.995,
        at_most=1.005,
    )


def _steps(setting: Setting) -> Iterator[Row]:
    """Losses of the tests' tiny trials: the largest relative difference over two steps.

    All models of a method continue from one state, which one on the CPU has after its start.
    """
    from support import dpac_trials, ruc_joined, scan_trials, trials

    given: dict[str, tuple[Callable[..., Any], Any]] = {
        "CDC": (trials.cdc, trials.CONFIG),
        "MoCo": (trials.moco, trials.PRETRAIN),
        "SimCLR": (dpac_trials.pretrained, dpac_trials.PRETRAIN),
        "DPAC": (dpac_trials.dpac, dpac_trials.CONFIG),
        "SCAN": (scan_trials.scan, scan_trials.CONFIG),
        "RUC": (ruc_joined.ruc, ruc_joined.CONFIG),
    }
    here: dict[str, Any] = {
        "replicas": Replicas.alone(setting.device),
        "pictures": trials.images(device=setting.device),
    }
    for name, (build, config) in given.items():
        exactly = replace(config, precision="fp32")
        first = build(exactly)
        first.initialise()
        state = first.state()
        exact = _losses(build(exactly, dtype=torch.float64), state)
        for precision, most in (("fp32", 5e-3), ("bf16", 0.15)):
            told = _losses(build(replace(config, precision=precision), **here), state)
            off = max(abs(told[k] - v) / max(abs(v), 0.1) for k, v in exact.items())
            yield Row(name=f"{name}, two steps, {precision}", value=off, unit="", at_most=most)


def _normalised(arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """Batch normalisation by two processes on the device against one on the CPU, in float64."""
    from support import normalised_joined, ranks

    folder = arguments.work / "ranks"
    folder.mkdir()
    environment = _bench.paths(arguments.work)
    alone, together = ranks.results(normalised_joined, folder, str(setting.device), environment)
    expected = alone["normalised"]
    off = max(
        float((found["normalised"][name] - value).abs().max() / value.abs().max().clamp_min(1))
        for found in together
        for name, value in expected.items()
    )
    yield Row(name="normalised in two processes", value=off, unit="", at_most=1e-6)
    yield from _kernels(together[0])


def _kernels(found: Any) -> Iterator[Row]:
    """What a process says of the kernels of the normalisation."""
    for kind, told in found.items():
        if kind != "normalised":
            (said,) = told
            wrong = 0.0 if said == "right" else 1.0
            yield Row(name=f"  its kernels, {kind}: {said}", value=wrong, unit="", at_most=0.0)


def _by_nccl(world: int, arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """The same through NCCL, which carries real groups: alone, and two that share the card.

    The second is more than NCCL promises; that it is refused is no fault.
    """
    from support import normalised_joined, ranks

    name = f"NCCL, {world} on one card"
    folder = arguments.work / f"ranks of nccl {world}"
    folder.mkdir()
    where: dict[str, Any] = {"device": str(setting.device), "backend": "nccl", "world": world}
    environment = _bench.paths(arguments.work)
    try:
        _, together = ranks.results(
            normalised_joined, folder, environment=environment, limit=_NCCL, **where
        )
    except AssertionError as error:
        lines = [x.strip() for x in str(error).splitlines() if "rror" in x or "uplicate" in x]
        yield Row(name=f"{name}, refused: {(lines or ['?'])[-1]}", value=1, unit="")
    except subprocess.TimeoutExpired:
        yield Row(name=f"{name}, not done in {_NCCL:g} s", value=1, unit="")
    else:
        yield Row(name=name, value=0, unit="refusals")
        yield from _kernels(together[0])


def _losses(model: Any, state: dict[str, Tensor]) -> dict[str, float]:
    """The losses of two steps from a state on."""
    from support import trials

    model.load_state(state)
    told = trials.stepped(model, model.batch_size, 2)
    return {name: float(v) for name, v in told.items() if re.search("loss|clustering", name)}


def _tests(arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """The tests that need a GPU; nothing where there is no pytest or no GPU."""
    if importlib.util.find_spec("pytest") is None:
        yield Row(name="pytest is not there", value=0, unit="tests")
        return
    if not setting.cuda:
        return
    # The others may need what a bare machine lacks; so may options of plugins of pytest.
    files = [x for x in (ROOT / "tests/methods").rglob("test_*.py") if "mark.gpu" in x.read_text()]
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "-m", "gpu"),
            *("--noconftest", "-o", "addopts=", "-o", "filterwarnings=default"),
            *("--continue-on-collection-errors", *map(str, files)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=_bench.paths(arguments.work) | {"COLUMNS": "200"},
    ) as tests:
        try:
            said, _ = tests.communicate(timeout=arguments.limit)
        except subprocess.TimeoutExpired:
            tests.kill()
            said, _ = tests.communicate()
            yield Row(name="GPU tests, time was up", value=1, unit="", at_most=0.0)
    for word in ("passed", "failed", "error"):
        number = re.search(rf"(\d+) {word}", said)
        most = {} if word == "passed" else {"at_most": 0.0}
        yield Row(name=f"GPU tests {word}", value=int(number[1]) if number else 0, unit="", **most)
    for line in re.findall(r"^(?:FAILED|ERROR) (.*)", said, re.MULTILINE):
        yield Row(name=f"  {line}", value=1, unit="")


# ---- how fast


def _peaks(arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """What the device reaches where it is easy: a large product, a large copy."""
    yield Row(name="product, bf16", value=_bench.peak(setting) / 1e12, unit="TFLOP/s")
    numbers = (1 << 20) if setting.tiny else (1 << 29)
    source = torch.empty(numbers, dtype=torch.float32, device=setting.device)
    target = torch.empty_like(source)
    took = _bench.seconds(lambda: target.copy_(source), setting)
    yield Row(name="copy, read and written", value=8 * numbers / took / 1e12, unit="TB/s")


def _step(arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """The parts of CDC's step against the peak, and a step of MoCo."""
    import step

    yield from step.rows(setting)


def _fast(arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """The fast forms against the plain ones; a step of CDC with and without them."""
    import _gpu_fast

    yield from _gpu_fast.rows(setting)
    images, _ = pictures(arguments, setting)
    seen = set()
    for name, build in _models(images, setting):
        if (method := name.split(",")[0]) not in seen:
            seen.add(method)
            found = partial(_forms, name, build, len(images), setting)
            yield from attempted(f"step of {name}", found)


def _forms(name: str, build: Callable[[], Any], count: int, setting: Setting) -> Iterator[Row]:
    """Which fast forms a step uses, why not the others, and what they gain."""
    model = build()
    few = partial(epoch, model, count, 0, setting, most=3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        for _ in range(3):
            few()  # each form proves itself
        for piece in model.pieces:
            replayed = float(piece.form == "replayed")
            # One that this configuration has no use for was never called.
            aim = {"at_least": 1.0} if setting.cuda and piece.form != "plain so far" else {}
            yield Row(name=f"{piece.name}: {piece.form}", value=replayed, unit="", **aim)
        took = _bench.seconds(few, setting, repeats=2)
    refused = [str(x.message) for x in caught if "fast form" in str(x.message)]
    yield Row(name=f"{name}, forms refused", value=len(refused), unit="", at_most=0.0)
    for said in refused:
        yield Row(name=said, value=1, unit="", at_most=0.0)
    with plainly():
        plain = _bench.seconds(few, setting, repeats=2)
    value, ratio = took / 3 * 1e3, plain / took
    yield Row(name=f"step of {name}", value=value, unit="ms", ratio=ratio, of="x plain")


def _epochs(arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """Whole epochs, without evaluation."""
    images, _ = pictures(arguments, setting)
    for name, build in _models(images, setting):
        yield from attempted(f"epoch of {name}", partial(_epoch, name, build, len(images), setting))


def _epoch(name: str, build: Callable[[], Any], count: int, setting: Setting) -> Iterator[Row]:
    model = build()
    begun = time.monotonic()
    epoch(model, count, 0, setting, most=4)  # choice of kernels, allocations
    warm = time.monotonic() - begun
    epoch(model, count, 0, setting, most=6)  # proofs of what is replayed
    begun = time.monotonic()
    epoch(model, count, 1, setting)
    took = time.monotonic() - begun
    yield Row(name=f"epoch of {name}", value=took, unit="s")
    yield Row(name="  images", value=count / took, unit="1/s")
    yield Row(name="  first four steps", value=warm, unit="s")


def _models(images: Images, setting: Setting) -> Iterator[tuple[str, Callable[[], Any]]]:
    """How to build CDC on a ResNet-34, MoCo on a ResNet-34 and a ResNet-18, in CIFAR-10's sizes.

    In bfloat16 on a GPU; CDC in float32, the default, as well.
    """
    alone: dict[str, Any] = {"images": images, "replicas": Replicas.alone(setting.device)}
    sizes: dict[str, Any] = {}
    small: dict[str, Any] = {}
    if setting.tiny:
        sizes = {"batch_size": 40, "sub_batch_size": 20, "mini_clusters": 20}
        small = {"batch_size": 16, "queue_size": 64}
    chosen: list[tuple[str, str, Precision]] = [
        ("CDC", "resnet34", "auto"),
        ("CDC", "resnet34", "fp32"),
        ("MoCo", "resnet34", "auto"),
        ("MoCo", "resnet18", "auto"),
    ]
    for method, backbone, precision in chosen:
        small |= {"backbone": "small" if setting.tiny else backbone, "precision": precision}
        first = MoCoConfig(blur=0.0, **small)
        if method == "MoCo":
            yield f"MoCo, {backbone}", partial(MoCo, first, seed=0, **alone)
        else:
            sizes |= {"precision": precision}
            config = CDCConfig(pretrain=first, initialisation="random", **sizes)
            yield f"CDC, {backbone}, {precision}", partial(CDC, config, seed=0, **alone)


def epoch(
    model: Any, count: int, number: int, setting: Setting, most: int | None = None
) -> dict[str, float]:
    """The steps of an epoch, in an order of its own, or the first few; the means of the losses."""
    order = torch.Generator().manual_seed(number)
    shuffled = torch.randperm(count, generator=order).to(setting.device)
    ends = list(range(0, count + 1, model.batch_size))
    losses = [model.step(shuffled[a:b]) for a, b in list(pairwise(ends))[:most]]
    # `.item` waits for the device, so the clock is right.
    return {k: torch.stack([x[k].float() for x in losses]).mean().item() for k in losses[0]}


# ---- several runs on one card


def _packed(arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """Throughput of small runs side by side, against one of them."""
    each = 1.0 if setting.tiny else 6.0
    rates = {n: _rate(n, each, arguments) for n in (1, PACKED)}
    for n, rate in rates.items():
        yield Row(name=f"{n} small runs at once", value=rate, unit="images/s")
    yield Row(name="packed against one", value=rates[PACKED] / rates[1], unit="x", at_least=2.5)


def _rate(count: int, seconds: float, arguments: argparse.Namespace) -> float:
    """Images per second of some processes together, which begin when all of them are ready."""
    command = [sys.executable, str(Path(__file__).with_name("gpu.py")), "--part", "load"]
    command += ["--device", arguments.device, "--limit", str(seconds), "--lines", os.devnull]
    command += ["--tiny"] if arguments.tiny else []
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()  # it is ready
    for child in children:
        assert child.stdin is not None
        child.stdin.write("begin\n")
        child.stdin.flush()
    return sum(float(child.communicate()[0]) for child in children) / seconds


def _load(arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """A small run for some seconds, once it is told to; prints how many images it trained on."""
    random = np.random.default_rng(0)
    array = random.integers(0, 256, (400, 3, 32, 32)).astype(np.uint8)
    images = Images(array, mean=MEAN, std=STD, device=setting.device)
    batch = 20 if setting.tiny else 200
    config = CDCConfig(
        pretrain=MoCoConfig(backbone="small" if setting.tiny else "resnet18"),
        precision="auto",
        batch_size=batch,
        sub_batch_size=batch // 2,
        mini_clusters=batch // 2,
        initialisation="random",
    )
    model = CDC(config, images=images, replicas=Replicas.alone(setting.device), seed=0)
    indices: Tensor = torch.arange(batch, device=setting.device)
    for _ in range(3):  # choice of kernels
        model.step(indices)
    print("ready", flush=True)
    sys.stdin.readline()
    begun, done = time.monotonic(), 0
    while time.monotonic() < begun + arguments.limit:
        losses = model.step(indices)
        float(next(iter(losses.values())))  # waits for the device
        done += batch
    print(done)
    yield from ()


def _compiled(arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    """A step as it stands, as a graph, and as a graph of compiled encoders."""
    import _gpu_compiled

    yield from _gpu_compiled.rows(setting, pictures(arguments, setting)[0])


def _run(arguments: argparse.Namespace, setting: Setting) -> Iterator[Row]:
    import _gpu_run

    images, labels = pictures(arguments, setting)
    yield from _gpu_run.rows(arguments, setting, images, labels)


_PARTS = {
    "data": _data,
    "correct": _correct,
    "tests": _tests,
    "fast": _fast,
    "peaks": _peaks,
    "step": _step,
    "epochs": _epochs,
    "run": _run,
    "compiled": _compiled,
    "packed": _packed,
    "load": _load,
}
