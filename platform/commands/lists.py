"""What there is: methods, datasets, search spaces, objectives; a line each.

Each listing makes its rows once: they are printed, and they are the tables of `--json`.
"""

import functools
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from deep_clustering.ablations._absent import ABSENT
from deep_clustering.ablations._suite import Suite
from deep_clustering.platform import registry
from deep_clustering.platform.commands._answer import Answer, Rows
from deep_clustering.platform.errors import InputError, not_one_of
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.options import default_store, text

if TYPE_CHECKING:
    from deep_clustering.platform.request.options import Asked
    from deep_clustering.platform.request.request import Request
    from deep_clustering.platform.suites.plans import Current


def methods(name: str | None) -> Answer:
    """All methods, or everything about one."""
    console = Console(highlight=False)
    if name is None:
        known = [{"method": n, "summary": registry.method(n).summary} for n in registry.names()]
        _show(console, known, {"method": "method", "summary": "what it is"})
        console.print("platform methods METHOD tells its fields and presets", style="dim")
        return Answer(tables={"methods": known})
    record = registry.method(name)
    console.print(f"[bold]{name}[/]  {escape(record.summary)}")
    console.print(record.citation, style="dim", markup=False)
    if record.fit is not None:
        console.print(
            "fits all samples at once: raw pixels, vectors, or the features of a pretraining "
            "(--features, --encoder); keeps no model"
            + ("" if record.model is None else ": `platform predict` finds its clusters anew")
        )
    console.print("\n[bold]fields[/] (--set FIELD=VALUE)")
    given, meanings = configs.flatten(record.config()), configs.meanings(record.config)
    kinds = {field: _kind(kind) for field, kind in configs.fields(record.config).items()}
    fields: Rows = [
        {"field": field, "default": given[field], "type": kind, "meaning": meanings.get(field, "")}
        for field, kind in kinds.items()
    ]
    table = _table("field", "default", "type; what it is")
    for field, kind in kinds.items():
        meaning = f"{kind}; {meanings[field]}" if field in meanings else kind
        table.add_row(field, Text(text(given[field])), Text(meaning))
    console.print(table)
    presets = [
        {
            "dataset": dataset,
            "overrides": " ".join(f"{k}={text(v)}" for k, v in layer.items()) or "none",
        }
        for dataset, layer in record.presets.items()
    ]
    if presets:
        console.print("\n[bold]presets[/] (by dataset, over the defaults)")
        _show(console, presets, {"dataset": "dataset", "overrides": "overrides"})
    if record.readings:
        console.print("\n[bold]where paper and release differ[/] (--preset paper|release)")
        for number, d in enumerate(record.differences, 1):
            field = f" [cyan]{d.field}[/]" if d.field else ""
            console.print(f"{number:2}. [bold]{escape(d.topic)}[/]{field}")
            for who, what in (("paper", d.paper), ("release", d.release), ("here", d.default)):
                console.print(f"      {who:8}{what}", markup=False)
    differences: Rows = [
        {"topic": d.topic, "paper": d.paper, "release": d.release, "here": d.default}
        | ({"field": d.field} if d.field else {})
        for d in record.differences
    ]
    return Answer(tables={"fields": fields, "presets": presets, "differences": differences})


def datasets(root: Path | None) -> Answer:
    """All named datasets and whether they are here."""
    from deep_clustering.platform.data import dataset
    from deep_clustering.platform.data.catalogue import CATALOGUE, status

    console = Console(highlight=False)
    table = _table("dataset", "")
    root = dataset.default_root() if root is None else root
    known: list[Mapping[str, object]] = []
    for name, entry in CATALOGUE.items():
        found, protocols = status(entry, root), list(entry.protocols)
        known.append(
            {"dataset": name, "summary": entry.summary, "protocols": protocols}
            | {"status": found.kind, "told": found.text}
        )
        table.add_row(name, entry.summary)
        table.add_row("", f"[dim]protocols {', '.join(protocols)}; {found.text}[/]")
    table.add_row("folder:PATH", "your own images, one sub-folder per class, or no classes at all")
    table.add_row(
        "table:PATH",
        "your own vectors, .csv, .parquet, .npy or .npz; labels in a column label or class, or in "
        "the one of table:PATH#COLUMN",
    )
    console.print(table)
    return Answer(tables={"datasets": known})


