"""The note of a page on what labels were used for."""

import json
import re

import pytest

from deep_clustering.platform.encoders import names
from deep_clustering.platform.report.pages._draft import Draft
from deep_clustering.platform.report.pages._labels import labels
from deep_clustering.platform.request.jobs import FROZEN
from deep_clustering.platform.store.store import Store

OWN = {"method": "kmeans", "dataset": "folder:x", "config_json": '{"clusters": 3}'}


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({**OWN, "stage_id": None}, "only to evaluate: .* labels chose nothing"),
        ({**OWN, "stage_id": None, "metrics_reason": "no_labels"}, "nothing here used any"),
        (
            {**OWN, "stage_id": "frozen"},
            r"to evaluate and to train the encoder efficientnet-lite0 \(those of ImageNet\)",
        ),
        (
            {**OWN, "stage_id": "frozen", "metrics_reason": "no_labels"},
            "The images have no labels. Labels were used to train the encoder",
        ),
        ({**OWN, "stage_id": None, "dataset": "digits", "method": "cdc"}, "tune the preset of cdc"),
    ],
)
def test_the_note_follows_from_the_runs(tmp_path, row, wanted):
    store = Store.open(str(tmp_path / "store"))
    encoder = names.find("efficientnet-lite0", None)
    about = {"stage_id": "frozen", "kind": FROZEN, "method": "frozen", "dataset": "folder:x"}
    config = json.dumps(encoder.as_config())
    store.commit_stage({**about, "seed": 0, "config_json": config}, {"features": b"features"})
    note = labels(Draft(store=store), [row])
    assert re.search(wanted, note.text), note.text
