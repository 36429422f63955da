"""Which samples a protocol trains on and scores."""

import numpy as np
import pytest

from deep_clustering.platform.data import protocols
from deep_clustering.platform.data.protocols import PROTOCOLS, TEST, TRAIN, UNLABELLED, indices
from deep_clustering.platform.errors import InputError

SPLIT = np.array([TRAIN, TEST, TRAIN, UNLABELLED, TEST], np.uint8)

EXPECTED = {  # trained on, scored, for pretraining
    "all": ([0, 1, 2, 4], [0, 1, 2, 4], [0, 1, 2, 3, 4]),
    "test": ([1, 4], [1, 4], [1, 3, 4]),
    "train-test": ([0, 2], [1, 4], [0, 2, 3]),
    "train-val": ([0, 2], [1, 4], [0, 2, 3]),
    "train": ([0, 2], [0, 2], [0, 2, 3]),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_indices_of_a_protocol(protocol: str) -> None:
    used = indices(SPLIT, protocol)
    assert (used.train.tolist(), used.score.tolist(), used.pretrain.tolist()) == EXPECTED[protocol]


def test_all_protocols_are_expected_here() -> None:
    assert set(PROTOCOLS) == set(EXPECTED)
    assert set(protocols.HELD_OUT) == {
        name for name, (train, score, _) in EXPECTED.items() if not set(train) & set(score)
    }


def test_the_first_is_the_default_and_a_wrong_one_is_refused() -> None:
    assert protocols.chosen("x", None, ("all", "train")) == "all"
    assert protocols.chosen("x", "train", ("all", "train")) == "train"
    with pytest.raises(InputError, match=r"x has the protocols all, train, and 'tain'.*'train'"):
        protocols.chosen("x", "tain", ("all", "train"))
