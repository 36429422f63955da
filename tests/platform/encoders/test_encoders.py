"""Frozen encoders: names, real weights, files that fit and that do not, stages of features."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torch import nn
from torchvision import models

from deep_clustering.methods.cdc import CDCConfig
from deep_clustering.methods.images.images import Images
from deep_clustering.platform.encoders import names, network, weights
from deep_clustering.platform.encoders.names import BUNDLED, SHORT, Encoder
from deep_clustering.platform.errors import EnvironmentProblem, InputError
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.report import report
from deep_clustering.platform.request.jobs import FROZEN, VIEW, Job
from deep_clustering.platform.run import passes
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.run.failure import Cancelled
from deep_clustering.platform.run.workplace import Workplace
from deep_clustering.platform.store.store import Store
from support.small import SETS, Watcher, jobs, place, resolved


def photos() -> Images:
    """Four squares of scikit-learn's two photos: two of a Chinese palace, two of a flower."""
    squares = []
    for photo in load_sample_images().images:
        squares += [photo[100:420, left : left + 320] for left in (120, 300)]
    array = np.ascontiguousarray(np.stack(squares).transpose(0, 3, 1, 2))
    return Images(array, mean=(0.5,) * 3, std=(0.2,) * 3, device=torch.device("cpu"))


def seen(encoder: Encoder, file: Path, images: Images | None = None) -> torch.Tensor:
    images = images or photos()
    seeing = network.Seeing(encoder, network.load(encoder, file), images.device)
    return torch.cat(list(network.features(seeing, images, torch.arange(len(images)))))


# --- the bundled weights -------------------------------------------------------------------------


def test_the_bundled_weights_tell_two_photos_apart() -> None:
    encoder = names.find(BUNDLED)
    found = seen(encoder, weights.obtain(encoder, Path("nowhere")))
    assert found.shape == (4, 1280)
    assert found.min() >= 0  # means of ReLU6
    assert found.max() <= 6
    near = nn.functional.normalize(found) @ nn.functional.normalize(found).T
    within, between = min(near[0, 1], near[2, 3]), near[:2, 2:].max()
    assert within > between + 0.2
    assert encoder.labels == "imagenet"


def test_a_batch_does_not_change_the_features_of_an_image() -> None:
    encoder = names.find(f"{BUNDLED}@32")
    loaded = network.load(encoder, weights.obtain(encoder, Path()))
    images = photos()
    seeing = network.Seeing(encoder, loaded, images.device)
    (together,) = network.features(seeing, images, torch.arange(4))
    (alone,) = network.features(seeing, images, torch.tensor([2]))
    assert torch.allclose(together[2], alone[0], atol=1e-4)


# --- names ---------------------------------------------------------------------------------------


def test_a_side_follows_an_at() -> None:
    assert names.find(f"{BUNDLED}@64").side == 64
    assert names.find(BUNDLED).side == 224
    with pytest.raises(InputError, match="32 to 1024 pixels, got 8"):
        names.find(f"{BUNDLED}@8")


@pytest.mark.fault(64)
def test_a_package_that_is_not_installed_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # as Python itself marks what is not to be had
    with pytest.raises(InputError, match=r"timm: pip install 'deep-clustering\[encoders\]'"):
        names.find("timm:resnet18.a1_in1k")


@pytest.mark.parametrize(
    ("tag", "classes", "labels"),
    [
        ("a1_in1k", 1000, "imagenet"),
        ("augreg_in21k_ft_in1k", 1000, "imagenet"),
        ("in12k", 11821, "imagenet"),
        ("laion2b_ft_in12k_in1k", 1000, "imagenet"),
        ("lvd142m", 0, "none"),
        ("dino", 0, "none"),
        ("mae", 0, "none"),
        ("in1k_ijepa", 0, "none"),
        ("openai", 512, "captions"),
        ("webli", 0, "captions"),
        ("something_new", 0, "unknown"),
    ],
)
def test_the_tag_of_published_weights_says_what_labels_decided_them(
    tag: str, classes: int, labels: str
) -> None:
    assert names._labels(tag, classes) == labels


def test_short_names_are_published_weights_of_timm() -> None:
    for short, labels in {"dinov2": "none", "dinov2-b": "none", "clip": "captions"}.items():
        encoder = names.find(short)
        assert encoder.architecture == SHORT[short].partition("@")[0]
        assert (encoder.side, encoder.labels) == (224, labels)
        assert Encoder.from_config(encoder.as_config()) == encoder


