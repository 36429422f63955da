"""Jobs: their JSON and its inverse, and what they stand on."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from deep_clustering.methods._method import Base, Neighbours, Pretrain
from deep_clustering.methods.cdc import METHOD
from deep_clustering.platform.data.dataset import Source
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import Given, Job, at_once, of_evaluation, of_run
from deep_clustering.platform.request.request import Request
from support.small import SETS, jobs, request, resolved

#: Whatever a method can stand on, at once.
_EVERYTHING = dataclasses.replace(
    METHOD,
    needs=(*METHOD.needs, Neighbours(count="mini_clusters"), Base()),
)


@pytest.fixture(scope="module")
def asked(folder: Path, root: Path) -> Request:
    return request(folder, root)


@pytest.fixture(scope="module")
def every(asked: Request, folder: Path, root: Path) -> list[Job]:
    """A job of every kind, with everything that can be said of one."""
    base = jobs(resolved("fcm", f"folder:{folder}", root=root))
    source = Source("folder:a b", root / "x", skip_broken=True, side=48, protocol="test")
    found = of_run(
        "cdc",
        _EVERYTHING,
        asked.config,
        3,
        asked.dataset,
        source,
        ("acc", "ece"),
        Given(base=base),
    )
    fitted = resolved(
        "kmeans",
        f"folder:{folder}",
        root=root,
        features="cdc",
        sets=[s for s in SETS if s.startswith("pretrain.")],
    )
    run = found[-1]
    evaluation = of_evaluation(
        "ood",
        run=run.id,
        version=1,
        identity={"dataset": "0a", "protocol": "all"},
        config={"spec": "digits", "side": 8},
        method="cdc",
        seed=3,
        dataset=run.dataset,
        protocol=run.protocol,
        source=source,
    )
    return [*found, *jobs(fitted), evaluation]


def test_a_job_survives_json(every: list[Job]) -> None:
    assert {job.kind for job in every} == {"encoder", "neighbours", "outputs", "run", "ood"}
    for job in every:
        assert Job.from_json(json.loads(json.dumps(job.as_json()))) == job
        assert Job.from_json(job.as_json()) == job


def test_needs_come_before_what_stands_on_them(every: list[Job]) -> None:
    seen: set[str] = set()
    for job in every:
        assert set(job.needs.values()) <= seen, job.kind
        seen.add(job.id)
    run = next(job for job in every if job.kind == "run" and len(job.needs) == 3)
    kinds = {name: next(j.kind for j in every if j.id == id) for name, id in run.needs.items()}
    assert kinds == {"encoder_state": "encoder", "neighbours": "neighbours", "base": "outputs"}
    assert isinstance(METHOD.needs[0], Pretrain)
    assert run.stage == run.needs["encoder_state"]


def test_where_images_are_and_what_is_watched_play_no_part_in_an_id(asked: Request) -> None:
    moved = dataclasses.replace(asked, source=dataclasses.replace(asked.source, root=Path("/x")))
    first, second = asked.wanted([0], watch=("acc",)).jobs, moved.wanted([0]).jobs
    assert [job.id for job in first] == [job.id for job in second]
    assert first != second


def test_what_decides_about_an_outcome_is_in_the_id(asked: Request) -> None:
    (run,) = asked.wanted([0]).runs
    others = [
        *asked.wanted([1]).runs,
        *asked.wanted([0], asked.configure({"hidden": 13})).runs,
        *asked.wanted([0], asked.configure({"pretrain.epochs": 3})).runs,
        *asked.wanted([0], asked.configure({"pretrain.frame": "centre"})).runs,
    ]
    assert len({run.id, *(job.id for job in others)}) == 5


@pytest.mark.parametrize(
    ("method", "ids"),
    [
        # version 2 of both, in float32; those with "auto" were 9242dd4b..., 1011bb5e... and
        # 6a0e2f6f..., 5a15bbae...; before, cdc's had the pretraining seed 1, 96e4a686... and
        # b68aa051...; version 1 was 914e56d3..., eed9e3ee... and 333d772b..., e95dfcf4...
        ("cdc", ["3be12bee9266dfe8f305", "51bb5f6bcb2bed67148b"]),
        ("dpac", ["7e28f54cacb8495c4c6d", "3fee2271d121e3dd63c6"]),
        ("kmeans", ["a585b56324071f0d09aa"]),
    ],
)
def test_ids_stay_what_they_are(method: str, ids: list[str], root: Path) -> None:
    """Of seed 0 on digits; where one of them changes, old stores are computed anew."""
    assert [job.id for job in jobs(resolved(method, "digits", root=root))] == ids


def test_ids_are_made_as_in_the_first_release(asked: Request) -> None:
    """Written out; where this changes, every store that people have is computed anew."""

    def digest(**identity: object) -> str:
        plain = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(plain.encode()).hexdigest()[:20]

    stage, run = asked.wanted([3]).jobs
    later = {
        "pretrain.frame",
        "pretrain.enlargement",
        "target_view",
        "grouping",
        "views",
    }  # fields that came afterwards, as by default
    flat = {k: v for k, v in configs.flatten(asked.config).items() if k not in later}
    images = {"dataset": asked.dataset.fingerprint, "protocol": "all"}
    cdc = {"method": "cdc", "version": asked.record.version, **images}
    own = {k.removeprefix("pretrain."): v for k, v in flat.items() if k.startswith("pretrain.")}
    seed = 3 if asked.config.pretrain.seed is None else asked.config.pretrain.seed
    assert stage.id == digest(kind="encoder", config=own, seed=seed, **cdc)
    assert run.id == digest(kind="run", config=flat, seed=3, stage=stage.id, **cdc)


# ---- what a seed draws anew


def test_replicating_the_pretraining_gives_each_seed_its_own(root: Path) -> None:
    whole = resolved("cdc", "digits", root=root, replicate="pretraining").wanted(range(3))
    assert [job.seed for job in whole.before] == [0, 1, 2]
    by_hand = resolved("cdc", "digits", root=root, sets=["pretrain.seed=none"]).wanted(range(3))
    assert [job.id for job in whole.jobs] == [job.id for job in by_hand.jobs]
    one = resolved("cdc", "digits", root=root, replicate="training").wanted(range(3))
    assert len(one.before) == 1
    assert one.jobs == resolved("cdc", "digits", root=root).wanted(range(3)).jobs


def test_features_and_bases_are_drawn_anew_as_well(root: Path) -> None:
    features = resolved("kmeans", "digits", root=root, features="dpac", replicate="pretraining")
    assert [job.seed for job in features.wanted(range(2)).before] == [0, 1]
    base = resolved("ruc", "digits", root=root, base="scan", replicate="pretraining")
    encoders = [job for job in base.wanted(range(2)).before if job.kind == "encoder"]
    assert [job.seed for job in encoders] == [0, 1]


def test_fields_behind_a_base_are_those_of_its_run(root: Path) -> None:
    asked = resolved("cdc_from", "digits", root=root, base="scan heads=2 self_label_epochs=0")
    *before, run = asked.wanted([0]).jobs
    base = next(job for job in before if job.kind == "run")
    assert (base.config["heads"], base.config["self_label_epochs"]) == (2, 0)
    alone = resolved("scan", "digits", root=root, sets=["heads=2", "self_label_epochs=0"])
    assert base.id == alone.wanted([0]).jobs[-1].id
    assert run.id != resolved("cdc_from", "digits", root=root, base="scan").wanted([0]).jobs[-1].id
    with pytest.raises(InputError, match=r"--base scan: there is no field 'head'\. Did"):
        resolved("cdc_from", "digits", root=root, base="scan head=2")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"method": "pac", "replicate": "training"}, "pac has no pretraining"),
        ({"replicate": "pretraining", "sets": ["pretrain.seed=3"]}, "contradict each other"),
        ({"replicate": "training", "sets": ["pretrain.seed=none"]}, "contradict each other"),
    ],
)
def test_a_replication_that_is_not_there_is_refused(
    asked: dict[str, Any], message: str, root: Path
) -> None:
    with pytest.raises(InputError, match=message):
        resolved(**{"method": "cdc", "dataset": "digits", "root": root, **asked})


#: One job, two that stand on it, one that stands on these.
_CHAIN: dict[str, dict[str, str]] = {
    "a": {},
    "b": {"x": "a"},
    "c": {"x": "a"},
    "d": {"x": "b", "y": "c"},
}


def test_how_many_jobs_can_begin(every: list[Job]) -> None:
    """Those that stand on nothing among them: whether a need is done, or another job, decides."""
    (run,) = (job for job in every if job.kind == "run" and len(job.needs) > 2)
    chain = [dataclasses.replace(run, id=i, needs=n) for i, n in _CHAIN.items()]
    assert at_once([]) == 0
    assert at_once(chain) == 1
    assert at_once(chain[1:]) == 2  # what they stand on is done
    assert at_once(chain[3:]) == 1
