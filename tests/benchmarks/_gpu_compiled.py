"""MoCo's step on a ResNet-34 in its forms: as it stands, as a graph, and with compiled encoders."""

import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial

from _bench import Row, Setting, flops, seconds

from deep_clustering.methods._proven import plainly
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.pretraining.configs import MoCoConfig
from deep_clustering.methods.pretraining.moco import MoCo

#: Calls after which a form has proven itself.
_PROVEN = 8


def rows(setting: Setting, images: Images) -> Iterator[Row]:
    """Time of a step without its views, its network's rate, and how soon each form is ready.

    Without a GPU nothing is recorded or compiled.
    """
    config = MoCoConfig(
        backbone="small" if setting.tiny else "resnet34",
        batch_size=16 if setting.tiny else 256,
        queue_size=64 if setting.tiny else 65536,
        precision="auto",
        blur=0.0,
    )
    times: dict[str, float] = {}
    for form in ("plain", "graph", "compiled graph") if setting.cuda else ("plain",):
        model = MoCo(config, images=images, replicas=Replicas.alone(setting.device), seed=0)
        for network in (model._encoder, model._key_encoder):
            network.compiles = form == "compiled graph"
        pictures = images.take(model._index[: config.batch_size].to(setting.device))
        views = [model._augmented(pictures) for _ in range(2)]
        one, both = flops(model._encoder, views[0][:4])
        model._now.set(rate=0.01, share=0.01, first=0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            with plainly() if form == "plain" else nullcontext():
                begun = time.monotonic()
                for _ in range(_PROVEN):
                    loss, *_others = model._trained(*views)
                loss.item()  # waits for the device
                ready = time.monotonic() - begun
                took = seconds(partial(model._trained, *views), setting, calls=5)
        refused = [str(x.message) for x in caught if "fast form" in str(x.message)]
        times[form] = took
        against = {"ratio": times["plain"] / took, "of": "x plain"}
        if form == "compiled graph":
            against = {"ratio": times["graph"] / took, "of": "x graph", "at_least": 1.0}
        yield Row(name=f"MoCo step, {form}", value=took * 1e3, unit="ms", **against)
        rate = 2 * config.batch_size * (one + both) / took
        yield Row(name="  its networks", value=rate / 1e12, unit="TFLOP/s")
        yield Row(name=f"  first {_PROVEN} steps", value=ready, unit="s")
        for said in refused:
            yield Row(name=said, value=1, unit="", at_most=0.0)