@pytest.mark.parametrize(
    ("asked", "architecture", "sentence"),
    [
        ("dinov3", None, "no encoder and no file 'dinov3'. Did you mean 'dinov2'"),
        ("timm:resnet18.a1_in1", None, "no weights 'resnet18.a1_in1'. Did you mean"),
        ("torchvision:resnet19", None, "no model 'resnet19'. Did you mean 'resnet1"),
        ("clip", "timm:resnet18", "is no file; leave --architecture out"),
        (__file__, None, "say with --architecture what network"),
        (__file__, "resnet18", "must be timm:NAME, torchvision:NAME or"),
    ],
)
def test_bad_names_are_refused_in_a_sentence(
    asked: str, architecture: str | None, sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        names.find(asked, architecture)
    assert sentence in str(caught.value)


# --- files ---------------------------------------------------------------------------------------


def test_weights_of_ones_own_give_the_features_before_the_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = models.resnet18(weights=None).eval()
    save_file(plain.state_dict(), tmp_path / "mine.safetensors")
    torch.save({"state_dict": plain.state_dict()}, tmp_path / "mine.pt")
    plain.fc = nn.Identity()
    view = (photos().take(torch.arange(4)).pixels.float() / 255)[:, :, :64, :64]
    small = Images(
        (view * 255).byte().contiguous(),
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        device=torch.device("cpu"),
    )
    for name in ("mine.safetensors", "mine.pt"):
        encoder = names.find(f"{tmp_path / name}@64", "torchvision:resnet18")
        assert encoder.labels == "unknown"
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (encoder.mean, encoder.std))
        with torch.inference_mode():
            expected = plain((small.take(torch.arange(4)).pixels.float() / 255 - mean) / std)
        found = seen(encoder, weights.obtain(encoder, tmp_path), small)
        assert torch.allclose(found, expected, atol=1e-4)


def test_weights_of_timm_are_read_from_the_data_directory(tmp_path: Path) -> None:
    import timm

    encoder = names.find("timm:resnet10t.c3_in1k@32")
    place = weights.path(encoder, tmp_path)
    place.parent.mkdir()
    plain = timm.create_model("resnet10t", pretrained=False).eval()
    save_file(plain.state_dict(), place)
    assert weights.obtain(encoder, tmp_path) == place
    assert seen(encoder, place).shape == (4, 512)
    assert encoder.labels == "imagenet"


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path(_Bomb.place),))

    place = ""


def test_a_file_that_does_not_fit_or_holds_a_program_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"conv1.weight": torch.zeros(3)}, other)
    with pytest.raises(InputError, match="of its 120 tensors are missing or of another shape"):
        network.load(names.find(str(other), "torchvision:resnet18"), other)
    _Bomb.place = str(tmp_path / "exploded")
    bomb = tmp_path / "bomb.pt"
    bomb.write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(InputError, match="holds no plain weights"):
        network.load(names.find(str(bomb), "torchvision:resnet18"), bomb)
    assert not (tmp_path / "exploded").exists()


def test_a_failed_download_says_which_file_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers
    encoder = names.find("torchvision:resnet18")
    place = weights.path(encoder, tmp_path)
    with pytest.raises(EnvironmentProblem) as caught:
        weights.obtain(encoder, tmp_path)
    assert f"put https://download.pytorch.org/models/resnet18-f37072fd.pth at {place}" in str(
        caught.value
    )
    assert list(place.parent.iterdir()) == []


# --- stages --------------------------------------------------------------------------------------


def test_features_are_a_stage_that_runs_share(folder: Path, root: Path, lane: Workplace) -> None:
    def asked(method: str, encoder: str) -> tuple[str, str]:
        request = resolved(method, f"folder:{folder}", root=root, store=lane.store, encoder=encoder)
        stage, run = jobs(request)
        assert (stage.kind, run.stage) == (FROZEN, stage.id)
        if not lane.store.stage_ready(stage.id):
            execute(stage, lane, Watcher())
        execute(run, lane, Watcher())
        return stage.id, run.id

    stage, run = asked("kmeans", f"{BUNDLED}@32")
    assert lane.store.run_row(run)["silhouette"] is not None
    encoder = names.find(f"{BUNDLED}@32")
    _, images = lane.images(resolved("kmeans", f"folder:{folder}", root=root).wanted([0]).runs[0])
    expected = seen(encoder, weights.obtain(encoder, root), images)
    assert torch.allclose(torch.from_numpy(lane.features(stage)), expected, rtol=1e-3, atol=1e-4)
    held = lane._artefact(stage, "features")["features"]
    assert held.dtype == torch.float16
    assert asked("fcm", f"{BUNDLED}@32")[0] == stage
    assert asked("kmeans", f"{BUNDLED}@40")[0] != stage
    by_id = resolved("pac", f"folder:{folder}", root=root, store=lane.store, features=stage[:8])
    assert [job.stage for job in jobs(by_id)] == [stage]


def test_a_frozen_encoder_changes_the_preset_and_not_what_was_set(
    folder: Path, root: Path, lane: Workplace
) -> None:
    def regions(*sets: str, encoder: str | None = f"{BUNDLED}@32") -> int:
        asked = ["batch_size=40", "sub_batch_size=20", *sets]
        request = resolved(
            "cdc", f"folder:{folder}", root=root, store=lane.store, encoder=encoder, sets=asked
        )
        assert isinstance(request.config, CDCConfig)
        return request.config.mini_clusters

    assert regions() == 6  # two for each of three clusters
    assert regions("clusters=7") == 14
    assert regions("clusters=30") == 40  # a batch
    assert regions("mini_clusters=5") == 5
    assert regions("mini_clusters=5", "clusters=7") == 5
    with pytest.raises(InputError, match="mini_clusters"):  # the preset's 200
        regions(encoder=None)


