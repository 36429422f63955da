"""Finished work that a run is to stand on, found in the store by its first letters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deep_clustering.methods._method import Method
from deep_clustering.platform import registry
from deep_clustering.platform.data.dataset import Dataset
from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.request.jobs import ENCODER, FROZEN, Work

if TYPE_CHECKING:
    from deep_clustering.platform.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Work outside a method that its runs stand on: features, or a base run.

    Attributes:
        asked: as it was asked for.
        id: of the work where every seed has the same; None where each seed has its own.
        work: seed of the run -> what it stands on.
        known: of a base run: what is known of it beforehand, see `Base.changes`.
    """

    asked: str
    id: str | None = None
    work: Callable[[int], Work]
    known: Mapping[str, Value] = field(default_factory=dict)


# ---- features


def no_features(asked: str, why: str) -> str:
    having = [n for n in registry.names() if registry.method(n).pretrain is not None]
    return (
        f"--features: got '{asked}', {why}.{nearest(asked, having)} It is a method with a "
        f"pretraining ({', '.join(having)}) or the id of a stage (`platform results stages`)."
    )


def found_stage(text: str, store: Store, prepared: Dataset) -> str:
    """The id of the finished pretraining that begins with `text`, on this very dataset."""
    known = sorted(i for i in store.stages() if i.startswith(text))
    known = [i for i in known if store.stage_row(i)["kind"] in (ENCODER, FROZEN)]
    if not known:
        raise InputError(no_features(text, f"and {store.uri} has no pretraining that begins so"))
    if len(known) > 1:
        raise InputError(
            f"--features: '{text}' could be {', '.join(known[:3])}; give more letters."
        )
    _same_images("--features: the pretraining", store.stage_row(known[0]), known[0], prepared)
    return known[0]


# ---- a run that a method starts from


def check_base(method: str, record: Method, base: str | None) -> None:
    """Raises InputError where a base is missing, or given to a method that takes none."""
    if record.base is None and base is not None:
        having = [n for n in registry.names() if registry.method(n).base is not None]
        raise InputError(
            f"{method} starts from no other run and takes no --base; methods that take one: "
            f"{', '.join(having) or 'none'}."
        )
    if record.base is not None and base is None:
        raise InputError(
            f"{method} starts from a finished run: say which with --base, the id of a run "
            "(`platform results`) or a method, which is then run first."
        )


def found_run(text: str, store: Store | None, prepared: Dataset) -> Origin:
    """The finished run of the store that begins with `text`, on these very images."""
    known = sorted(i for i in store.finished() if i.startswith(text)) if store else []
    if len(known) != 1:
        names = registry.names()
        failed = [] if known or not store else sorted(store.failures().items())
        for id, reason in failed:
            if text and id.startswith(text):
                raise InputError(
                    f"--base: the run {id} failed: {reason}. Choose another run, or give its "
                    "command again with --retry failed."
                )
        raise InputError(
            f"--base: '{text}' could be {', '.join(known[:3])}; give more letters."
            if known
            else f"--base: there is no method and no finished run '{text}'.{nearest(text, names)} "
            "`platform results` lists the runs."
        )
    assert store is not None
    _same_images("--base: the run", store.run_row(known[0]), known[0], prepared)
    return Origin(asked=text, id=known[0], work=lambda _: known[0], known=_known(known[0], store))


def _known(id: str, store: Store) -> Mapping[str, Value]:
    """What is known of a finished run, see `Base.changes`."""
    row = store.run_row(id)
    record = registry.method(str(row["method"]))
    values = configs.merged(record.config, ("row", json.loads(str(row["config_json"]))))
    if row["stage_id"] is None:
        return known_of(record, values)
    stage = store.stage_row(str(row["stage_id"]))
    if stage["kind"] == FROZEN:
        return known_of(record, values, {})
    if record.fit is None:
        return known_of(record, values)
    other = registry.method(str(stage["method"]))
    own: dict[str, Value] = json.loads(str(stage["config_json"]))
    inner = {f"pretrain.{name}": value for name, value in own.items()}
    return known_of(record, values, other.network(configs.merged(other.config, ("row", inner))))


def known_of(
    record: Method, values: Mapping[str, Value], network: Mapping[str, Value] | None = None
) -> dict[str, Value]:
    """What is known of a run of a method before it has run, see `Base.changes`.

    Args:
        values: of all fields.
        network: the fields of its network, where that is not the method's own.
    """
    if network is None:
        network = record.network(values)
    return {**network, **{n: v for n, v in values.items() if n == "clusters"}}


def _same_images(what: str, row: Mapping[str, Value], id: str, prepared: Dataset) -> None:
    theirs = (row["dataset_fingerprint"], row["protocol"])
    if theirs != (prepared.fingerprint, prepared.protocol):
        kind = what.rpartition(" ")[2]
        raise InputError(
            f"{what} {id} is of {row['dataset']} with the protocol "
            f"{row['protocol']}, and {prepared.name} with {prepared.protocol} was asked for; "
            f"choose a {kind} of the same images."
        )
