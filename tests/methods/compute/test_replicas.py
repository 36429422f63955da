"""Two processes do what one does."""

import pytest
import torch

from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.networks.batchnorm import BatchNorm
from support import joined, ranks
from support.ranks import Results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, list[Results]]:
    return ranks.results(joined, tmp_path_factory.mktemp("joined"))


@pytest.mark.ray
def test_batch_statistics_are_those_of_the_whole_batch(
    results: tuple[Results, list[Results]],
) -> None:
    alone, together = results
    assert len(alone["normalised"]) == 14
    for found in together:
        for name, expected in alone["normalised"].items():
            torch.testing.assert_close(
                found["normalised"][name], expected, rtol=1e-9, atol=1e-9, msg=name
            )


@pytest.mark.ray
def test_all_processes_refuse_a_form_of_the_layer_that_is_wrong_in_one(
    results: tuple[Results, list[Results]],
) -> None:
    for found in results[1]:
        refused = {name: bool(value) for name, value in found["judged"].items()}
        assert refused == {"plain": False, "one": True, "lagging": True, "broken": True}


@pytest.mark.ray
def test_communication_of_known_numbers(results: tuple[Results, list[Results]]) -> None:
    alone, together = results
    everything = torch.arange(24.0)
    for found in (alone, *together):
        torch.testing.assert_close(found["summed"]["gathered"].flatten(), everything)
        assert float(found["summed"]["total"]) == 276.0
        gradient = found["summed"]["gradient of a global sum"]
        torch.testing.assert_close(gradient, torch.full((8, 3), 2 * 276.0))


@pytest.mark.ray
@pytest.mark.parametrize(
    "name", ["pretrained", "dual", "through", "single", "single-calibrated", "smoothed"]
)
def test_two_processes_train_as_one(results: tuple[Results, list[Results]], name: str) -> None:
    # The prototypes are float32, and follow the last bits of the features.
    ranks.assert_as_one(results, name, rtol=1e-5, atol=1e-6)


@pytest.mark.ray
@pytest.mark.parametrize("name", ["pretrained", "dual", "through", "single-calibrated"])
def test_processes_stay_identical(results: tuple[Results, list[Results]], name: str) -> None:
    ranks.assert_identical(results, name)


def test_rows_take_a_share_of_every_slice() -> None:
    device = torch.device("cpu")
    assert Replicas(0, 2, device).rows(8, 2).tolist() == [0, 1, 4, 5]
    assert Replicas(1, 2, device).rows(8, 2).tolist() == [2, 3, 6, 7]
    assert Replicas(2, 3, device).rows(9).tolist() == [6, 7, 8]
    assert Replicas.alone().rows(4).tolist() == [0, 1, 2, 3]


def test_rows_refuse_a_batch_that_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match=r"a batch of 10 in 2 slices .* by 2 processes.*of 4"):
        Replicas(0, 2, torch.device("cpu")).rows(10, 2)


def test_without_a_group_a_process_is_alone() -> None:
    replicas = Replicas.joined("cpu")
    assert (replicas.rank, replicas.world) == (0, 1)


@pytest.mark.parametrize("shape", [(10, 5), (6, 5, 4, 4)])
def test_alone_batch_norm_is_that_of_torch(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    own = BatchNorm(5, replicas=Replicas.alone())
    theirs = torch.nn.BatchNorm1d(5) if len(shape) == 2 else torch.nn.BatchNorm2d(5)
    assert list(own.state_dict()) == list(theirs.state_dict())
    for _ in range(3):
        x = torch.randn(shape)
        assert torch.equal(own(x), theirs(x))
    own.eval(), theirs.eval()
    x = torch.randn(shape)
    assert torch.equal(own(x), theirs(x))
    again = BatchNorm(5, replicas=Replicas.alone())
    again(x)  # what it has counted is forgotten
    again.load_state_dict(own.state_dict())
    for key, value in theirs.state_dict().items():
        assert torch.equal(own.state_dict()[key], value), key
        assert torch.equal(again.state_dict()[key], value), key
