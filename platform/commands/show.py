"""`platform results`: list, filter, sort and export what the store holds."""

from rich.console import Console

from deep_clustering.platform import results as tables
from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.commands import _export
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.request.options import Results


def results(options: Results) -> int:
    """Show or write a table, or check the store's files; returns the exit code."""
    store = work.open_store(options, create=False)
    if options.verify or options.repair:
        problems = store.repair() if options.repair else store.verify()
        for problem in problems:
            print(f"{problem.path}: {problem.reason}")
        count = f"{len(problems)} damaged files" if problems else "every file is whole"
        print(count + ", moved to quarantine/" * bool(problems and options.repair))
        return 4 if problems and not options.repair else 0
    if options.study and options.suite:
        raise InputError("give --study or --suite, not both.")
    if options.study:
        frame = tables.study(options.study, store.uri)
    elif options.suite:
        frame = tables.suite(options.suite, store.uri)
    else:
        frame = getattr(tables, options.table)(store.uri)
    chosen = _export.select(
        frame,
        where=options.where,
        sort=options.sort,
        columns=options.columns,
        limit=options.limit,
    )
    if options.output is not None:
        _export.write(chosen, options.output)
        print(f"{chosen.height} rows written to {options.output}")
    else:
        _export.show(chosen, Console(highlight=False))
    return 0
