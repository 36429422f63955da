"""What there is: methods, datasets, search spaces, objectives; a line each."""

import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from deep_clustering.ablations._absent import ABSENT
from deep_clustering.ablations._suite import Suite
from deep_clustering.methods._fields import not_one_of
from deep_clustering.platform import registry
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.options import default_store

if TYPE_CHECKING:
    from deep_clustering.platform.request.request import Request
    from deep_clustering.platform.suites.plans import Current


def methods(name: str | None) -> None:
    """All methods, or everything about one."""
    console = Console(highlight=False)
    if name is None:
        table = _table("method", "what it is")
        for known in registry.names():
            table.add_row(known, Text(registry.method(known).summary))
        console.print(table)
        console.print("platform methods METHOD tells its fields and presets", style="dim")
        return
    record = registry.method(name)
    console.print(f"[bold]{name}[/]  {escape(record.summary)}")
    console.print(record.citation, style="dim", markup=False)
    if record.fit is not None:
        console.print(
            "fits all samples at once: raw pixels, vectors, or the features of a pretraining "
            "(--features); keeps no model"
        )
    console.print("\n[bold]fields[/] (--set FIELD=VALUE)")
    table = _table("field", "default", "type; what it is")
    given, meanings = configs.flatten(record.config()), configs.meanings(record.config)
    for field, kind in configs.fields(record.config).items():
        meaning = f"{_kind(kind)}; {meanings[field]}" if field in meanings else _kind(kind)
        table.add_row(field, Text(_text(given[field])), Text(meaning))
    console.print(table)
    if record.presets:
        console.print("\n[bold]presets[/] (by dataset, over the defaults)")
        table = _table("dataset", "overrides")
        for dataset, layer in record.presets.items():
            changed = " ".join(f"{k}={_text(v)}" for k, v in layer.items())
            table.add_row(dataset, Text(changed or "none"))
        console.print(table)
    if record.readings:
        console.print("\n[bold]where paper and release differ[/] (--preset paper|release)")
        for number, d in enumerate(record.differences, 1):
            field = f" [cyan]{d.field}[/]" if d.field else ""
            console.print(f"{number:2}. [bold]{escape(d.topic)}[/]{field}")
            for who, what in (("paper", d.paper), ("release", d.release), ("here", d.default)):
                console.print(f"      {who:8}{what}", markup=False)


def datasets(root: Path | None) -> None:
    """All named datasets and whether they are here."""
    from deep_clustering.platform.data import dataset
    from deep_clustering.platform.data.catalogue import CATALOGUE, status

    console = Console(highlight=False)
    table = _table("dataset", "")
    root = dataset.default_root() if root is None else root
    for name, entry in CATALOGUE.items():
        table.add_row(name, entry.summary)
        told = status(entry, root).text
        table.add_row("", f"[dim]protocols {', '.join(entry.protocols)}; {told}[/]")
    table.add_row("folder:PATH", "your own images, one sub-folder per class, or no classes at all")
    table.add_row(
        "table:PATH",
        "your own vectors, .csv, .parquet, .npy or .npz; labels in a column label or class, or in "
        "the one of table:PATH#COLUMN",
    )
    console.print(table)


def spaces(name: str | None) -> None:
    """All search spaces, or one with the objectives there are."""
    console = Console(highlight=False)
    if name is None:
        table = _table("method", "searched fields")
        for known in registry.names("search_spaces"):
            table.add_row(known, ", ".join(registry.space(known)))
        console.print(table)
        return
    from deep_clustering.platform.metrics.objectives import OBJECTIVES

    table = _table("field", "range")
    for field, domain in registry.space(name).items():
        table.add_row(field, Text(str(domain)))
    console.print(table)
    console.print("\n[bold]objectives[/] (--objective)")
    table = _table("name", "", "labels", "what it is")
    for objective in OBJECTIVES.values():
        needs = "needs labels" if objective.needs_labels else "label-free"
        table.add_row(objective.name, str(objective.better), needs, objective.summary)
    console.print(table)


