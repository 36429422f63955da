"""Ablation suites: by name, from a user's file, or made up on the command line; and their runs.

A suite is data (`ablations/_suite.py`). Here its names are checked, and on a data set it becomes
jobs: what two suites share has one run id and is computed once.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from deep_clustering.ablations._suite import Row, Suite, against_full
from deep_clustering.ablations._variants import Times, Variant, combined, resolved, unknown
from deep_clustering.methods._method import Config
from deep_clustering.platform import registry
from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.evaluation import contract
from deep_clustering.platform.metrics.registry import METRICS
from deep_clustering.platform.places import absolute
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.request.request import Request, Wanted, base_words, together
from deep_clustering.platform.suites._files import built, from_python, from_toml
from deep_clustering.platform.suites.variants import module, variants

#: Smallest difference of accuracy and of ECE that a suite made up on the command line tells.
_MARGIN = 0.005
#: Name of the baseline's row in such a suite.
FULL = "full"


def known() -> dict[str, Suite]:
    """All suites of the files in `ablations/`, checked, in the order of file and declaration."""
    suites: dict[str, Suite] = {}
    for name in registry.names("ablations"):
        suites |= {suite.name: suite for suite in getattr(module(name), "SUITES", ())}
    for folder in registry.folders("ablations"):
        for path in sorted(folder.glob("[!.]*.toml")):
            suite = from_toml(path)
            suites[suite.name] = suite
    for suite in suites.values():
        check(suite)
    return suites


def find(text: str) -> Suite:
    """A suite by its name, or the one in a user's .py or .toml file.

    Raises:
        InputError: no such suite or file, or a mistake in it.
    """
    if text.endswith((".py", ".toml")):
        path = absolute(text)
        if not path.is_file():
            raise InputError(f"--suite: there is no file {text}.")
        of_file = [from_toml(path)] if path.suffix == ".toml" else from_python(path)
        if len(of_file) != 1:
            raise InputError(f"{text}: needs exactly one suite, found {len(of_file)}.")
        check(of_file[0])
        return of_file[0]
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
    suite = built(
        Suite,
        "--variants",
        {
            "name": _short(f"{method}-{label}", chosen),
            "title": f"{FULL} {method} against " + ", ".join(chosen),
            "method": method,
            "datasets": ("digits",),
            "rows": rows,
            "base": _usual_base(method),
            "claims": against_full(FULL, chosen, acc=_MARGIN, ece=_MARGIN),
        },
    )
    check(suite)
    return suite


def _usual_base(method: str) -> str | None:
    """The base of a method's own suites; None where it starts from no other run."""
    if registry.method(method).base is None:
        return None
    return next((s.base for s in known().values() if s.method == method and s.base), None)


def altered(
    suite: Suite,
    sets: Iterable[str],
    preset: str | None,
    protocol: str | None,
    base: str | None = None,
) -> Suite:
    """A suite with fields set by hand: another suite, whose published values are no comparison.

    `base` is what its rows start from, those aside that name a base of their own.

    Raises:
        InputError: a base for rows that start from no other run.
    """
    if base is not None and not any(_takes_base(suite, row) for row in suite.rows):
        raise InputError(
            f"--base: no row of {suite.name} starts from a run that could be another; leave it out."
        )
    given = [s for s in sets if s.partition("=")[0] != "pretrain.seed"]  # a seed is no setting
    given += [f"preset {preset}"] if preset not in (None, suite.preset) else []
    given += [f"protocol {protocol}"] if protocol not in (None, suite.protocol) else []
    given += [f"base {base}"] if base not in (None, suite.base) else []
    if not given:
        return suite
    mark = configs.digest({"given": given})[:6]
    return dataclasses.replace(
        suite,
        name=f"{suite.name}.{mark}",
        preset=preset or suite.preset,
        base=base or suite.base,
        protocol=protocol or suite.protocol,
        protocols={} if protocol else suite.protocols,
        mismatch="; ".join(x for x in (suite.mismatch, f"set by hand: {', '.join(given)}") if x),
    )