def spaces(name: str | None) -> Answer:
    """All search spaces, or one with the objectives there are."""
    console = Console(highlight=False)
    if name is None:
        every = registry.names("search_spaces")
        known = [{"method": n, "fields": list(registry.space(n))} for n in every]
        _show(console, known, {"method": "method", "fields": "searched fields"})
        return Answer(tables={"spaces": known})
    from deep_clustering.platform.metrics.objectives import OBJECTIVES

    fields = [{"field": f, "range": str(domain)} for f, domain in registry.space(name).items()]
    _show(console, fields, {"field": "field", "range": "range"})
    console.print("\n[bold]objectives[/] (--objective)")
    objectives = [
        {
            "name": objective.name,
            "better": str(objective.better),
            "labels": "needs labels" if objective.needs_labels else "label-free",
            "summary": objective.summary,
        }
        for objective in OBJECTIVES.values()
    ]
    heads = {"name": "name", "better": "", "labels": "labels", "summary": "what it is"}
    _show(console, objectives, heads)
    return Answer(tables={"fields": fields, "objectives": objectives})


def suites(store: str | None, data: Path | None) -> Answer:
    """All ablation suites, with what the store has of each."""
    from deep_clustering.platform.data.dataset import default_root
    from deep_clustering.platform.places import absolute
    from deep_clustering.platform.suites import suites as registered

    console = Console(highlight=False)
    in_store, finished = _planned(store)
    root = absolute(data or default_root()).resolve()
    known = registered.known()
    counted = {name: (suite, _runs(suite, root)) for name, suite in known.items()}
    for name in sorted(in_store.keys() - known.keys()):
        counted[name] = in_store[name].suite, len(in_store[name].run_ids)
    listed: Rows = [
        {
            "suite": name,
            "rows": len(suite.rows),
            "runs": runs,
            "done": _done(in_store[name], finished) if name in in_store else "-",
            "title": suite.title,
        }
        for name, (suite, runs) in counted.items()
    ]
    heads = {n: n for n in ("suite", "rows", "runs", "done")} | {"title": "what it shows"}
    _show(console, listed, heads)
    console.print(
        "runs: distinct ones on the suite's own data sets with its own seeds; no rows: all of the "
        "table is published values of methods that are not here",
        style="dim",
    )
    console.print("\n[bold]tables and figures without a suite[/]")
    absent = [{"name": name, "reason": reason} for name, reason in ABSENT.items()]
    _show(console, absent, {"name": "", "reason": "why"})
    return Answer(tables={"suites": listed, "absent": absent})


def _planned(store: str | None) -> tuple[dict[str, "Current"], set[str]]:
    """The suites that a store has plans of, and the ids of its finished runs."""
    place = store or default_store()
    if store is None and not Path(place).is_dir():
        return {}, set()
    from deep_clustering.platform.store.store import Store
    from deep_clustering.platform.suites import plans

    opened = Store.open(place, create=False)
    named = opened.plans("suite")
    return {n: plans.current(opened.read_plan("suite", n)) for n in named}, opened.finished()


def _done(current: "Current", finished: set[str]) -> str:
    """How many of a suite's runs the store has."""
    return f"{len(finished.intersection(current.run_ids))} of {len(current.run_ids)}"


def _runs(suite: Suite, root: Path) -> int:
    """Number of distinct runs of a suite on its own datasets."""
    if not suite.rows:
        return 0
    from deep_clustering.platform.request.options import Asked
    from deep_clustering.platform.suites import suites as registered

    def request(name: str, method: str, features: str | None, base: str | None) -> "Request":
        asked = Asked(
            method=method,
            dataset=name,
            features=features,
            base=base,
            preset=suite.preset if method == suite.method else None,
            protocol=suite.protocols.get(name, suite.protocol),
        )
        return _outlined(asked, root)

    # The seed is part of a run: each seed has as many distinct ones as the first.
    expansion = registered.expand(suite, suite.datasets, range(1), request)
    return len(expansion.runs) * suite.seeds


