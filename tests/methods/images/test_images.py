"""The image array: memory maps, tensors, batches."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deep_clustering.methods.images import images as _images
from deep_clustering.methods.images.images import Images

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
CPU = torch.device("cpu")


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)


def test_a_read_only_memory_map_is_used_where_it_lies(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", array)
    stored = np.load(tmp_path / "images.npy", mmap_mode="r")
    images = Images(stored, mean=MEAN, std=STD, device=CPU)
    assert np.shares_memory(images._array, stored)
    taken = images.take(torch.tensor([3, 19, 3, 0])).pixels
    assert taken.dtype == torch.uint8
    np.testing.assert_array_equal(taken.numpy(), array[[3, 19, 3, 0]])
    taken.fill_(0)  # a batch is the caller's own
    np.testing.assert_array_equal(stored, array)


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_properties_and_batches(array: np.ndarray, kind: str) -> None:
    given = array if kind == "array" else torch.from_numpy(array)
    images = Images(given, mean=MEAN, std=STD, device=CPU)
    assert len(images) == 20
    assert images.side == 8
    assert images.device == CPU
    assert images.mean.dtype == images.std.dtype == torch.float32
    assert images.mean.tolist() == pytest.approx(MEAN)
    assert images.std.tolist() == pytest.approx(STD)
    index = torch.arange(19, -1, -2)
    np.testing.assert_array_equal(images.take(index).pixels.numpy(), array[::-2])
    assert images.take(torch.empty(0, dtype=torch.long)).pixels.shape == (0, 3, 8, 8)


@pytest.mark.parametrize("index", [[0, 20], [-1, 3]])
def test_an_index_out_of_range_is_refused(array: np.ndarray, index: list[int]) -> None:
    images = Images(array, mean=MEAN, std=STD, device=CPU)
    with pytest.raises(IndexError, match=r"0 <= index < 20"):
        images.take(torch.tensor(index))


def test_all_mistakes_are_listed_together(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8") as error:
        Images(
            array.astype(np.float32).transpose(0, 2, 3, 1),
            mean=MEAN,
            std=(0.1, 0.0, 0.1),
            device=CPU,
        )
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["array", "array", "array", "std"]
    assert "(20, 8, 8, 3)" in lines[1]
    assert "contiguous" in lines[2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("share", [0.6, 0.0])
def test_on_a_gpu_whole_or_batch_by_batch(
    array: np.ndarray, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_images, "DEVICE_SHARE", share)
    monkeypatch.setattr(_images, "COPY_BYTES", 1000)  # several pieces
    np.save(tmp_path / "images.npy", array)
    stored = np.load(tmp_path / "images.npy", mmap_mode="r")
    images = Images(stored, mean=MEAN, std=STD, device=torch.device("cuda"))
    assert isinstance(images._array, torch.Tensor) == (share > 0)
    index = torch.tensor([3, 19, 3, 0])
    for place in ("cpu", "cuda"):
        taken = images.take(index.to(place)).pixels
        assert taken.device == images.device
        np.testing.assert_array_equal(taken.cpu().numpy(), array[index.numpy()])
