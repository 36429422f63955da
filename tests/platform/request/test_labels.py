"""What labels decided before a run, said from its row."""

import json

import pytest

from deep_clustering.platform.encoders import names
from deep_clustering.platform.request.labels import of_row


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (
            {"method": "cdc", "dataset": "digits", "clusters": 10},
            ["to tune the preset of cdc on digits", "to say the number of clusters on digits"],
        ),
        (
            {"method": "cdc", "dataset": "cifar20", "clusters": 20},
            ["to say the number of clusters on cifar20"],
        ),
        ({"method": "cdc", "dataset": "cifar20", "clusters": 40}, []),
        ({"method": "finch", "dataset": "digits", "clusters": None}, []),
        ({"method": "gone", "dataset": "folder:x", "clusters": 3}, []),
        (
            {"method": "kmeans", "dataset": "folder:x", "clusters": 3, "stage_id": "bundled"},
            ["to train the encoder efficientnet-lite0 (those of ImageNet)"],
        ),
        ({"method": "kmeans", "dataset": "folder:x", "clusters": 3, "stage_id": "dino"}, []),
    ],
)
def test_what_labels_decided_follows_from_the_row(row, wanted):
    encoders = {
        "bundled": names.find("efficientnet-lite0", None),
        "dino": names.find("dinov2", None),
    }
    given = {"config_json": json.dumps({"clusters": row.get("clusters")}), **row}
    assert of_row(given, encoders) == wanted
