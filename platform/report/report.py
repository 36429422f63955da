"""`platform report`: a suite, a study, a run or the whole store as one HTML file.

The file needs nothing else: no network, no script. Under every table and figure is the code that
gives its numbers; `samples` is what it calls for those of single images.
"""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import polars as pl

from deep_clustering.platform import _disk, results
from deep_clustering.platform.errors import InputError, nearest, storage_error
from deep_clustering.platform.evaluation import bins as _samples
from deep_clustering.platform.report import _html as page
from deep_clustering.platform.report._html import Note, Section
from deep_clustering.platform.report._parts import Page, Report
from deep_clustering.platform.results import Place
from deep_clustering.platform.store.store import Store, StoreDamage


def write(
    store: Store, name: str | None, output: Path | None = None, figures: Path | None = None
) -> list[Path]:
    """Write a report; an older file of that name stays whole until the new one is.

    Args:
        store: where the results are.
        name: a suite or study of the store, a run id or its first letters; None for an overview.
        output: the HTML file, in a folder that exists; None: report-NAME.html, or report.html.
        figures: folder for each chart as PNG and SVG as well; made where it is not there.

    Returns:
        The files that were written, the page first.

    Raises:
        InputError: nothing of that name (the sentence says the nearest), or no such folder.
        StorageError: a file could not be written.
    """
    subject = _subject(store, name)
    target = output or Path(f"report-{subject.name}.html" if subject.name else "report.html")
    return _write(store, subject, target, figures)


def samples(runs: Iterable[str], store: Place = None, *, head: str | None = None) -> pl.DataFrame:
    """Predictions of runs, each judged by its own matching of clusters with labels.

    Args:
        runs: run ids in full.
        store: a store or its address; the default one without.
        head: whose cluster and confidence; None for the final one.

    Returns:
        `run_id`, `sample`, `cluster`, `confidence`, `label`, `right`; the last is null where there
        are no labels.

    Raises:
        InputError: no such store.
    """
    wanted = list(runs)
    found = results.predictions(store).filter(pl.col("run_id").is_in(wanted)).collect()
    return _samples.judged(found, head)


# ---- what a name stands for


class _Subject:
    """What a page is about: the name that its file gets, and how it is built."""

    def __init__(self, name: str, build: Callable[[Report], Page]) -> None:
        self.name, self.build = name, build


def _subject(store: Store, name: str | None) -> _Subject:
    from deep_clustering.platform.report import _of_run as of_run
    from deep_clustering.platform.report import _of_store as of_store
    from deep_clustering.platform.report import _of_study as of_study
    from deep_clustering.platform.report import _of_suite as of_suite

    if name is None:
        return _Subject("", of_store.build)
    known = store.plans("suite"), store.plans("study")
    if name in known[0]:
        return _Subject(name, lambda report: of_suite.build(report, name))
    if name in known[1]:
        return _Subject(name, lambda report: of_study.build(report, name))
    ids = sorted(store.rows("runs")["run_id"].unique())
    matching = [id for id in ids if id.startswith(name)]
    if len(matching) == 1:
        return _Subject(matching[0], lambda report: of_run.build(report, matching[0]))
    if matching:
        raise InputError(f"'{name}' could be {', '.join(matching[:3])}; give more letters.")
    every = [n for names in known for n in names]
    listed = f" Suites and studies: {', '.join(every)}." if every else ""
    raise InputError(
        f"there is no suite, study or run '{name}' in {store.uri}."
        f"{nearest(name, [*every, *ids])}{listed} `platform results` lists the runs."
    )


# ---- writing


def _write(store: Store, subject: _Subject, output: Path, figures: Path | None) -> list[Path]:
    folder = output.expanduser().absolute().parent
    if not folder.is_dir():
        raise InputError(f"--output: there is no folder {folder}.")
    if output.is_dir():
        raise InputError(f"--output: {output} is a folder; name a file.")
    report = Report(store=store)
    built, damage = _with_damage(report, subject)
    sections = list(built.sections)
    if damage:
        notes = page.notes(Note(level="bad", head="Damaged file.", text=text) for text in damage)
        sections.insert(0, Section(title="Damage", parts=[notes]))
    text = page.page(built.title, built.summary, sections)
    written = [_save(folder, output.name, text.encode())]
    if figures is not None:
        from deep_clustering.platform.report import _charts

        place = figures.expanduser().absolute()
        for chart in report.drawn:
            written += [_save(place, name, data) for name, data in _charts.files(chart).items()]
    return written


def _with_damage(report: Report, subject: _Subject) -> tuple[Page, list[str]]:
    """The page, and what was found damaged while its numbers were read."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StoreDamage)
        built = subject.build(report)
    damage = dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, StoreDamage))
    for other in caught:
        if not issubclass(other.category, StoreDamage):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return built, list(damage)


def _save(folder: Path, name: str, data: bytes) -> Path:
    try:
        _disk.write(folder / name, data)
    except OSError as error:
        raise storage_error(error, str(folder), name) from error
    return folder / name
