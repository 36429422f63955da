"""What each command was asked, one frozen record a command; `cli` builds it and passes it whole.

The field of an option carries the flag that sets it, so that a command line can be printed again
with some options changed.
"""

import dataclasses
import os
import shlex
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from deep_clustering.ablations._suite import Replicated
from deep_clustering.platform.places import absolute

#: Formats of a table of pictures, and suffixes of its file.
TableFormat = Literal["csv", "parquet", "json", "arrow"]

#: In place of a flag: the word that stands without one.
ARGUMENT = ""


def default_store() -> str:
    """Address of the store that is used when none is named.

    `$DEEP_CLUSTERING_STORE`, else the folder `store` in the current one.
    """
    return os.environ.get("DEEP_CLUSTERING_STORE") or str(absolute("store"))


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Where results live."""

    store: Annotated[str | None, "--store"] = None


@dataclass(frozen=True, kw_only=True)
class Places(Stored):
    """Where results and images live."""

    data: Annotated[Path | None, "--data"] = None


@dataclass(frozen=True, kw_only=True)
class Compute(Places):
    """How a command that trains uses the machine or a cluster.

    Attributes:
        run_limit: minutes after which a run, or what it stands on, is ended and counts as failed.
        evaluate_every: epochs of training between two evaluations; plays no part in ids.
    """

    address: Annotated[str | None, "--address"] = None
    workers: Annotated[int, "--workers"] = 1
    gpus_per_run: Annotated[float | None, "--gpus-per-run"] = None
    run_limit: Annotated[float | None, "--run-limit"] = None
    evaluate_every: Annotated[int, "--evaluate-every"] = 1
    log: Annotated[str | None, "--log"] = None
    retry: Annotated[str | None, "--retry"] = None
    dry_run: Annotated[bool, "--dry-run"] = False


@dataclass(frozen=True, kw_only=True)
class Images:
    """How a dataset is read and what is changed in a method's configuration.

    Attributes:
        sets: `field=value` items over the presets.
        preset: a reading of the method, such as "paper".
        protocol: which images are trained on and scored; None: the dataset's default.
        replicate: what a seed draws anew: everything from the "pretraining" on, or the "training"
            on one pretraining; None: the command's own, training but for suites.
        side: stored side of the images, pixels, where it can be chosen; see `data.pixels`.
        skip_broken: leave unreadable images out.
    """

    sets: Annotated[tuple[str, ...], "--set"] = ()
    preset: Annotated[str | None, "--preset"] = None
    protocol: Annotated[str | None, "--protocol"] = None
    replicate: Annotated[Replicated | None, "--replicate"] = None
    side: Annotated[int | None, "--image-size"] = None
    skip_broken: Annotated[bool, "--skip-broken"] = False


@dataclass(frozen=True, kw_only=True)
class Asked(Images):
    """A method on a dataset.

    Attributes:
        method: a registered name.
        dataset: a named one, folder:PATH or table:PATH.
        features: for a method that fits at once, the pretraining whose features it clusters: a
            method that has one (computed where it is missing, and shared by all who ask for it;
            `preset` and the fields `pretrain.*` of `sets` are then its own as well), or the first
            letters of a stage's id.
        encoder: for a method that fits at once, the frozen encoder whose features it clusters, see
            `encoders.names`; `architecture` goes with a file of weights.
        base: for a method that starts from a finished run: a method (with its defaults on the same
            images, a run for each seed), perhaps with fields set behind it ("scan heads=2"), or
            the first letters of a run's id.
    """

    method: Annotated[str, ARGUMENT]
    dataset: Annotated[str, "--dataset"]
    features: Annotated[str | None, "--features"] = None
    encoder: Annotated[str | None, "--encoder"] = None
    architecture: Annotated[str | None, "--architecture"] = None
    base: Annotated[str | None, "--base"] = None


@dataclass(frozen=True, kw_only=True)
class Runs(Asked, Compute):
    """What `train` and `tune` share."""

    seeds: Annotated[int, "--seeds"] = 1


@dataclass(frozen=True, kw_only=True)
class Train(Runs):
    """`platform train`."""


@dataclass(frozen=True, kw_only=True)
class Cluster(Compute):
    """`platform cluster`.

    Attributes:
        folder: of pictures, or a named dataset.
        clusters: how many; None finds the number.
        encoder: as of `Asked`; None takes the best one that needs no download.
        output: folder for the report and the table.
        table: format of the table, and its suffix.
        sort_into: folder that is made with the pictures sorted into it.
    """

    folder: Annotated[str, ARGUMENT]
    clusters: Annotated[int | None, "--clusters"] = None
    encoder: Annotated[str | None, "--encoder"] = None
    architecture: Annotated[str | None, "--architecture"] = None
    output: Annotated[Path | None, "--output"] = None
    table: Annotated[TableFormat, "--table"] = "csv"
    sort_into: Annotated[Path | None, "--sort-into"] = None
    side: Annotated[int | None, "--image-size"] = None
    skip_broken: Annotated[bool, "--skip-broken"] = False


@dataclass(frozen=True, kw_only=True)
class Tune(Runs):
    """`platform tune`."""

    trials: Annotated[int, "--trials"] = 8
    objective: Annotated[str | None, "--objective"] = None
    sampler: Annotated[str, "--sampler"] = "tpe"
    scheduler: Annotated[str, "--scheduler"] = "none"
    space: Annotated[str | None, "--space"] = None
    study: Annotated[str | None, "--study"] = None
    sampler_seed: Annotated[int, "--sampler-seed"] = 0


@dataclass(frozen=True, kw_only=True)
class Ablate(Images, Compute):
    """`platform ablate`.

    Attributes:
        seeds: of each row; None is the suite's own number.
        until_settled: add seeds, from `seeds` on, where they can settle a claim.
        max_seeds: of a row then; None is `suites.settling.MOST`.
        base: as of `Asked`, of all rows that start from a run and name none of their own.
    """

    method: Annotated[str | None, ARGUMENT] = None
    suite: Annotated[str | None, "--suite"] = None
    variants: Annotated[str | None, "--variants"] = None
    leave_one_out: Annotated[bool, "--leave-one-out"] = False
    dataset: Annotated[tuple[str, ...], "--dataset"] = ()
    seeds: Annotated[int | None, "--seeds"] = None
    until_settled: Annotated[bool, "--until-settled"] = False
    max_seeds: Annotated[int | None, "--max-seeds"] = None
    base: Annotated[str | None, "--base"] = None


@dataclass(frozen=True, kw_only=True)
class Evaluate(Places):
    """`platform evaluate`.

    Attributes:
        asked: (name of an evaluation, what followed its option).
        parameters: (name of an evaluation, the record of its parameters).
    """

    run: Annotated[str, ARGUMENT]
    asked: tuple[tuple[str, tuple[str, ...]], ...] = ()
    parameters: tuple[tuple[str, object], ...] = ()
    skip_broken: Annotated[bool, "--skip-broken"] = False


@dataclass(frozen=True, kw_only=True)
class Predict(Places):
    """`platform predict`."""

    run: Annotated[str, ARGUMENT]
    images: Annotated[Path, "--images"]
    output: Annotated[Path | None, "--output"] = None
    report: Annotated[Path | None, "--report"] = None
    skip_broken: Annotated[bool, "--skip-broken"] = False


@dataclass(frozen=True, kw_only=True)
class Results(Stored):
    """`platform results`."""

    table: Annotated[str, ARGUMENT] = "runs"
    where: Annotated[str | None, "--where"] = None
    sort: Annotated[str | None, "--sort"] = None
    columns: Annotated[str | None, "--columns"] = None
    study: Annotated[str | None, "--study"] = None
    suite: Annotated[str | None, "--suite"] = None
    limit: Annotated[int | None, "--limit"] = None
    output: Annotated[Path | None, "--output"] = None


@dataclass(frozen=True, kw_only=True)
class Verify(Stored):
    """`platform verify`."""

    repair: Annotated[bool, "--repair"] = False


@dataclass(frozen=True, kw_only=True)
class Report(Places):
    """`platform report`."""

    name: Annotated[str | None, ARGUMENT] = None
    output: Annotated[Path | None, "--output"] = None
    figures: Annotated[Path | None, "--figures"] = None


Options = Cluster | Train | Tune | Ablate | Evaluate | Predict | Results | Verify | Report


def flags(kind: type[Options]) -> dict[str, str]:
    """Field -> flag, of the fields of a record that an option or an argument sets."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {
        name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")
    }


