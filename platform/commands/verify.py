"""`platform verify`: read every file of a store, say what is damaged or lost, set it aside."""

import warnings
from collections.abc import Iterable, Iterator

import polars as pl

from deep_clustering.platform.commands import _say as say
from deep_clustering.platform.commands._answer import Answer
from deep_clustering.platform.request.options import Verify
from deep_clustering.platform.results import default_store
from deep_clustering.platform.run import manifest
from deep_clustering.platform.store.store import Finding, Problem, Store, StoreDamage

#: Folders whose files belong to the run or stage that their name begins with.
_OF_WORK = (
    "runs",
    "epochs",
    "predictions",
    "probabilities",
    "models",
    "stages",
    "artefacts",
    "checkpoints",
)


def verify(options: Verify) -> Answer:
    """Check a store, or mend it."""
    store = Store.open(options.store or default_store(), create=False)
    problems = store.verify(_of_other_rooms(store))
    if not options.repair:
        _list(problems)
        if problems:
            mend = f"platform verify{say.store_option(store)} --repair"
            print(f"{_count(problems)}; set them aside and see what computes them again: {mend}")
        else:
            print("every file is whole")
        return Answer(code=4 if problems else 0, store=store, tables=_table(problems))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreDamage)  # all of it is in the list
        commands = _commands(store, {_work(p.path) for p in problems if p.kind != "closed"})
    mended = store.repair(_of_other_rooms(store))
    _list(mended)
    closed = any(problem.kind == "closed" for problem in mended)
    then = "closed ones stay until they are made readable" if closed else "the store is whole again"
    print(f"{_count(mended)}; {then}" if mended else "every file is whole")
    if commands:
        print("computed again by:")
        for command in commands:
            print(f"  {command}")
    return Answer(code=4 if closed else 0, store=store, tables=_table(mended))


def _table(problems: Iterable[Problem]) -> dict[str, pl.DataFrame]:
    return {"problems": pl.DataFrame([problem._asdict() for problem in problems])}


def _of_other_rooms(store: Store) -> Iterator[Finding]:
    yield from manifest.findings(store)
    if store.list("studies"):
        from deep_clustering.platform.search import journal  # imports Optuna

        yield from journal.findings(store)


def _list(problems: Iterable[Problem]) -> None:
    for problem in problems:
        print(f"{problem.path}: {problem.reason}")


def _count(problems: list[Problem]) -> str:
    special = {what: sum(p.kind == what for p in problems) for what in ("missing", "closed")}
    counts = {"damaged": len(problems) - sum(special.values()), **special}
    return " and ".join(f"{n} {what} file{'s' * (n > 1)}" for what, n in counts.items() if n)


def _work(path: str) -> str | None:
    """The id of the run or stage that a file belongs to."""
    folder, _, rest = path.partition("/")
    return rest.partition("/")[0].partition(".")[0] if folder in _OF_WORK else None


def _commands(store: Store, ids: set[str | None]) -> list[str]:
    """The commands whose plans ask for some runs, or for runs that stand on some stages."""
    ids.discard(None)
    if not ids:
        return []
    rows = store.rows()
    on_them = rows.filter(pl.col("stage_id").is_in(list(ids)))["run_id"].to_list()
    wanted = ids | set(on_them)
    named = dict.fromkeys(tuple(path.split("/")[1:3]) for path in store.list("plans"))
    plans = [store.read_plan(kind, name) for kind, name in named]
    asking = [plan for plan in plans if wanted & set(plan.run_ids)]
    return list(dict.fromkeys(command for plan in asking for command in plan.commands))
