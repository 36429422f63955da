"""CDC on CIFAR-10 from pretraining to last epoch, through the methods alone: no Ray, no store.

The aims, on one H200: 100 epochs of CDC with an evaluation after each in 10 minutes (stretch 6),
the network at 30 to 40 % of what a matrix product reaches.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import MEAN, Setting, flops, peak
from torch import Tensor

from deep_clustering.methods.algorithms.cdc import CDC
from deep_clustering.methods.cdc import METHOD, CDCConfig
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.networks.encoders import encoder as fresh
from deep_clustering.methods.networks.encoders import place
from deep_clustering.methods.pretraining.moco import MoCo
from deep_clustering.platform.metrics import agreement, calibration
from deep_clustering.platform.request import configs

STD = (0.2023, 0.1994, 0.2010)  # of the platform's cifar10
Tell = Callable[[dict[str, Any]], None]


def run(
    source: Path,
    *,
    device: torch.device,
    epochs: int,
    pretrain_epochs: int,
    encoder: Path | None,
    sets: list[str],
    seed: int,
    tell: Tell,
) -> None:
    """Pretrain (unless `encoder` is there), train, and `tell` all figures so far at every epoch."""
    array, labels = load(source)
    images = Images(array, mean=MEAN, std=STD, device=device)
    chosen: dict[str, Any] = {"clusters": int(labels.max()) + 1}
    if epochs:
        chosen["epochs"] = epochs
    if pretrain_epochs:
        warm_up = min(50, max(1, pretrain_epochs // 20))  # the published share of 1000 epochs
        chosen |= {"pretrain.epochs": pretrain_epochs, "pretrain.warmup_epochs": warm_up}
    config = configs.build(
        CDCConfig, METHOD.presets["cifar10"], chosen, configs.parse(CDCConfig, sets)
    )
    top = peak(Setting(device=device, quick=True))
    view = torch.zeros(4, 3, images.side, images.side, device=device)
    network = fresh(config.pretrain.backbone, side=images.side, replicas=Replicas.alone(device))
    one, both = flops(place(network, device), view)
    figures: dict[str, Any] = {
        "images": len(images),
        "config": configs.flatten(config),
        "peak_tflops": top / 1e12,
        "forward_gflop": one / 1e9,
        "forward_backward_gflop": both / 1e9,
    }
    print(f"{len(images)} images, peak {top / 1e12:.3g} TFLOP/s", flush=True)

    weights: dict[str, Tensor] | None = None
    if encoder is not None and encoder.exists():
        weights = torch.load(encoder, map_location="cpu", weights_only=True)
        print(f"pretrained weights from {encoder}", flush=True)
    elif pretrain_epochs:
        moco = MoCo(config.pretrain, images=images, replicas=Replicas.alone(device), seed=seed)
        trained = len(images) // moco.batch_size * moco.batch_size
        work = trained * 2 * (both + one)
        figures["pretraining"] = _train(
            moco, len(images), seed, device, lambda: {}, _shares(work, top), figures, tell
        )
        weights = moco.encoder_state()
        if encoder is not None:
            torch.save(weights, encoder)
    if not epochs:
        return
    model = CDC(
        config, images=images, replicas=Replicas.alone(device), seed=seed, encoder_state=weights
    )
    every = torch.arange(len(images))

    def evaluate() -> dict[str, float]:
        p = model.predict(every)[model.final_head].cpu().numpy()
        cluster = p.argmax(1)
        assignment, acc = agreement.match(cluster, labels, p.shape[1])
        ece = calibration.ece(p.max(1), assignment[cluster] == labels)
        return {"acc": acc, "ece": ece, "confidence": float(p.max(1).mean())}

    begun = time.monotonic()
    figures |= {f"initial_{k}": v for k, v in (model.initialise() | evaluate()).items()}
    figures["initialise_seconds"] = time.monotonic() - begun
    trained = len(images) // config.batch_size * config.batch_size
    work = trained * (2 * one + both) + len(images) * one
    figures["cdc"] = _train(
        model, len(images), seed, device, evaluate, _shares(work, top), figures, tell
    )
    total = figures["initialise_seconds"] + sum(row["seconds"] for row in figures["cdc"])
    figures["cdc_seconds"] = total
    tell(figures)
    whole = total / config.epochs * 100 / 60
    print(f"CDC: {total:.0f} s; 100 epochs at this pace {whole:.1f} min (aim 10, stretch 6)")


def load(source: Path) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images (N, 3, S, S) and integer labels (N,).

    Args:
        source: `NAME.npy` with `NAME.labels.npy` beside it, or a folder of SPLIT/CLASS/IMAGE files,
            all splits together.
    """
    if source.suffix == ".npy":
        return np.load(source), np.load(source.with_suffix(".labels.npy")).astype(np.int64)
    from PIL import Image

    files = sorted(file for file in source.glob("*/*/*") if file.is_file())
    if not files:
        raise SystemExit(f"{source} has no files SPLIT/CLASS/IMAGE; give a folder that has")
    names = {name: i for i, name in enumerate(sorted({file.parent.name for file in files}))}
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    labels = np.array([names[file.parent.name] for file in files])
    return pixels.transpose(0, 3, 1, 2).copy(), labels


def _shares(work: float, top: float) -> Callable[[float], dict[str, float]]:
    """What an epoch's seconds say about the network: its rate and share of the peak."""
    return lambda seconds: {
        "network_tflops": work / seconds / 1e12,
        "share_of_peak": work / seconds / top,
    }


def _train(
    trainable: Any,
    count: int,
    seed: int,
    device: torch.device,
    evaluate: Callable[[], dict[str, float]],
    shares: Callable[[float], dict[str, float]],
    figures: dict[str, Any],
    tell: Tell,
) -> list[dict[str, float]]:
    """The loop over epochs, a row for each; wall time, the device waited for once an epoch."""
    order = torch.Generator().manual_seed(seed)
    size = trainable.batch_size
    kind = type(trainable).__name__
    rows: list[dict[str, float]] = []
    for epoch in range(1, trainable.epochs + 1):
        begun = time.monotonic()
        shuffled = torch.randperm(count, generator=order).to(device)
        losses = [trainable.step(shuffled[s : s + size]) for s in range(0, count - size + 1, size)]
        means = {
            k: float(torch.stack([loss[k].float() for loss in losses]).mean()) for k in losses[0]
        }
        trained = time.monotonic()
        found = evaluate()
        took = time.monotonic() - begun
        row = {
            "epoch": epoch,
            "seconds": took,
            "evaluation_seconds": time.monotonic() - trained,
            **shares(took),
            **means,
            **found,
        }
        rows.append(row)
        tell(figures | {f"{kind.lower()}_epochs": rows})
        shown = {k: row[k] for k in ("share_of_peak", *list(means)[:2], *found)}
        text = " ".join(f"{k} {v:.4g}" for k, v in shown.items())
        print(f"{kind} {epoch}/{trainable.epochs} {took:.2f} s {text}", flush=True)
    return rows
