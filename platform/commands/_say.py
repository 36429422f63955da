"""Sentences and lines that several commands print."""

import dataclasses
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from rich.console import Console

from deep_clustering.ablations._suite import Direction
from deep_clustering.platform.data import catalogue
from deep_clustering.platform.data.catalogue import CATALOGUE
from deep_clustering.platform.evaluation.measures import duration, plural
from deep_clustering.platform.metrics import registry as metrics
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.request.jobs import ENCODER, FROZEN, LIST, OUTPUTS, RUN, VIEW, Job
from deep_clustering.platform.request.options import Runs, Train, command_line, default_store, text
from deep_clustering.platform.request.request import Request
from deep_clustering.platform.store.store import Store


def notes(sentences: Iterable[str]) -> None:
    """What a user should know about the data, on the standard error."""
    console = Console(stderr=True, highlight=False)
    for sentence in sentences:
        console.print(f"note: {sentence}", style="yellow", markup=False)


def shown(request: Request, runs: Iterable[Mapping[str, float | None]] = ()) -> tuple[str, ...]:
    """Names of the metrics that tables and the view show of a request's runs.

    Args:
        runs: metrics of those that are done: only they tell whether a method that clusters all
            points at once gives probabilities.
    """
    labels = request.dataset.labels is not None
    sure = any(values.get("mean_confidence") is not None for values in runs)
    return metrics.shown(labels=labels, probabilities=request.record.fit is None or sure)


def not_here(console: Console, request: Request) -> None:
    """That a dry run knows the sizes of a dataset alone, and what has to be done before."""
    if not request.dataset.here:
        name = request.dataset.name
        status = catalogue.status(CATALOGUE[name], request.source.root)
        first = {
            "downloadable": "it would be downloaded and read first",
            "readable": "it would be read first",
        }.get(status.kind, status.text)
        console.print(f"{name} is not here yet: {first}", style="yellow", markup=False)


def title(request: Request, what: str) -> str:
    """What is done, for the head of a view."""
    source = f"features of {request.features.asked}, " if request.features else ""
    base = ""
    if request.base:
        follows = " ".join(f"{name}={text(value)}" for name, value in request.follows.items())
        base = f" from {request.base.asked}" + (f" ({follows})" if follows else "")
    return f"{request.method}{base} on {source}{request.dataset.name}, {what}"


def where(console: Console, store: Store, *queries: str) -> None:
    """The lines that read the results; a query is an expression of `results` over `store`."""
    console.print("[bold]read the results[/]")
    console.print("  from deep_clustering.platform import results", soft_wrap=True)
    console.print(f"  store = {store.uri!r}", soft_wrap=True, markup=False)
    for query in queries:
        console.print(f"  {query}.collect()", soft_wrap=True, markup=False)


def best_first(query: str, request: Request) -> str:
    """An expression for rows of `results`, sorted by the metric that is shown of them first."""
    return f'{query}.sort("{shown(request)[0]}", descending=True, nulls_last=True)'


def going_on(console: Console, what: str, command: str) -> None:
    """A command that can be given next, as it is written: users' names hold any character."""
    console.print(what, style="bold")
    console.print(f"  {command}", soft_wrap=True, markup=False)


def store_option(store: Store) -> str:
    """` --store URI` where it is not the default one."""
    return "" if str(default_store()) == store.uri else f" --store {shlex.quote(store.uri)}"


def train_again(options: Runs, values: Mapping[str, Value], seeds: int) -> str:
    """The command that trains what was searched for, with some fields set; same run, bit for bit.

    Args:
        options: of the search.
        values: field -> value, beside those that the search was given.
        seeds: how many.
    """
    names = [f.name for f in dataclasses.fields(Train)]
    given = {name: getattr(options, name) for name in names}
    sets = (*options.sets, *(f"{name}={text(value)}" for name, value in values.items()))
    given |= {"sets": sets, "seeds": seeds, "retry": None, "dry_run": False}
    return command_line(Train(**given))


#: Kinds of work in the order in which they are done, one and several of them.
_KINDS = {
    ENCODER: ("pretraining", "pretrainings"),
    FROZEN: ("pass of the encoder", "passes of the encoder"),
    LIST: ("list of neighbours", "lists of neighbours"),
    "base": ("base run", "base runs"),
    OUTPUTS: ("output of a base", "outputs of bases"),
    RUN: ("run", "runs"),
}


def jobs(todo: Iterable[Job], asked: Collection[str]) -> str:
    """What some jobs are, such as "1 pretraining, 2 base runs, 3 runs".

    Args:
        todo: the jobs.
        asked: ids of the runs that are wanted for themselves; others are bases of these.
    """
    kinds = {VIEW: FROZEN}  # a view by the encoder is a pass of it
    counts = Counter(
        "base" if job.kind == RUN and job.id not in asked else kinds.get(job.kind, job.kind)
        for job in todo
    )
    return ", ".join(plural(counts[k], *w) for k, w in _KINDS.items() if counts[k]) or "nothing"


def cost(todo: Iterable[Job], store: Store, request: Request) -> str:
    """What computing some jobs of a request would take, for a dry run."""
    from deep_clustering.platform.run.estimates import estimates

    todo = list(todo)
    if not todo:
        return ""
    absent = set() if request.dataset.here else {request.dataset.name}
    (known,) = estimates([todo], store, absent)
    if not known.source:
        return "; nothing tells the time it would take"
    more = f", {plural(known.unknown, 'job')} not counted" if known.unknown else ""
    return f"; about {duration(known.seconds)} on one lane (from {known.source}{more})"


def relation(direction: Direction, against: str) -> str:
    """What a claim says of a row against another one, such as "above full"."""
    word = {"higher": "above", "lower": "below", "equal": "like"}[direction]
    return f"{word} {against}"
