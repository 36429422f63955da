"""`platform report`: one HTML file about a suite, a study, a run or the whole store."""

from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.commands._answer import Answer
from deep_clustering.platform.report import report as page
from deep_clustering.platform.request.options import Report


def report(options: Report) -> Answer:
    """Write a report."""
    store = work.open_store(options, create=False)
    target, *drawn = page.write(
        store, options.name, options.output, options.figures, work.data_root(options.data)
    )
    print(f"report written to {target}; open it in a browser")
    if options.figures is not None:
        print(f"{len(drawn)} files of figures written to {options.figures}")
    return Answer(store=store, files=[target, *drawn])
