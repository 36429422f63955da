"""Records of what commands are asked: one to one with the options, and written back bit for bit."""

import dataclasses
import shlex
import typing
from pathlib import Path

import click
import optuna
import pytest
from optuna.samplers import RandomSampler

from deep_clustering.platform import registry
from deep_clustering.platform.cli import _record, cli
from deep_clustering.platform.commands import _say as say
from deep_clustering.platform.evaluation import contract
from deep_clustering.platform.request.options import (
    ARGUMENT,
    Ablate,
    Asked,
    Cluster,
    Evaluate,
    Options,
    Predict,
    Report,
    Results,
    Train,
    Tune,
    Verify,
    command_line,
    flags,
    text,
)
from deep_clustering.platform.request.request import resolve
from deep_clustering.platform.search.samplers import suggest
from deep_clustering.search_spaces._space import resolve as concrete
from support.small import SETS, images

RECORDS: dict[str, type[Options]] = {k.__name__.lower(): k for k in typing.get_args(Options)}

PRETRAINING = tuple(s for s in SETS if s.startswith("pretrain."))

#: The least that a command can be asked.
LEAST: dict[str, Options] = {
    "cluster": Cluster(folder="photos"),
    "train": Train(method="cdc", dataset="digits"),
    "tune": Tune(method="cdc", dataset="digits"),
    "ablate": Ablate(),
    "evaluate": Evaluate(run="3f2a"),
    "predict": Predict(run="3f2a", images=Path("photos")),
    "results": Results(),
    "report": Report(),
    "verify": Verify(),
}


def parameters() -> list[str]:
    """Fields of the parameters of all evaluations, each an option of `platform evaluate`."""
    kinds = [contract.find(name).parameters for name in contract.names()]
    return [field.name for kind in kinds if kind for field in dataclasses.fields(kind)]


def read(line: str) -> Options:
    """The record of a command line, as the command itself makes it."""
    program, name, *words = shlex.split(line)
    assert program == "platform"
    given = dict(cli.commands[name].make_context(name, words).params)
    given.pop("as_json", None)
    if name == "evaluate":
        values = {e: given.pop(e) for e in registry.names("evaluations")}
        given["asked"] = tuple((e, tuple(v)) for e, v in values.items() if v)
        for parameter in parameters():
            del given[parameter]
    return _record(RECORDS[name], given)


@pytest.mark.parametrize("name", RECORDS)
def test_every_option_is_a_field_and_every_field_an_option(name: str) -> None:
    command = cli.commands[name]
    options = {
        parameter.name: ARGUMENT if isinstance(parameter, click.Argument) else parameter.opts[0]
        for parameter in command.get_params(click.Context(command))
        if "--help" not in parameter.opts
    }
    if name == "evaluate":  # the evaluations are options of their own, and one field
        for evaluation in registry.names("evaluations"):
            assert options.pop(evaluation) == f"--{evaluation}"
        for parameter in parameters():
            assert options.pop(parameter) == f"--{parameter.replace('_', '-')}"
    options.pop("as_json", None)  # how a command says what it found, and no part of what is asked
    assert options == flags(RECORDS[name])


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_not_said_is_the_same_for_the_command_and_its_record(name: str) -> None:
    assert read(command_line(LEAST[name])) == LEAST[name]