def _takes_base(suite: Suite, row: Row) -> bool:
    return row.base is None and registry.method(row.method or suite.method).base is not None


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
            for other in (row.features, row.base or suite.base):
                if other is not None:
                    registry.method(base_words(other)[0])
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


def _short(name: str, chosen: list[str]) -> str:
    return name if len(name) <= 48 else f"{name[:40]}-{configs.digest({'rows': chosen})[:6]}"


def _refuse(wrong: list[str], there: Mapping[str, Variant]) -> None:
    if wrong:
        raise InputError("\n".join([*wrong, f"Known: {', '.join(there) or 'none'}."]))


# ---- runs


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One row on one data set: its runs, or why its configuration is not possible there.

    Attributes:
        request: the full method on the data set.
        config: what the row makes of it, None where that is not possible.
    """

    row: Row
    request: Request
    config: Config | None = None
    wanted: Wanted = field(default_factory=lambda: Wanted(runs=()))
    impossible: str = ""

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.request.dataset.name

    @property
    def runs(self) -> tuple[Job, ...]:
        """Its runs, one a seed."""
        return self.wanted.runs

    def with_seeds(self, seeds: Iterable[int]) -> "Arm":
        """The same row with other seeds."""
        if self.config is None:
            return self
        return dataclasses.replace(self, wanted=self.request.wanted(seeds, self.config))


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """A suite on its data sets."""

    suite: Suite
    requests: Mapping[str, Request]  # by name of the data set
    arms: tuple[Arm, ...]

    @cached_property
    def wanted(self) -> Wanted:
        """Every distinct job of all arms."""
        return together(arm.wanted for arm in self.arms)

    @property
    def runs(self) -> tuple[Job, ...]:
        """The distinct runs."""
        return self.wanted.runs

    def with_seeds(self, seeds: Mapping[tuple[str, str], int]) -> "Expansion":
        """The same suite with seeds 0 to n-1 in some rows: (row, data set) -> n."""
        arms = (
            arm.with_seeds(range(seeds[place]))
            if (place := (arm.row.name, arm.dataset)) in seeds
            else arm
            for arm in self.arms
        )
        return dataclasses.replace(self, arms=tuple(arms))


def methods(suite: Suite) -> list[tuple[str, str | None]]:
    """(method, features) of a suite's rows, its own method first."""
    rows = [(row.method or suite.method, row.features) for row in suite.rows]
    return list(dict.fromkeys([(suite.method, None), *rows]))


def base_of(suite: Suite, row: Row) -> str | None:
    """The method whose runs a row starts from; None for a method that starts from no other run."""
    if registry.method(row.method or suite.method).base is None:
        return None
    return row.base or suite.base


#: (data set, method, features, base) -> the full method on it.
Resolve = Callable[[str, str, str | None, str | None], Request]


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
        resolve: (data set, method, features, base) -> the full method on it.

    Raises:
        InputError: on a data set no row is possible.
    """
    requests: dict[str, Request] = {}
    arms: list[Arm] = []
    seeds = list(seeds)
    there = {method: variants(method) for method, _ in methods(suite)}
    for name in datasets:
        by_method: dict[tuple[str, str | None, str | None], Request] = {}
        mine: list[Arm] = []
        for row in suite.rows or (Row(name=""),):
            key = (row.method or suite.method, row.features, base_of(suite, row))
            if key not in by_method:
                by_method[key] = resolve(name, *key)
            request = by_method[key]
            requests.setdefault(request.dataset.name, request)
            if suite.rows:
                mine.append(_arm_of(row, there[key[0]], request, seeds))
        arms += mine
        if mine and all(arm.impossible for arm in mine):
            raise InputError(f"{suite.name} on {mine[0].dataset}: {mine[0].impossible}")
    return Expansion(suite=suite, requests=requests, arms=tuple(arms))


def _arm_of(row: Row, there: Mapping[str, Variant], request: Request, seeds: list[int]) -> Arm:
    changes = combined(there[name] for name in row.variants) | dict(row.changes)
    try:
        config = request.configure(resolved(changes, request.values))
    except InputError as error:
        return Arm(row=row, request=request, impossible=str(error))
    return Arm(row=row, request=request, config=config).with_seeds(seeds)