@functools.cache
def _outlined(asked: "Asked", root: Path) -> "Request":
    """A request that several suites make, by the sizes of its data set."""
    from deep_clustering.platform.request.request import resolve

    return resolve(asked, root=root, outline="always")


def variants(method: str | None) -> Answer:
    """The variants of a method, or how many each method has."""
    from deep_clustering.platform.suites.variants import variants as registered

    console = Console(highlight=False)
    if method is None:
        known = [{"method": n, "variants": list(registered(n))} for n in registry.names()]
        _show(console, known, {"method": "method", "variants": "variants"})
        return Answer(tables={"variants": known})
    table = _table("variant", "what it is")
    of_method: list[Mapping[str, object]] = []
    for name, variant in registered(method).items():
        fields = " ".join(f"{k}={text(v)}" for k, v in variant.changes.items())
        without = f"without {variant.removes}; " if variant.removes else ""
        table.add_row(name, f"[cyan]{escape(fields)}[/]  {escape(without + variant.source)}")
        of_method.append(
            {"variant": name, "changes": dict(variant.changes), "source": variant.source}
            | ({"removes": variant.removes} if variant.removes else {})
        )
    console.print(table if of_method else f"{method} has no variants")
    return Answer(tables={"variants": of_method})


def columns(name: str | None) -> Answer:
    """The columns of all result tables, or of one.

    Raises:
        InputError: there is no such table.
    """
    from deep_clustering.platform.metrics.registry import GROUPS
    from deep_clustering.platform.store import schema

    if name is not None and name not in schema.KINDS:
        raise InputError(f"table: {not_one_of(name, schema.KINDS)}")
    console = Console(highlight=False)
    heads = {"column": "column", "type": "type", "meaning": "what it is"}
    listed: list[Mapping[str, object]] = []
    for kind in schema.KINDS if name is None else [name]:
        console.print(f"[bold]{kind}[/]")
        known = [(c, str(schema.polars_type(t)), m) for c, (t, m) in schema.KINDS[kind].items()]
        known += _MORE_COLUMNS.get(kind, ())
        if kind == "runs":
            known += [(m.name, "Float64", m.summary) for m in GROUPS["criteria"]]
        rows = [{"table": kind, "column": c, "type": t, "meaning": m} for c, t, m in known]
        _show(console, rows, heads)
        console.print()
        listed += rows
    return Answer(tables={"columns": listed})


_MORE_COLUMNS = {
    "runs": (
        ("config.FIELD", "any", "each field of the configuration"),
        ("HEAD_METRIC", "Float64", "each metric of each head, such as calibration_ece"),
    ),
    "epochs": (("METRIC, LOSS", "Float64", "what the method reports and is scored by each epoch"),),
    "probabilities": (("HEAD", "List(Float32)", "a head's probability of every cluster"),),
}


def _show(console: Console, rows: Iterable[Mapping[str, object]], heads: Mapping[str, str]) -> None:
    """Print rows as a table; `heads`: key of a row -> head of its column."""
    table = _table(*heads.values())
    for row in rows:
        cells = (row[key] for key in heads)
        table.add_row(
            *(Text(", ".join(c) or "none" if isinstance(c, list) else text(c)) for c in cells)
        )
    console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=i == 0)
    return table


def _kind(kind: object) -> str:
    options = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return " | ".join(options)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return " | ".join("none" if o is type(None) else _kind(o) for o in options)
    if typing.get_origin(kind) is tuple:
        return ",".join(_kind(o) for o in options)
    names = {int: "whole number", float: "number", bool: "true | false", str: "text"}
    return names[kind] if kind in names else str(kind)