def test_a_command_line_is_read_back_as_it_was_asked() -> None:
    images_of = {
        "sets": ("epochs=3", "clusters=4", "name='x y'"),
        "preset": "release",
        "protocol": "train-test",
        "side": 48,
        "skip_broken": True,
    }
    compute = {
        "store": "s3://b/it's?region=x&y=1",
        "data": Path("meine Bilder"),
        "address": "10.0.0.1:6379",
        "workers": 2,
        "gpus_per_run": 0.1,
        "run_limit": 0.7,
        "evaluate_every": 5,
        "retry": "failed",
        "dry_run": True,
    }
    runs = {"method": "pac", "dataset": "folder:-a b", "features": "cdc", "base": "3f", "seeds": 3}
    every: list[Options] = [
        Train(**runs, **images_of, **compute),
        Tune(
            **runs,
            **images_of,
            **compute,
            trials=50,
            objective="acc,ece",
            sampler="gp",
            scheduler="asha",
            space="m,metric",
            study="mine",
            sampler_seed=7,
        ),
        Ablate(
            method="cdc",
            suite="x.toml",
            variants="a,b+c",
            leave_one_out=True,
            dataset=("digits", "folder:a b"),
            seeds=4,
            **images_of,
            **compute,
        ),
        Predict(run="3f", images=Path("a b"), output=Path("c.csv"), skip_broken=True, store="s"),
        Results(table="epochs", where="acc > 0.5", sort="-acc", limit=3, study="s"),
        Verify(repair=True, store="s"),
        Report(name="cdc-table2", output=Path("a.html"), figures=Path("f"), store="s"),
    ]
    for asked in every:
        assert read(command_line(asked)) == asked, command_line(asked)
        changed = [
            n for n in flags(type(asked)) if getattr(asked, n) != getattr(LEAST[_of(asked)], n)
        ]
        assert len(changed) >= min(3, len(flags(type(asked))))


def _of(asked: Options) -> str:
    return type(asked).__name__.lower()


def test_a_changed_option_is_said_once() -> None:
    asked = read("platform tune cdc --dataset digits --trials=50 --retry=failed")
    assert isinstance(asked, Tune)
    assert asked.trials == 50
    more = command_line(asked, trials=asked.trials * 2, retry=None)
    assert more == "platform tune cdc --dataset digits --trials 100"
    # and back at the default it is not said at all
    assert command_line(asked, trials=8, retry=None) == "platform tune cdc --dataset digits"


@pytest.mark.parametrize(
    "value",
    [0.1 + 0.2, 1e-5, 1.0, -2.0, -0.0, 1e15, 1e16, 2**53 + 2.0, 5e-324, 1.7976931348623157e308],
)
def test_numbers_are_read_back_bit_for_bit(value: float) -> None:
    assert float(text(value)).hex() == value.hex()


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a train and a test part."""
    folder = tmp_path_factory.mktemp("it's split")
    images(folder / "train")
    images(folder / "test", count=5)
    return folder


@pytest.mark.parametrize(
    ("method", "features", "protocol", "sets"),
    [
        ("cdc", None, "train-test", SETS),
        ("fcm", "cdc", "all", PRETRAINING),
        ("pac", "cdc", "all", PRETRAINING),
        ("kmeans", None, "train", ()),
    ],
)
def test_train_the_best_is_the_run_of_the_trial(
    split: Path,
    root: Path,
    tmp_path: Path,
    method: str,
    features: str | None,
    protocol: str,
    sets: tuple[str, ...],
) -> None:
    """All that decides about a run is in the line, and so is where it is kept."""
    asked = Tune(
        method=method,
        dataset=f"folder:{split}",
        features=features,
        protocol=protocol,
        side=12,
        preset="release" if features else None,
        sets=sets,
        skip_broken=True,
        store=str(tmp_path / "a store"),
        data=root,
        seeds=2,
        trials=50,
        objective="ece",
        study="mine",
        retry="failed",
        dry_run=False,
    )
    request = resolve(asked, root=root)
    space = concrete(registry.space(method), request.config, bounds={"images": 48})
    study = optuna.create_study(sampler=RandomSampler(seed=3))
    for _ in range(5):
        while True:
            values = suggest(study.ask(), space)
            try:
                config = request.configure(values)
                break
            except ValueError:
                continue  # a combination that cannot exist
        line = say.train_again(asked, values, seeds=2)
        again = read(line)
        assert isinstance(again, Train)
        assert (again.store, again.data, again.seeds) == (asked.store, asked.data, 2)
        assert (again.protocol, again.side, again.features) == (protocol, 12, features)
        assert again.retry is None
        found = resolve(_asked(again), root=root).wanted(range(2))
        assert found == request.wanted(range(2), config)


def _asked(train: Train) -> Asked:
    return train
