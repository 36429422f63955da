"""Image files into one array: broken files, and progress."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deep_clustering.platform.data import _decode, dataset
from deep_clustering.platform.data.dataset import Source
from deep_clustering.platform.data.folder import list_folder
from deep_clustering.platform.errors import InputError
from support.pictures import noise, nothing_half_written


@pytest.mark.fault(35)
def test_broken_images_stop_with_a_list(pictures: Path, tmp_path: Path) -> None:
    for number in range(12):
        (pictures / "cat" / f"broken{number:02}.png").write_bytes(b"" if number else b"text")
    root = tmp_path / "data"
    with pytest.raises(InputError) as error:
        dataset.open(Source(f"folder:{pictures}", root))
    text = str(error.value)
    assert "12 of 17 images" in text
    assert "'cat/broken00.png' (not an image that Pillow knows)" in text
    assert "'cat/broken09.png' (empty file) and 2 more" in text
    assert "broken10" not in text
    assert "--skip-broken" in text
    assert nothing_half_written(root)
    assert not list((root / "prepared").glob("folder-*"))


@pytest.mark.fault(35)
@pytest.mark.parametrize("side", [None, 16])
def test_broken_images_are_left_out_when_asked(
    pictures: Path, tmp_path: Path, side: int | None
) -> None:
    expected = dataset.open(Source(f"folder:{pictures}", tmp_path / "data", side=side))
    data = (pictures / "cat" / "1.png").read_bytes()
    (pictures / "cat" / "3.png").write_bytes(data[: len(data) // 2])  # header fine, pixels cut
    (pictures / "cat" / "!.png").touch()
    spec, root = f"folder:{pictures}", tmp_path / "data"
    found = dataset.open(Source(spec, root, side=side, skip_broken=True))
    assert found.skipped == ("cat/!.png", "cat/3.png")
    assert np.array_equal(found.images, expected.images)
    assert found.fingerprint == expected.fingerprint
    assert found.paths == expected.paths
    # what was prepared with files left out is not given to someone who did not ask for that
    with pytest.raises(InputError, match=r"2 of 7 images.*'cat/3.png'"):
        dataset.open(Source(spec, root, side=side))
    assert dataset.open(Source(spec, root, side=side, skip_broken=True)).skipped == found.skipped


def test_a_class_of_broken_images_only_is_refused(pictures: Path, tmp_path: Path) -> None:
    (pictures / "cow").mkdir()
    (pictures / "cow" / "0.png").touch()
    with pytest.raises(InputError, match="No image of the classes 'cow'"):
        dataset.open(Source(f"folder:{pictures}", tmp_path / "data", skip_broken=True))


def test_all_images_broken_is_refused_even_when_skipping(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").touch()
    for side in (None, 32):
        with pytest.raises(InputError, match="1 of 1 images"):
            dataset.open(
                Source(
                    f"folder:{tmp_path / 'pictures'}",
                    tmp_path / "data",
                    skip_broken=True,
                    side=side,
                )
            )


def test_a_folder_that_changes_while_it_is_read_is_refused(pictures: Path, tmp_path: Path) -> None:
    def touch(done: int, total: int) -> None:
        noise(pictures / "dog" / "new.png", 77)

    with pytest.raises(InputError, match="changed while it was being read"):
        dataset.open(Source(f"folder:{pictures}", tmp_path / "data"), touch)
    assert nothing_half_written(tmp_path / "data")


def test_progress_counts_both_passes(pictures: Path, tmp_path: Path) -> None:
    noise(pictures / "dog" / "larger.png", 77, (40, 40))
    seen: list[tuple[int, int]] = []
    source = Source(f"folder:{pictures}", tmp_path / "data")
    dataset.open(source, lambda done, total: seen.append((done, total)))
    assert seen == [(6, 12), (12, 12)]


def picture(path: Path, colour: object = (200, 30, 60), size: tuple[int, int] = (32, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)  # type: ignore[arg-type]
    return path


def test_each_damage_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a_good.png")
    Image.fromarray(noise).save(tmp_path / "b_cut.jpg")
    Image.fromarray(noise).save(tmp_path / "c_cut.png")
    for name in ("b_cut.jpg", "c_cut.png"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    (tmp_path / "d_empty.png").touch()
    (tmp_path / "e_text.png").write_text("hello")
    (tmp_path / "f_gone.png").symlink_to(tmp_path / "nowhere.png")
    picture(tmp_path / "g_huge.png", size=(70, 70))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64)

    found = list_folder(tmp_path)
    images = np.zeros((len(found.paths), 3, 64, 64), np.uint8)
    broken: dict[int, str] = {}
    _decode.decode(found, images, broken)
    reasons = {found.paths[index]: reason for index, reason in broken.items()}
    assert sorted(reasons) == sorted(found.paths[1:])
    assert "truncated" in reasons["b_cut.jpg"]
    assert reasons["c_cut.png"]
    assert reasons["d_empty.png"] == "empty file"
    assert reasons["e_text.png"] == "not an image that Pillow knows"
    assert reasons["f_gone.png"] == "not a regular file, or a link to nothing"
    assert reasons["g_huge.png"] == "more than Pillow's limit of 4,096 pixels"
    assert np.array_equal(images[0], noise.transpose(2, 0, 1))


def test_progress_reaches_the_total(tmp_path: Path) -> None:
    for number in range(130):
        picture(tmp_path / f"{number:03}.png", size=(2, 2))
    seen: list[tuple[int, int]] = []
    _decode.measure(list_folder(tmp_path), lambda done, total: seen.append((done, total)))
    assert seen == [(64, 130), (128, 130), (130, 130)]


def test_files_are_read_once_where_some_say_the_size_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_decode, "_SOME", 4)
    for number in range(16):
        noise(tmp_path / "pictures" / f"{number:02}.png", number, (40, 40))
    seen: list[tuple[int, int]] = []
    source = Source(f"folder:{tmp_path / 'pictures'}", tmp_path / "data")
    found = dataset.open(source, lambda done, total: seen.append((done, total)))
    assert isinstance(found, dataset.ImageSet)
    assert found.images.shape[-1] == 40
    assert seen == [(16, 16)]
    for number in (1, 2, 3):  # not among those that are measured first
        noise(tmp_path / "pictures" / f"{number:02}.png", number, (50, 40))
    found = dataset.open(source)
    assert isinstance(found, dataset.ImageSet)
    assert found.images.shape[-1] == 32
