"""`platform evaluate`: evaluations of a finished run, computed once and kept in the store."""

from dataclasses import replace

from rich.console import Console
from rich.markup import escape

from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.commands._answer import Answer
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.evaluation import contract, finished
from deep_clustering.platform.evaluation.contract import Context, Row, Subject
from deep_clustering.platform.request.options import Evaluate
from deep_clustering.platform.run import evaluations
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.run.failure import Damaged
from deep_clustering.platform.run.progress import Numbers
from deep_clustering.platform.run.workplace import Workplace


def evaluate(options: Evaluate) -> Answer:
    """Evaluate a finished run."""
    if not options.asked:
        known = ", ".join(f"--{name}" for name in contract.names())
        raise InputError(f"say what to evaluate: {known}; `platform evaluate --help` says more.")
    store = work.open_store(options, create=False)
    row = finished.trained_run(store, options.run)
    subject, root = Subject.of_row(row), work.data_root(options.data)
    with Console(stderr=True, highlight=False).status("") as status:

        def progress(done: int, total: int) -> None:
            status.update(f"images {done}/{total}")

        context = Context(root=root, skip_broken=options.skip_broken, progress=progress)
        said = dict(options.parameters)
        jobs = {  # all are planned before anything is computed
            name: [
                evaluations.planned(name, subject, v, replace(context, parameters=said.get(name)))
                for v in dict.fromkeys(values)
            ]
            for name, values in options.asked
        }
        place = Workplace(
            store, finished.device(), Replicas.alone(finished.device()), work.provenance()
        )
        for job in (job for group in jobs.values() for job in group):
            status.update(f"{job.kind} of run {subject.run}")
            if not store.stage_ready(job.id):
                try:
                    execute(job, place, _Quiet())
                except Damaged as error:
                    raise StorageError(str(error)) from error
    store.tidy()
    for name, group in jobs.items():
        ids = dict.fromkeys(job.id for job in group)
        _print(name, subject, [store.stage_row(i) for i in ids], store.uri)
    stages = store.rows("stages", ids={job.id for group in jobs.values() for job in group})
    return Answer(store=store, runs=[subject.run], tables={"evaluations": stages})


class _Quiet:
    """Nobody watches an evaluation's epochs: it has none."""

    def epoch(self, epoch: int, values: Numbers) -> None: ...

    def images(self, done: int, of: int) -> None: ...

    def note(self, text: str) -> None: ...

    def cancelled(self) -> bool:
        return False


def _print(name: str, subject: Subject, rows: list[Row], store: str) -> None:
    """The table of an evaluation, and the lines that read it."""
    record = contract.find(name)
    console = Console(highlight=False)
    console.print(record.heading(rows), markup=False)
    console.print(record.table(rows))
    console.print("\n".join(record.notes), style="dim")
    query = f'results.stages(store).filter(pl.col("{record.run}") == "{subject.run}").collect()'
    for line in (
        "[bold]read the results[/]",
        "  import polars as pl",
        "  from deep_clustering.platform import results",
        f"  store = {escape(repr(store))}",
        f"  {query}",
    ):
        console.print(line, soft_wrap=True)
