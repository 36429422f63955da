"""`platform report`: a suite, a study, a run or the whole store as one HTML file.

The file needs nothing else: no network, no script. Under every table and figure is the program that
prints its numbers.
"""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from deep_clustering.platform import _disk
from deep_clustering.platform.data.dataset import default_root
from deep_clustering.platform.errors import InputError, nearest, storage_error
from deep_clustering.platform.evaluation.finished import Clustered
from deep_clustering.platform.places import absolute
from deep_clustering.platform.report.charts import chart as charts
from deep_clustering.platform.report.markup.parts import Note, Notes, Page, Section
from deep_clustering.platform.report.markup.render import render
from deep_clustering.platform.report.pages import prediction
from deep_clustering.platform.report.pages import run as run_page
from deep_clustering.platform.report.pages import store as store_page
from deep_clustering.platform.report.pages import study as study_page
from deep_clustering.platform.report.pages import suite as suite_page
from deep_clustering.platform.report.pages._draft import Draft
from deep_clustering.platform.store.store import Store, StoreDamage


def write(
    store: Store,
    name: str | None,
    output: Path | None = None,
    figures: Path | None = None,
    root: Path | None = None,
) -> list[Path]:
    """Write a report; an older file of that name stays whole until the new one is.

    Args:
        store: where the results are.
        name: a suite or study of the store, a run id or its first letters; None for an overview.
        output: the HTML file, in a folder that exists; None: report-NAME.html, or report.html.
        root: the data directory, where the pictures of runs are; None: the default one.
        figures: folder for each chart as PNG and SVG as well; made where it is not there.

    Returns:
        The files that were written, the page first.

    Raises:
        InputError: nothing of that name (the sentence says the nearest), or no such folder.
        StorageError: a file could not be written.
    """
    topic = _topic(store, name)
    target = output or Path(f"report-{topic.name}.html" if topic.name else "report.html")
    folder = folder_of("--output", target)
    draft = Draft(store=store, root=root or default_root())
    page = _with_damage(draft, topic)
    written = [_save(folder, target.name, render(page).encode())]
    if figures is not None:
        place = absolute(figures)
        for chart in draft.drawn:
            written += [_save(place, name, data) for name, data in charts.files(chart).items()]
    return written


def write_prediction(clustered: Clustered, output: Path) -> None:
    """Write a page with pictures of the clusters that a run gives to new images.

    Args:
        output: the HTML file, in a folder that exists.

    Raises:
        InputError: no such folder.
        StorageError: the file could not be written.
    """
    _save(folder_of("--report", output), output.name, render(prediction.build(clustered)).encode())


def folder_of(option: str, target: Path) -> Path:
    """The folder of a file that is to be written.

    Raises:
        InputError: there is no such folder, or the file is one.
    """
    folder = absolute(target).parent
    if not folder.is_dir():
        raise InputError(f"{option}: there is no folder {folder}.")
    if target.is_dir():
        raise InputError(f"{option}: {target} is a folder; name a file.")
    return folder


# ---- what a name stands for


@dataclass(frozen=True)
class _Topic:
    """What a page is about: the name that its file gets, and how it is built."""

    name: str
    build: Callable[[Draft], Page]


def _topic(store: Store, name: str | None) -> _Topic:
    if name is None:
        return _Topic("", store_page.build)
    suites, studies = store.plans("suite"), store.plans("study")
    if name in suites:
        return _Topic(name, functools.partial(suite_page.build, name=name))
    if name in studies:
        return _Topic(name, functools.partial(study_page.build, name=name))
    ids = sorted(store.rows("runs")["run_id"].unique())
    matching = [id for id in ids if id.startswith(name)]
    if len(matching) == 1:
        return _Topic(matching[0], functools.partial(run_page.build, run=matching[0]))
    if matching:
        raise InputError(f"'{name}' could be {', '.join(matching[:3])}; give more letters.")
    store.tell_losses()  # a plan of that name may have been here
    every = [*suites, *studies]
    listed = f" Suites and studies: {', '.join(every)}." if every else ""
    raise InputError(
        f"there is no suite, study or run '{name}' in {store.uri}."
        f"{nearest(name, [*every, *ids])}{listed} `platform results` lists the runs."
    )


# ---- building and writing


def _with_damage(draft: Draft, topic: _Topic) -> Page:
    """The page; what is lost, or was found damaged while its numbers were read, comes first."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StoreDamage)
        draft.store.tell_losses()
        page = topic.build(draft)
    damage: dict[str, Note] = {}
    for warning in caught:
        if isinstance(said := warning.message, StoreDamage):
            head = "Missing file." if said.problem.kind == "missing" else "Damaged file."
            damage[str(said)] = Note(level="bad", head=head, text=str(said))
        else:
            warnings.warn_explicit(said, warning.category, warning.filename, warning.lineno)
    if not damage:
        return page
    notes = Notes(notes=list(damage.values()))
    return replace(page, sections=[Section(title="Damage", parts=[notes]), *page.sections])


def _save(folder: Path, name: str, data: bytes) -> Path:
    try:
        _disk.write(folder / name, data)
    except OSError as error:
        raise storage_error(error, str(folder), name) from error
    return folder / name
