"""What a base decides in the configuration of the method that starts from it, before it has run."""

from pathlib import Path

import pytest

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.configs import Value
from support.small import images, resolved


def config(root: Path, base: str, *sets: str, method: str = "ruc") -> dict[str, Value]:
    return configs.flatten(resolved(method, "digits", root=root, base=base, sets=sets).config)


@pytest.mark.parametrize(
    ("base", "start", "backbone"),
    [
        ("scan", "base", "small"),
        ("cdc pretrain.backbone=resnet34", "base", "resnet34"),
        ("dpac", "base", "small"),
        ("dpac pretrain.framework=autoencoder", "fresh", "small"),
        ("secu backbone=resnet18 stem=pooled", "base", "resnet18"),
        ("tsuc", "fresh", "small"),
        ("kmeans", "fresh", "small"),
    ],
)
def test_ruc_starts_from_any_base(root: Path, base: str, start: str, backbone: str) -> None:
    found = config(root, base)
    assert (found["start"], found["backbone"]) == (start, backbone)


def test_what_a_base_decides_is_told_and_part_of_the_id(root: Path) -> None:
    def asked(base: str, *sets: str) -> tuple[dict[str, Value], str]:
        request = resolved("ruc", "digits", root=root, base=base, sets=sets)
        return dict(request.follows), request.wanted([0]).runs[0].id

    told, id = asked("tsuc")
    assert told == {"start": "fresh"}
    assert asked("tsuc", "start=fresh")[1] == id
    assert asked("scan") == ({}, asked("scan", "start=base")[1])
    assert asked("secu stem=pooled")[0] == {"stem": "pooled"}


def test_another_network_than_the_base_s_begins_with_fresh_weights(root: Path) -> None:
    found = config(root, "scan", "backbone=resnet18")
    assert (found["start"], found["backbone"]) == ("fresh", "resnet18")
    with pytest.raises(InputError) as error:
        config(root, "scan", "backbone=resnet18", "start=base")
    assert str(error.value) == (
        "--base scan: start: there are no weights of the base, as its backbone is small, and "
        "resnet18 was set; leave it out"
    )
    with pytest.raises(InputError, match=r"as it trains no network, or one of a kind of its own"):
        config(root, "tsuc", "start=base")


def test_the_number_of_clusters_is_the_base_s(root: Path) -> None:
    assert config(root, "kmeans clusters=7")["clusters"] == 7
    asked = resolved("ruc", "digits", root=root, base="kmeans", sets=["clusters=7"])
    assert [job.config.get("clusters") for job in asked.wanted([0]).jobs] == [7, None, 7]
    with pytest.raises(InputError, match=r"clusters: the base has 7 clusters, got 8; leave it"):
        config(root, "kmeans clusters=7", "clusters=8")


def test_images_without_labels_take_the_number_of_the_base(tmp_path: Path, root: Path) -> None:
    place = images(tmp_path / "photos", labelled=False)
    asked = resolved(
        "ruc", f"folder:{place}", root=root, base="kmeans clusters=3", sets=["batch_size=16"]
    )
    assert configs.flatten(asked.config)["clusters"] == 3


@pytest.mark.parametrize("base", ["kmeans", "tsuc", "dpac pretrain.framework=autoencoder"])
def test_cdc_goes_on_with_a_network_only(root: Path, base: str) -> None:
    with pytest.raises(InputError, match=r"CDC goes on with its network, and it trains no network"):
        config(root, base, method="cdc_from")


def test_cdc_goes_on_with_the_network_of_the_base(root: Path) -> None:
    base = "scan pretrain.backbone=resnet18 pretrain.enlargement=1.0"
    found = config(root, base, method="cdc_from")
    assert (found["backbone"], found["enlargement"]) == ("resnet18", 1.0)
    with pytest.raises(InputError, match=r"its backbone is small, and resnet18 was set"):
        config(root, "scan", "backbone=resnet18", method="cdc_from")