def suites(store: str | None, data: Path | None) -> None:
    """All ablation suites, with what the store has of each."""
    from deep_clustering.platform.data.dataset import default_root
    from deep_clustering.platform.places import absolute
    from deep_clustering.platform.suites import suites as registered

    console = Console(highlight=False)
    in_store, finished = _planned(store)
    root = absolute(data or default_root()).resolve()
    table = _table("suite", "rows", "runs", "done", "what it shows")
    known = registered.known()
    for name, suite in known.items():
        done = _done(in_store[name], finished) if name in in_store else "-"
        runs = _runs(suite, root)
        table.add_row(name, str(len(suite.rows)), runs, done, Text(suite.title))
    for name in sorted(in_store.keys() - known.keys()):
        suite, runs = in_store[name].suite, str(len(in_store[name].run_ids))
        done = _done(in_store[name], finished)
        table.add_row(name, str(len(suite.rows)), runs, done, Text(suite.title))
    console.print(table)
    console.print(
        "runs: distinct ones on the suite's own data sets with its own seeds; no rows: all of the "
        "table is published values of methods that are not here",
        style="dim",
    )
    console.print("\n[bold]tables and figures without a suite[/]")
    table = _table("", "why")
    for name, reason in ABSENT.items():
        table.add_row(name, Text(reason))
    console.print(table)


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


def _runs(suite: Suite, root: Path) -> str:
    """Number of distinct runs of a suite on its own datasets."""
    if not suite.rows:
        return "0"
    from deep_clustering.platform.request.options import Asked
    from deep_clustering.platform.request.request import resolve
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
        return resolve(asked, root=root, outline="always")

    # The seed is part of a run: each seed has as many distinct ones as the first.
    expansion = registered.expand(suite, suite.datasets, range(1), request)
    return str(len(expansion.runs) * suite.seeds)


def variants(method: str | None) -> None:
    """The variants of a method, or how many each method has."""
    from deep_clustering.platform.suites import suites as registered

    console = Console(highlight=False)
    if method is None:
        table = _table("method", "variants")
        for known in registry.names():
            table.add_row(known, ", ".join(registered.variants(known)) or "none")
        console.print(table)
        return
    table = _table("variant", "what it is")
    for name, variant in registered.variants(method).items():
        fields = " ".join(f"{k}={_text(v)}" for k, v in variant.changes.items())
        without = f"without {variant.removes}; " if variant.removes else ""
        table.add_row(name, f"[cyan]{escape(fields)}[/]  {escape(without + variant.source)}")
    console.print(table)


def columns(name: str | None) -> None:
    """The columns of all result tables, or of one.

    Raises:
        InputError: there is no such table.
    """
    from deep_clustering.platform.store import schema

    if name is not None and name not in schema.KINDS:
        raise InputError(f"table: {not_one_of(name, schema.KINDS)}")
    console = Console(highlight=False)
    for kind in schema.KINDS if name is None else [name]:
        console.print(f"[bold]{kind}[/]")
        table = _table("column", "type", "what it is")
        for column, (dtype, meaning) in schema.KINDS[kind].items():
            table.add_row(column, str(schema.polars_type(dtype)), meaning)
        for column, dtype, meaning in _MORE_COLUMNS.get(kind, ()):
            table.add_row(column, dtype, meaning)
        console.print(table)
        console.print()


_MORE_COLUMNS = {
    "runs": (
        ("config.FIELD", "any", "each field of the configuration"),
        ("HEAD_METRIC", "Float64", "each metric of each head, such as calibration_ece"),
        ("silhouette, ...", "Float64", "the label-free criteria that `platform spaces` lists"),
    ),
    "epochs": (("METRIC, LOSS", "Float64", "what the method reports and is scored by each epoch"),),
    "probabilities": (("HEAD", "List(Float32)", "a head's probability of every cluster"),),
}


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=i == 0)
    return table


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


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
