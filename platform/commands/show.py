"""`platform results`: list, filter, sort and export what the store holds."""

from rich.console import Console

from deep_clustering.platform import results as tables
from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.commands import _export
from deep_clustering.platform.commands._answer import Answer
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.request.options import Results


def results(options: Results) -> Answer:
    """Show or write a table."""
    store = work.open_store(options, create=False)
    if options.study and options.suite:
        raise InputError("give --study or --suite, not both.")
    if options.study:
        frame = tables.study(options.study, store)
    elif options.suite:
        frame = tables.suite(options.suite, store)
    else:
        frame = getattr(tables, options.table)(store)
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
    files = [] if options.output is None else [options.output]
    return Answer(store=store, tables={"rows": chosen}, files=files)
