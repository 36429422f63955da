"""Every named dataset has a complete record, and each record can be asked the same things."""

from pathlib import Path

import numpy as np
import pytest

from deep_clustering.platform.data import _cache, _imagenet, catalogue, dataset
from deep_clustering.platform.data._cache import Content
from deep_clustering.platform.data._entry import Built, Entry, ImageEntry, Order, PointEntry
from deep_clustering.platform.data.catalogue import CATALOGUE, held_out_protocol, status
from deep_clustering.platform.data.dataset import ImageSet, PointSet, Source
from deep_clustering.platform.data.protocols import HELD_OUT, PROTOCOLS, TEST, TRAIN
from deep_clustering.platform.data.sides import view_side
from deep_clustering.platform.errors import InputError

every_entry = pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)


def test_the_names_and_their_order() -> None:
    assert list(CATALOGUE) == [
        "digits", "mnist", "coil100", "isolet", "pendigits", "cifar10", "cifar20", "cifar100",
        "stl10", "imagenet10", "imagenet-dogs", "imagenet50", "imagenet100", "imagenet200",
        "tiny-imagenet", "svhn", "textures", "places365",
    ]  # fmt: skip
    kinds = [type(entry) for entry in CATALOGUE.values()]
    assert (kinds.count(ImageEntry), kinds.count(PointEntry)) == (16, 2)


@every_entry
def test_a_record_is_complete(entry: Entry) -> None:
    assert CATALOGUE[entry.name] is entry
    assert entry.summary
    assert "\n" not in entry.summary
    assert entry.classes > 1
    assert entry.count is None or entry.count > entry.classes
    assert entry.origin in ("built in", "download", "imagenet")
    prepare = entry.prepare
    later = prepare.build.func if isinstance(prepare, Built) else prepare
    assert callable(later.find())


@every_entry
def test_protocols_are_known(entry: Entry) -> None:
    assert entry.protocols
    assert len(set(entry.protocols)) == len(entry.protocols)
    assert set(entry.protocols) <= set(PROTOCOLS)
    assert set(entry.separate) <= set(entry.protocols)
    held_out = held_out_protocol(entry.name)
    assert (held_out is None) == (not set(entry.protocols) & set(HELD_OUT))
    assert held_out is None or held_out in entry.protocols


@every_entry
def test_the_sizes_of_samples_are_sensible(entry: Entry) -> None:
    if isinstance(entry, PointEntry):
        assert entry.dimensions > 0
        return
    assert isinstance(entry, ImageEntry)
    assert 8 <= entry.side <= 1024
    assert view_side(entry.side) <= entry.side
    assert all(0 < value < 1 for value in entry.mean + entry.std)


@every_entry
def test_each_protocol_has_an_outline_of_the_right_kind(entry: Entry) -> None:
    for protocol in entry.protocols:
        outline = dataset.outline(entry, protocol)
        assert isinstance(outline, PointSet if isinstance(entry, PointEntry) else ImageSet)
        assert (outline.name, outline.protocol, outline.here) == (entry.name, protocol, False)
        assert len(outline.score) > 0


@every_entry
def test_each_refuses_what_it_does_not_have(entry: Entry, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{entry.name} has the protocols {entry.protocols[0]}"):
        dataset.open(Source(entry.name, tmp_path, protocol="of another"))
    with pytest.raises(InputError, match=r"stored at|has vectors|must be in 8\.\.1024"):
        dataset.open(Source(entry.name, tmp_path, side=5))
    assert not list(tmp_path.iterdir())


def test_prepared_folders_do_not_share_a_name(tmp_path: Path) -> None:
    keys = [
        Order(
            entry=entry, root=tmp_path, side=side, protocol=protocol, skip_broken=False,
            progress=None,
        ).key
        for entry in CATALOGUE.values()
        for protocol in (entry.separate or entry.protocols[:1])
        for side in ((32, 64) if getattr(entry, "any_side", False) else (None,))
    ]  # fmt: skip
    assert len(set(keys)) == len(keys) == 31
    some = {"textures-v1.64", "imagenet10-v1.32.train", "tiny-imagenet-v1.train-val"}
    assert {"digits-v1", *some} < set(keys)
    entry = CATALOGUE["imagenet50"]
    assert isinstance(entry, ImageEntry)
    # beside copies of another rule, from before whole pictures were stored
    assert entry.folder(256, "train") == "imagenet50-v1.whole256.train"


def test_same_samples_are_said_by_both() -> None:
    pairs = {(name, other) for name, entry in CATALOGUE.items() for other in entry.same_samples}
    assert pairs == {("cifar20", "cifar100"), ("cifar100", "cifar20")}
    assert catalogue.same_samples("cifar20", "cifar100")
    assert not catalogue.same_samples("cifar10", "cifar100")
    assert not catalogue.same_samples("folder:/x", "cifar100")


def test_a_new_dataset_is_a_record_with_its_builder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(order: Order, folder: Path) -> Content:
        _cache.write_vectors(folder, np.arange(6.0).reshape(3, 2))
        return Content(
            labels=np.array([0, 1, 1]),
            split=np.array([TRAIN, TRAIN, TEST], np.uint8),
            class_names=("a", "b"),
        )

    toy = PointEntry(
        name="toy", summary="three samples", classes=2, count=3, dimensions=2, origin="built in",
        protocols=("train-test",), prepare=Built(build),
    )  # fmt: skip
    monkeypatch.setitem(catalogue.CATALOGUE, "toy", toy)
    opened = dataset.open(Source("toy", tmp_path))
    assert isinstance(opened, PointSet)
    assert opened.points.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (opened.train.tolist(), opened.score.tolist()) == ([0, 1], [2])


def test_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(_imagenet.VARIABLE, raising=False)

    def told(name: str) -> tuple[str, str]:
        found = status(CATALOGUE[name], tmp_path)
        return found.kind, found.text

    assert told("digits") == ("ready", "ready")
    assert told("cifar20") == ("downloadable", "downloadable")
    place = tmp_path / "imagenet"
    assert told("imagenet10") == (
        "missing", f"needs your ImageNet at {place} (or $DEEP_CLUSTERING_IMAGENET)"
    )  # fmt: skip
    (place / "train").mkdir(parents=True)
    assert told("imagenet10") == ("readable", "ready to be prepared")
    (tmp_path / "prepared" / "textures-v1.64").mkdir(parents=True)
    (tmp_path / "prepared" / "textures-v1.64" / "meta.json").touch()
    assert told("textures") == ("ready", "ready")


def test_default_and_held_out_protocols() -> None:
    defaults = {name: entry.protocols[0] for name, entry in CATALOGUE.items()}
    assert {name: default for name, default in defaults.items() if default != "all"} == {
        "imagenet10": "train", "imagenet-dogs": "train", "tiny-imagenet": "train",
        "imagenet50": "train-val", "imagenet100": "train-val", "imagenet200": "train-val",
        "svhn": "train-test",
    }  # fmt: skip
    held_out = {name: catalogue.held_out_protocol(name) for name in (*CATALOGUE, "folder:/x")}
    assert {name for name, protocol in held_out.items() if protocol == "train-test"} == {
        "cifar10", "cifar20", "cifar100", "stl10", "svhn",
    }  # fmt: skip
    assert {name for name, protocol in held_out.items() if protocol == "train-val"} == {
        "imagenet50", "imagenet100", "imagenet200", "tiny-imagenet",
    }  # fmt: skip
