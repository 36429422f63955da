"""Ablation suites: by name, from a user's file, or made up on the command line; and their runs.

A suite is data (`ablations/_suite.py`). Here its names are checked, and on a data set it becomes
jobs: what two suites share has one run id and is computed once.
"""

import dataclasses
import importlib
import importlib.util
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deep_clustering.ablations._suite import Claim, Row, Suite, against_full
from deep_clustering.ablations._variants import Times, Variant, combined, resolved, unknown
from deep_clustering.platform import registry
from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.evaluation import contract
from deep_clustering.platform.metrics.registry import METRICS
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.request.request import Request, Wanted, together
from deep_clustering.platform.store.store import Plan, PlannedRun

#: Smallest difference of accuracy and of ECE that a suite made up on the command line tells.
_MARGIN = 0.005
#: Name of the baseline's row in such a suite.
FULL = "full"


def variants(method: str) -> dict[str, Variant]:
    """The variants of a method; none when it has no ablation file.

    Raises:
        InputError: no such method.
    """
    registry.method(method)
    if method not in registry.names("ablations"):
        return {}
    found: dict[str, Variant] = getattr(_module(method), "VARIANTS", {})
    return found


def known() -> dict[str, Suite]:
    """All suites of the files in `ablations/`, checked, in the order of file and declaration."""
    found: dict[str, Suite] = {}
    for name in registry.names("ablations"):
        found |= {suite.name: suite for suite in getattr(_module(name), "SUITES", ())}
    for folder in registry.folders("ablations"):
        for path in sorted(folder.glob("[!.]*.toml")):
            found |= {suite.name: suite for suite in _from_toml(path)}
    for suite in found.values():
        check(suite)
    return found


def find(text: str) -> Suite:
    """A suite by its name, or the one in a user's .py or .toml file.

    Raises:
        InputError: no such suite or file, or a mistake in it.
    """
    if text.endswith((".py", ".toml")):
        path = Path(text).expanduser()
        if not path.is_file():
            raise InputError(f"--suite: there is no file {text}.")
        found = _from_toml(path) if path.suffix == ".toml" else _from_python(path)
        if len(found) != 1:
            raise InputError(f"{text}: needs exactly one suite, found {len(found)}.")
        check(found[0])
        return found[0]
    suites = known()
    if text not in suites:
        raise InputError(
            f"there is no suite '{text}'.{nearest(text, suites)} `platform suites` lists them; "
            "a suite of your own is a .py or .toml file."
        )
    return suites[text]


def made_up(method: str, names: str | None, leave_one_out: bool) -> Suite:
    """A suite of some variants of a method beside the full method.

    Args:
        method: a registered name.
        names: variants separated by commas; `a+b` is both together. None: all that are needed.
        leave_one_out: one row for each component, that one removed; of `names` when they are given.

    Raises:
        InputError: unknown variants, or variants that contradict each other.
    """
    there = variants(method)
    chosen = [part.strip() for part in (names or "").split(",") if part.strip()]
    single = [n for part in chosen for n in part.split("+")]
    _refuse([f"--variants: {m}" for m in unknown(single, there, "variant")], there)
    removing = [n for n, v in there.items() if v.removes]
    if leave_one_out:
        chosen = [n for n in removing if n in single] if single else removing
    if not chosen:
        raise InputError(
            f"say which suite or variants: --suite NAME, --variants A,B or --leave-one-out; "
            f"{method} has the variants {', '.join(there) or 'none'}."
        )
    rows = (Row(name=FULL), *(Row(name=n, variants=tuple(n.split("+"))) for n in chosen))
    label = "leave-one-out" if leave_one_out and not single else "-".join(chosen)
    label = re.sub(r"[^A-Za-z0-9-]", "-", label)
    suite = _built(
        "--variants",
        name=_short(f"{method}-{label}", chosen),
        title=f"{FULL} {method} against " + ", ".join(chosen),
        method=method,
        datasets=("digits",),
        rows=rows,
        claims=against_full(FULL, chosen, acc=_MARGIN, ece=_MARGIN),
    )
    check(suite)
    return suite