def test_an_interrupted_pass_gives_the_same_features(
    folder: Path, root: Path, lane: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views with random draws: those of a batch do not depend on what was drawn before."""
    monkeypatch.setattr(passes, "_PAUSE", 0.0)
    monkeypatch.setattr(network, "BATCH", 8)
    request = resolved(
        "cdc",
        f"folder:{folder}",
        root=root,
        store=lane.store,
        encoder=f"{BUNDLED}@32",
        sets=[*SETS, "views=1"],
    )
    job = next(job for job in jobs(request) if job.config.get("view.kind") == "strong")

    class Stopped(Watcher):
        asked = 0

        def cancelled(self) -> bool:
            self.asked += 1
            return self.asked > 3

    other = place(Store.open(tmp_path / "other"))
    execute(job, lane, Watcher())
    with pytest.raises(Cancelled):
        execute(job, other, Stopped())
    assert not other.store.stage_ready(job.id)
    watcher = Watcher()
    execute(job, other, watcher)
    assert other.store.stage_row(job.id)["resumed_at"] == 3
    assert watcher.passed == [(n, 48) for n in (24, 32, 40, 48)]
    found, whole = (at._artefact(job.id, "features")["features"] for at in (other, lane))
    assert torch.equal(found, whole)
    assert not list((tmp_path / "other" / "checkpoints").rglob("*.safetensors"))


@pytest.mark.ray
def test_heads_are_trained_on_views_that_runs_share_and_predict_new_pictures(
    folder: Path, root: Path, lane: Workplace, tmp_path: Path
) -> None:
    def asked(views: int) -> list[Job]:
        sets = [*(s for s in SETS if not s.startswith("hidden")), "hidden=6", f"views={views}"]
        given = {"encoder": f"{BUNDLED}@32", "sets": sets, "store": lane.store}
        return list(jobs(resolved("cdc", f"folder:{folder}", root=root, **given)))

    two, one = asked(2), asked(1)
    assert [job.kind for job in two] == [FROZEN, *[VIEW] * 4, "run"]
    assert {job.id for job in one[:-1]} < {job.id for job in two[:-1]}
    for job in one:
        execute(job, lane, Watcher())
    row = lane.store.run_row(one[-1].id)
    assert row["stage_id"] == one[0].id
    assert row["silhouette"] is not None
    clustered = finished.predict(lane.store, one[-1].id, folder, root=root)
    report.write_prediction(clustered, tmp_path / "new.html")
    assert "of 48 pictures are shown" in (tmp_path / "new.html").read_text("utf-8")
    found = clustered.images
    stored = lane.store.probabilities(one[-1].id)["calibration"]
    assert np.abs(found["confidence"].to_numpy() - stored.max(1)).max() < 1e-3  # half precision

    sets = ["epochs=3", "batch_size=32", "hidden=6", "clusters=3", "views=1"]
    given = {"encoder": f"{BUNDLED}@32", "sets": sets, "store": lane.store}
    features, view, run = jobs(resolved("dpac", f"folder:{folder}", root=root, **given))
    assert (features.id, view.kind) == (one[0].id, VIEW)
    execute(view, lane, Watcher())
    execute(run, lane, Watcher())
    assert lane.store.run_row(run.id)["status"] == "ok"
    found = finished.predict(lane.store, run.id, folder, root=root).images
    stored = lane.store.probabilities(run.id)["clustering"]
    assert np.abs(found["confidence"].to_numpy() - stored.max(1)).max() < 1e-3


def test_other_weights_are_another_stage(folder: Path, root: Path, tmp_path: Path) -> None:
    ids = set()
    for seed in range(2):
        torch.manual_seed(seed)
        file = tmp_path / "mine.safetensors"
        save_file(models.resnet18(weights=None).state_dict(), file)
        request = resolved(
            "kmeans",
            f"folder:{folder}",
            root=root,
            encoder=str(file),
            architecture="torchvision:resnet18",
        )
        ids.add(jobs(request)[0].id)
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("method", "given", "sentence"),
    [
        ("scan", {"encoder": BUNDLED}, "takes no --encoder; methods that take features: cdc,"),
        ("cdc", {"encoder": BUNDLED, "replicate": "training"}, "or a frozen encoder in its place"),
        ("kmeans", {"encoder": BUNDLED, "features": "cdc"}, "give one of them"),
        ("kmeans", {"architecture": "timm:resnet18"}, "--architecture belongs to --encoder FILE"),
    ],
)
def test_an_encoder_where_it_has_no_place_is_refused(
    folder: Path, root: Path, method: str, given: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        resolved(method, f"folder:{folder}", root=root, **given)
