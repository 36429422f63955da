"""Parts of one CDC step, the rate of its network, and a step of the pretraining.

The parts are called one by one as the step calls them; the whole step is measured beside them. On
CUDA the k-means runs beside the strong pass, so what counts is its exposed share: how much longer
a step takes than the same step with targets that need no k-means.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import kmeans_reference
import torch
import torch.nn.functional as F
from _bench import MEAN, STD, Row, Setting, flops, peak, seconds
from torch import Tensor

from deep_clustering.methods.algorithms.cdc import CDC, mini_cluster_targets, select_by_confidence
from deep_clustering.methods.cdc import CDCConfig
from deep_clustering.methods.clustering.kmeans import kmeans
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.clean import Clean
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.images.strong import Strong
from deep_clustering.methods.images.weak import Weak
from deep_clustering.methods.networks.encoders import autocast, encoder, features_of, place
from deep_clustering.methods.pretraining.configs import MoCoConfig
from deep_clustering.methods.pretraining.moco import MoCo

SIDE = 32  # pixels


def _sizes(setting: Setting) -> dict[str, Any]:
    """CIFAR-10's on CUDA; what a laptop does in seconds elsewhere, with the same proportions."""
    if setting.cuda:
        return {"backbone": "resnet34", "batch": 1000, "moco": 256}
    if setting.tiny:
        return {"backbone": "small", "batch": 20, "moco": 8}
    batch = 40 if setting.quick else 80
    return {"backbone": "resnet18", "batch": batch, "moco": 32}


def title(setting: Setting) -> str:
    """What was measured."""
    sizes = _sizes(setting)
    batch = sizes["batch"]
    return f"CDC, {sizes['backbone']}, {SIDE} px, B={batch}, b={batch // 2}, K={batch // 2}"


def rows(setting: Setting) -> Iterator[Row]:
    """The table of the step, each row as soon as it is known."""
    sizes, device = _sizes(setting), setting.device
    batch, calls = sizes["batch"], 5 if setting.cuda else 1
    replicas = Replicas.alone(device)
    pixels = torch.randint(256, (2 * batch, 3, SIDE, SIDE), dtype=torch.uint8)
    images = Images(pixels.numpy(), mean=MEAN, std=STD, device=device)
    indices = torch.randperm(len(images))[:batch].to(device)
    top = peak(setting)
    yield Row(name="peak in this run", value=top / 1e12, unit="TFLOP/s")

    config = CDCConfig(
        pretrain=MoCoConfig(backbone=sizes["backbone"]),
        batch_size=batch,
        sub_batch_size=batch // 2,
        mini_clusters=batch // 2,
        initialisation="random",
    )
    model = CDC(config, images=images, replicas=replicas, seed=0)
    whole = seconds(lambda: model.step(indices), setting, calls=calls)
    yield Row(name="whole step", value=whole * 1e3, unit="ms")
    yield Row(name="whole step", value=batch / whole, unit="images/s")

    def part(name: str, took: float, **aim: float) -> Row:
        share = took / whole
        return Row(name=name, value=took * 1e3, unit="ms", ratio=share, of="of the step", **aim)

    generator = torch.Generator().manual_seed(0)
    views = (Clean(SIDE), Weak(SIDE), Strong(SIDE))
    mean, std = images.mean, images.std

    def augment() -> Tensor:
        taken = images.take(indices)
        for view in views:
            made = view.apply(taken, view.draw(batch, generator), mean, std)
        return made

    yield part("augment, three views", seconds(augment, setting, calls=calls), at_most=0.05)

    network = place(encoder(sizes["backbone"], side=SIDE, replicas=replicas), device)
    low = autocast("auto", device)
    strong = augment()
    labels = torch.randint(10, (batch,), device=device)

    def no_gradient() -> None:
        with torch.no_grad(), low():
            features_of(network, strong)
            features_of(network, strong)

    def forward() -> Tensor:
        network.zero_grad(set_to_none=True)
        losses = []
        for view, target in zip(strong.chunk(2), labels.chunk(2), strict=True):
            with low():
                features = features_of(network, view)
            losses.append(F.cross_entropy(features, target))
        return torch.stack(losses).sum()

    twice = seconds(no_gradient, setting, calls=calls)
    ahead = seconds(forward, setting, calls=calls)
    back = seconds(lambda loss: loss.backward(), setting, prepare=forward)
    yield part("clean and weak passes", twice)
    yield part("strong pass, forward", ahead)
    yield part("strong pass, backward", back)

    probabilities = torch.randn(batch, 10, device=device).softmax(1)
    cap = batch // 10
    yield part(
        "selection", seconds(lambda: select_by_confidence(probabilities, cap), setting, calls=10)
    )
    features = kmeans_reference.features(batch, 512).to(device)
    regions = config.mini_clusters

    def targets() -> Tensor:
        return mini_cluster_targets(probabilities, kmeans(features, regions).labels, regions)

    yield part("k-means targets", seconds(targets, setting))
    if setting.cuda:
        plain = replace(config, calibration_loss="label-smoothing")
        without = CDC(plain, images=images, replicas=replicas, seed=0)
        exposed = whole - seconds(lambda: without.step(indices), setting, calls=calls)
        yield part("k-means targets, exposed", exposed, at_most=0.10)

    one, both = flops(network, strong[:4].float())
    # The aim is that of an H200; a CPU is told its share and nothing more.
    aim: dict[str, float] = {"at_least": 0.30} if setting.cuda else {}
    yield from (
        _rate("rate, no-gradient passes", 2 * one * batch / twice, top),
        _rate("rate, strong pass", both * batch / (ahead + back), top, **aim),
        _rate("rate, whole step", (2 * one + both) * batch / whole, top),
    )
    yield from _moco(setting, images, one, both, top)


def _rate(name: str, rate: float, top: float, **aim: float) -> Row:
    return Row(
        name=name, value=rate / 1e12, unit="TFLOP/s", ratio=rate / top, of="of the peak", **aim
    )


def _moco(setting: Setting, images: Images, one: float, both: float, top: float) -> list[Row]:
    sizes = _sizes(setting)
    batch = sizes["moco"]
    config = MoCoConfig(backbone=sizes["backbone"], batch_size=batch, blur=0.0)
    model = MoCo(config, images=images, replicas=Replicas.alone(setting.device), seed=0)
    indices = torch.arange(batch, device=setting.device)
    took = seconds(lambda: model.step(indices), setting, calls=5 if setting.cuda else 1)
    return [
        Row(name=f"MoCo step, batch {batch}", value=batch / took, unit="images/s"),
        _rate("rate, MoCo step", batch * 2 * (both + one) / took, top),
    ]