def altered(suite: Suite, sets: Iterable[str], preset: str | None, protocol: str | None) -> Suite:
    """A suite with fields set by hand: another suite, whose published values are no comparison."""
    given = [*sets]
    given += [f"preset {preset}"] if preset not in (None, suite.preset) else []
    given += [f"protocol {protocol}"] if protocol not in (None, suite.protocol) else []
    if not given:
        return suite
    mark = configs.digest({"given": given})[:6]
    return dataclasses.replace(
        suite,
        name=f"{suite.name}.{mark}",
        preset=preset or suite.preset,
        protocol=protocol or suite.protocol,
        protocols={} if protocol else suite.protocols,
        mismatch="; ".join(x for x in (suite.mismatch, f"set by hand: {', '.join(given)}") if x),
    )


def check(suite: Suite) -> None:
    """Every name that a suite uses exists.

    Raises:
        InputError: all that do not, each with the nearest that does.
    """
    wrong: list[str] = []
    registry.method(suite.method)
    for row in suite.rows:
        try:
            there = variants(row.method or suite.method)
            fields = configs.fields(registry.method(row.method or suite.method).config)
            if row.features is not None:
                registry.method(row.features)
        except InputError as error:
            wrong.append(f"row '{row.name}': {error}")
            continue
        mistakes = unknown(row.variants, there, "variant") + unknown(row.changes, fields)
        for value in row.changes.values():
            if isinstance(value, Times) and value.of is not None:
                mistakes += unknown((value.of,), fields)
        if not mistakes:
            try:
                combined(there[name] for name in row.variants)
            except ValueError as error:
                mistakes.append(str(error))
        wrong += [f"row '{row.name}': {m}" for m in mistakes]
    heads = {row.head for row in suite.rows if row.head}
    metrics = METRICS.keys() | {f"{head}_{metric}" for head in heads for metric in METRICS}
    wrong += unknown(suite.metrics, sorted(metrics), "metric")
    wrong += unknown(suite.evaluations, contract.names(), "evaluation")
    if wrong:
        raise InputError(f"suite {suite.name}:\n" + "\n".join(wrong))


# ---- files


def _module(name: str) -> Any:
    return importlib.import_module(f"deep_clustering.ablations.{name}")


