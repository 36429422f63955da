"""What labels decided before a run begins: its preset, its number of clusters, its encoder."""

import json
from collections.abc import Mapping

from deep_clustering.platform import registry
from deep_clustering.platform.data.catalogue import CATALOGUE
from deep_clustering.platform.encoders.names import Encoder

#: How an encoder whose weights labels decided, or may have decided, is spoken of.
_TRAINED = {
    "imagenet": "to train the encoder {} (those of ImageNet)",
    "unknown": "perhaps to train the encoder {} (what it was trained with is not on record)",
}


def decided(
    method: str, dataset: str, config: Mapping[str, object], encoder: Encoder | None
) -> list[str]:
    """What labels were used for before a run, in words that go after "Labels were used".

    Args:
        method: registered name, or that of a method which is not here any more.
        dataset: its name.
        config: of the run, flat.
        encoder: a frozen one whose features are clustered.
    """
    uses = []
    if method in registry.names() and dataset in registry.method(method).tuned:
        uses.append(f"to tune the preset of {method} on {dataset}")
    entry, clusters = CATALOGUE.get(dataset), config.get("clusters")
    if entry is not None and clusters is not None and clusters == entry.classes:
        uses.append(f"to say the number of clusters on {dataset}")
    if encoder is not None and encoder.labels in _TRAINED:
        uses.append(_TRAINED[encoder.labels].format(encoder.name))
    return uses


def of_row(row: Mapping[str, object], encoders: Mapping[str, Encoder]) -> list[str]:
    """`decided` of a row of `runs` of any status.

    Args:
        row: column -> value.
        encoders: id of the stage -> the frozen encoder that runs build on.
    """
    config = json.loads(str(row.get("config_json") or "{}"))
    encoder = encoders.get(str(row.get("stage_id")))
    return decided(str(row["method"]), str(row["dataset"]), config, encoder)