def command_line(options: Options, **changes: object) -> str:
    """The command that asks for this, ready for a shell, with some fields changed.

    Values are written so that reading them gives the same value, bit for bit. What has its default
    is left out.
    """
    words = ["platform", type(options).__name__.lower(), *_words(options, changes)]
    return shlex.join(words)


def _words(options: Options, changes: dict[str, object]) -> Iterator[str]:
    defaults = {f.name: f.default for f in dataclasses.fields(options)}
    given = sorted(flags(type(options)).items(), key=lambda item: _place(item[1]))
    for name, flag in given:
        value = changes.get(name, getattr(options, name))
        if value == defaults[name]:
            continue
        if value is True:
            yield flag
        elif flag == ARGUMENT:
            yield str(value)
        else:
            for one in value if isinstance(value, tuple) else (value,):
                yield from (flag, text(one))


_FIRST = (
    *(ARGUMENT, "--suite", "--variants", "--dataset", "--features", "--encoder"),
    *("--architecture", "--base", "--preset"),
)


def _place(flag: str) -> int:
    """What is worked on comes first, then what is changed, then where and how."""
    return _FIRST.index(flag) if flag in _FIRST else len(_FIRST)


def text(value: object) -> str:
    """A value as `--set` and the other options read it back: the shortest text that is equal."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, (tuple, list)):
        return ",".join(text(v) for v in value)
    return str(value)