def _from_python(path: Path) -> list[Suite]:
    """`SUITES`, or the one `SUITE`, of a file."""
    spec = importlib.util.spec_from_file_location(f"_suite_{path.stem.replace('-', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from error
    found = getattr(module, "SUITES", None) or [getattr(module, "SUITE", None)]
    if not all(isinstance(suite, Suite) for suite in found):
        raise InputError(f"{path}: needs SUITE = Suite(...) or SUITES = (Suite(...), ...).")
    return list(found)


def _from_toml(path: Path) -> list[Suite]:
    """The one suite of a TOML file; its keys are the fields of `Suite`, `Row` and `Claim`."""
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not TOML: {error}") from error
    given.setdefault("name", path.stem)
    given.setdefault("title", given["name"])
    rows = tuple(
        _built(f"{path}: row", Row, **{**row, "changes": _relative(row.get("changes", {}))})
        for row in given.pop("rows", [])
    )
    claims = tuple(_built(f"{path}: claim", Claim, **claim) for claim in given.pop("claims", []))
    return [_built(str(path), rows=rows, claims=claims, **given)]


def _relative(changes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested TOML tables as dotted fields; a table with `times` is a `Times`."""
    found: dict[str, Any] = {}
    for name, value in changes.items():
        if isinstance(value, dict) and "times" in value:
            found[prefix + name] = Times(factor=value["times"], of=value.get("of"))
        elif isinstance(value, dict):
            found |= _relative(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _built(where: str, kind: Any = Suite, **given: Any) -> Any:
    """A record from plain values, with mistakes told as those of its file."""
    names = [f.name for f in dataclasses.fields(kind)]
    wrong = unknown(given, names, "key")
    missing = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name not in given
    ]
    wrong += [f"'{name}' is missing." for name in missing]
    if wrong:
        raise InputError(f"{where}: " + "\n".join(wrong))
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    if isinstance(things := plain.get("evaluations"), Mapping):
        plain["evaluations"] = {name: tuple(values) for name, values in things.items()}
    try:
        return kind(**plain)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: {error}") from error


def _short(name: str, chosen: list[str]) -> str:
    return name if len(name) <= 48 else f"{name[:40]}-{configs.digest({'rows': chosen})[:6]}"


def _refuse(wrong: list[str], there: Mapping[str, Variant]) -> None:
    if wrong:
        raise InputError("\n".join([*wrong, f"Known: {', '.join(there) or 'none'}."]))


# ---- runs


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One row on one data set: its runs, or why its configuration is not possible there."""

    row: Row
    dataset: str
    wanted: Wanted = field(default_factory=lambda: Wanted(runs=()))
    impossible: str = ""

    @property
    def runs(self) -> tuple[Job, ...]:
        """Its runs, one a seed."""
        return self.wanted.runs


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """A suite on its data sets."""

    suite: Suite
    requests: Mapping[str, Request]  # by name of the data set
    arms: tuple[Arm, ...]
    wanted: Wanted  # every distinct job of all arms

    @property
    def runs(self) -> tuple[Job, ...]:
        """The distinct runs."""
        return self.wanted.runs


def methods(suite: Suite) -> list[tuple[str, str | None]]:
    """(method, features) of a suite's rows, its own method first."""
    rows = [(row.method or suite.method, row.features) for row in suite.rows]
    return list(dict.fromkeys([(suite.method, None), *rows]))


#: (data set, method, features) -> the full method on it.
Resolve = Callable[[str, str, str | None], Request]


def expand(
    suite: Suite,
    datasets: Iterable[str],
    seeds: Iterable[int],
    resolve: Resolve,
) -> Expansion:
    """The jobs of a suite.

    Args:
        suite: checked.
        datasets: names, or folder:PATH.
        seeds: the same for every row, so that differences are paired.
        resolve: (data set, method, features) -> the full method on it.

    Raises:
        InputError: on a data set no row is possible.
    """
    requests: dict[str, Request] = {}
    arms: list[Arm] = []
    seeds = list(seeds)
    for name in datasets:
        known: dict[tuple[str, str | None], Request] = {}
        mine: list[Arm] = []
        for row in suite.rows or (Row(name=""),):
            key = (row.method or suite.method, row.features)
            if key not in known:
                known[key] = resolve(name, *key)
            request = known[key]
            requests.setdefault(request.dataset.name, request)
            if suite.rows:
                mine.append(_arm_of(row, key[0], request, seeds))
        arms += mine
        if mine and all(arm.impossible for arm in mine):
            raise InputError(f"{suite.name} on {mine[0].dataset}: {mine[0].impossible}")
    return Expansion(
        suite=suite,
        requests=requests,
        arms=tuple(arms),
        wanted=together(arm.wanted for arm in arms),
    )


def _arm_of(row: Row, method: str, request: Request, seeds: list[int]) -> Arm:
    there = variants(method)
    changes = combined(there[name] for name in row.variants) | dict(row.changes)
    try:
        config = request.configure(resolved(changes, configs.flatten(request.config)))
    except InputError as error:
        return Arm(row=row, dataset=request.dataset.name, impossible=str(error))
    wanted = request.wanted(seeds, config)
    return Arm(
        row=row,
        dataset=request.dataset.name,
        wanted=wanted,
    )


# ---- plans


def definition(suite: Suite) -> dict[str, Any]:
    """A suite as JSON; its digest changes with rows, claims and margins, not with seeds."""
    plain = dataclasses.asdict(suite)
    plain.pop("seeds")
    found: dict[str, Any] = json.loads(configs.canonical(plain))
    return found


def restored(value: Mapping[str, Any]) -> Suite:
    """The suite of a `definition`, for reading results; its overrides are plain values."""
    rows = tuple(_built("a stored suite", Row, **row) for row in value["rows"])
    claims = tuple(_built("a stored suite", Claim, **claim) for claim in value["claims"])
    rest = {k: v for k, v in value.items() if k not in ("rows", "claims", _BEFORE)}
    if _BEFORE in value:
        rest["evaluations"] = {_BEFORE: value[_BEFORE]} if value[_BEFORE] else {}
    found: Suite = _built("a stored suite", **rest, rows=rows, claims=claims)
    return found


#: Key of the one evaluation that the first release knew, in the suites that it stored.
_BEFORE = "ood"


def _mark(suite: Suite) -> str:
    """What tells definitions of a suite apart."""
    return configs.digest(definition(suite))


def plan(expansion: Expansion, before: Plan, now: str, command: str) -> Plan:
    """What a command adds to the plan of its suite: entries, definition, impossible rows.

    An entry that is the newest of its row, data set and seed already keeps its time, so that the
    same command again adds nothing.
    """
    newest = {(e["variant"], e["dataset"], e["seed"]): e for e in _by_time(_entries(before))}
    entries = []
    for arm in expansion.arms:
        for job in arm.runs:
            entry = {
                "run_id": job.id,
                "variant": arm.row.name,
                "head": arm.row.head,
                "dataset": arm.dataset,
                "seed": job.seed,
                "arm": _arm(job),
            }
            old = newest.get((entry["variant"], entry["dataset"], entry["seed"]))
            if old is not None and {k: old[k] for k in entry} == entry:
                entries.append(old)
            else:
                entries.append(entry | {"asked": now})
    whole = definition(expansion.suite)
    mark = _mark(expansion.suite)
    last = _by_time(before.details.get("definitions", ()))[-1:]
    described = {"digest": mark, "suite": whole, "asked": now}
    if last and _mark(restored(last[0]["suite"])) == mark:
        described = last[0]
    impossible = [
        {"variant": a.row.name, "dataset": a.dataset, "reason": a.impossible}
        for a in expansion.arms
        if a.impossible
    ]
    names = [{"dataset": name} for name in expansion.requests]
    return Plan(
        runs=tuple(PlannedRun.from_json(entry) for entry in entries),
        commands=(command,),
        details={
            "definitions": (described,),
            "impossible": tuple(impossible),
            "datasets": tuple(names),
        },
    )


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What the plan of a suite says now."""

    suite: Suite
    entries: list[dict[str, Any]]  # of the current configuration of each row, in table order
    impossible: dict[tuple[str, str], str]  # (variant, data set) -> reason
    datasets: list[str]
    remarks: list[str]  # what a reader of verdicts has to know
    commands: list[str]


def current(plan: Plan) -> Planned:
    """The newest definition of a suite, with the entries that belong to it.

    Where a row's configuration, its data or its method changed, the runs from before the change are
    left out, so that one cell never mixes two configurations.
    """
    described = _by_time(plan.details["definitions"])
    suite = restored(described[-1]["suite"])
    order = {row.name: i for i, row in enumerate(suite.rows)}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in _by_time(_entries(plan)):
        if entry["variant"] in order:
            groups.setdefault((entry["dataset"], entry["variant"]), []).append(entry)
    kept: list[dict[str, Any]] = []
    late = set()
    for (dataset, _), entries in groups.items():
        mine = [e for e in entries if e["arm"] == entries[-1]["arm"]]
        unique = {e["run_id"]: e for e in reversed(mine)}  # the first time that it was asked for
        kept += sorted(unique.values(), key=lambda e: e["seed"])
        if len({e["asked"] for e in unique.values()}) > 1:
            late.add(dataset)
    asked = sorted({d["dataset"] for d in plan.details.get("datasets", ())})
    names = [d for d in suite.datasets if d in asked]
    names += [d for d in asked if d not in names]
    kept.sort(key=lambda e: (names.index(e["dataset"]), order[e["variant"]], e["seed"]))
    remarks = [f"{d}: seeds were added after the first results" for d in sorted(late)]
    if len({_mark(restored(d["suite"])) for d in described}) > 1:
        remarks.append("the suite's rows, claims or margins changed after it was first run")
    return Planned(
        suite=suite,
        entries=kept,
        impossible={
            (i["variant"], i["dataset"]): i["reason"] for i in plan.details.get("impossible", ())
        },
        datasets=names,
        remarks=remarks,
        commands=list(plan.commands),
    )


def _arm(job: Job) -> str:
    """What the seeds of one row share: a run's identity without its seed."""
    rest = {
        "method": job.method,
        "version": job.version,
        "config": job.config,
        "dataset": job.dataset,
        "protocol": job.protocol,
    }
    return configs.digest(rest)


def _entries(plan: Plan) -> list[dict[str, Any]]:
    """The runs of a plan with their labels."""
    return [{"run_id": run.run_id, **run.labels} for run in plan.runs]


def _by_time(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return sorted((dict(i) for i in items), key=lambda i: str(i["asked"]))
