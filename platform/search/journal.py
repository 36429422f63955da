"""Optuna's journal of a study: a copy of the facts in the store, for Optuna and its dashboard.

Nothing is decided by it as long as the facts are whole. Facts that were damaged come back from it,
and a journal that is damaged, or that says otherwise, is set aside and written anew from them. So
it is written without waiting for the disk.
"""

import itertools
import json
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import optuna
from optuna.storages.journal import BaseJournalBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from deep_clustering.platform import _disk
from deep_clustering.platform.errors import storage_error
from deep_clustering.platform.search import history
from deep_clustering.platform.search.history import History, Search, direction, proposed, search_of
from deep_clustering.platform.store.store import Finding, Problem, Store, StoreDamage

#: Seconds between two uploads to an object store.
_UPLOAD = 30.0


class Journal:
    """The journal of a study, `studies/<name>.log`.

    Making one reads it and changes nothing; `follow` comes before anything is written.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._path = path_of(name)
        self._file = (store.local or store.cache) / self._path
        #: Why it cannot be used, where it cannot.
        self.damage: str | None = None
        self._whole = True  # whether its last line is
        data = b""
        try:
            data = store.read_bytes(self._path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.damage = error.strerror or str(error)
        self._fill(data)
        self._saved = time.monotonic()

    def _fill(self, data: bytes) -> None:
        """Take over the lines of a file; a last one that is half-written is left out."""
        self._data = data[: data.rfind(b"\n") + 1]
        self._whole = self._data == data
        self._lines = _Lines(self._data)
        self._study: optuna.Study | None = None
        self._ids: list[int] = []  # of the trials in the journal, by number
        if not self._data:
            return
        try:
            storage = JournalStorage(self._lines)
            self._study = optuna.load_study(study_name=self._name, storage=storage)
            self._ids = [trial._trial_id for trial in self._trials()]
        except Exception as error:  # Optuna trusts what it reads, so anything may come of damage
            self.damage = f"{type(error).__name__}: {error}"

    def _trials(self) -> list[FrozenTrial]:
        return [] if self._study is None else self._study.get_trials(deepcopy=False)

    def history(self) -> History:
        """What the journal knows; nothing where it is damaged."""
        if self.damage is not None or self._study is None:
            return History()
        attrs, trials = self._study.user_attrs, self._trials()
        if "settings" not in attrs:
            return History()
        space = {name: d for trial in trials for name, d in trial.distributions.items()}
        generation = int(attrs.get("generation", 1))
        search = search_of(attrs["settings"], generation, self._study.directions, space)
        return History.of(search, generation, trials)

    def reports(self, number: int) -> Mapping[int, float]:
        """Epoch -> value of what a trial reported; nothing where the journal is damaged."""
        if self.damage is not None or number >= len(self._ids):
            return {}
        return self._trials()[number].intermediate_values

    def follow(self, search: Search, trials: Sequence[FrozenTrial]) -> None:
        """Bring the journal in step with the facts, so that it can be written to.

        Args:
            search: what was asked.
            trials: by number, from 0, without a gap.

        Raises:
            StorageError: it could not be written.
        """
        if self.damage is None and self._study is not None:
            self.damage = self._contradiction(search, trials)
        begun = self._trials()[len(trials) :]  # by release 0.1, and never proposed in full
        if self.damage is not None:
            self._store.set_aside(self._path)
            damaged = Problem(self._path, "damaged", f"damaged ({self.damage})")
            then = "moved to quarantine/ and written anew from what the store knows"
            warnings.warn(StoreDamage(damaged, then), stacklevel=2)
        if self.damage is not None or self._study is None or begun:
            self.damage = None
            self._data, self._lines = b"", _Lines(b"")
            self._study = optuna.create_study(
                study_name=self._name,
                directions=list(search.directions),
                storage=JournalStorage(self._lines),
            )
            self._ids = []
            self._set("settings", search.settings)
            self._set("generation", search.generation)
        held = self._trials()
        for trial in trials[: len(held)]:
            if not held[trial.number].state.is_finished() and trial.state.is_finished():
                self._end(trial)
        for trial in trials[len(held) :]:
            self._add(trial)
        self._write_whole()

    def wrong(self, facts: History) -> str | None:
        """Why `follow` would set the journal aside; None where it would not, or there is none.

        Args:
            facts: of the study, read after the journal; they learn what it alone knows.
        """
        facts.learn(facts.missing(self.history()))
        if self.damage is not None or self._study is None or facts.search is None:
            return self.damage
        in_order = itertools.takewhile(
            lambda pair: pair[0] == pair[1].number, enumerate(facts.trials())
        )
        return self._contradiction(facts.search, [trial for _, trial in in_order])

    def _contradiction(self, search: Search, trials: Sequence[FrozenTrial]) -> str | None:
        """Where the journal says what no copy of these trials would say."""
        assert self._study is not None
        held, attrs = self._trials(), self._study.user_attrs
        more = [trial for trial in held[len(trials) :] if proposed(trial)]
        if more:
            return f"trial {more[0].number} is not what the store knows"
        directions = tuple(map(direction, self._study.directions))
        said = (attrs.get("settings"), attrs.get("generation"), directions)
        if said != (search.settings, search.generation, search.directions):
            return "it is of another search"
        for mine, fact in zip(held, trials, strict=False):
            if not _may_become(mine, fact):
                return f"trial {fact.number} is not what the store knows"
        return None

    def _write_whole(self) -> None:
        """Write what is new: the file as a whole, where its end cannot be trusted."""
        new = self._lines.take()
        if not new and self._whole and self._data and self._may_grow():
            return
        self._data += new
        try:
            _disk.write(self._file, self._data)
        except OSError as error:
            raise storage_error(error, self._store.uri, self._path) from error
        self._whole, self._data = True, b""
        self._upload()

    def _may_grow(self) -> bool:
        """Whether lines can be added to the file: it is no old local copy, nor another user's."""
        if self._store.local is None:
            return False
        try:
            with open(self._file, "ab"):
                return True
        except OSError:
            return False

    # ---- while a search goes on

    def ask(self, trial: FrozenTrial) -> None:
        """A trial begins; one that does not come next is left for `follow` of a later command."""
        if trial.number == len(self._ids):
            self._add(trial)
            self._append()

    def report(self, number: int, epoch: int, value: float) -> None:
        """A running trial has a value of its objective."""
        if self._study is not None and number < len(self._ids):
            storage = self._study._storage
            storage.set_trial_intermediate_value(self._ids[number], epoch, value)
            self._append()

    def tell(self, trial: FrozenTrial) -> None:
        """A trial has ended."""
        if trial.number < len(self._ids):
            self._end(trial)
            self._append()
            if time.monotonic() - self._saved > _UPLOAD:
                self.save()

    def save(self) -> None:
        """Bring the copy to where the store is, if that is not this machine."""
        if self._study is not None and self._whole:
            self._upload()

    def _upload(self) -> None:
        self._saved = time.monotonic()
        if self._store.local is None:
            self._store.write_bytes(self._path, self._file.read_bytes())

    def _append(self) -> None:
        """Add what is new to the file; when that fails the next command brings it in step."""
        new = self._lines.take()
        if not self._whole:
            return
        try:
            with open(self._file, "ab") as file:
                file.write(new)
        except OSError as error:
            self._whole = False
            unreadable = Problem(self._path, "unreadable", f"not written ({error.strerror})")
            then = "only Optuna's copy of the study is behind; the next command brings it in step"
            warnings.warn(StoreDamage(unreadable, then), stacklevel=2)

    # ---- Optuna's storage

    def _set(self, key: str, value: object) -> None:
        assert self._study is not None
        self._study.set_user_attr(key, value)

    def _add(self, trial: FrozenTrial) -> None:
        assert self._study is not None
        storage, study = self._study._storage, self._study._study_id
        self._ids.append(storage.create_new_trial(study, template_trial=trial))

    def _end(self, trial: FrozenTrial) -> None:
        assert self._study is not None
        storage, id = self._study._storage, self._ids[trial.number]
        for key in ("metrics", "reason"):
            if key in trial.user_attrs:
                storage.set_trial_user_attr(id, key, trial.user_attrs[key])
        known = storage.get_trial(id).intermediate_values
        for epoch, value in trial.intermediate_values.items():
            if known.get(epoch) != value:
                storage.set_trial_intermediate_value(id, epoch, value)
        storage.set_trial_state_values(id, trial.state, trial.values)


def findings(store: Store) -> Iterator[Finding]:
    """Journals that a search would set aside, with what does so at once."""
    for path in store.list("studies"):
        name = path.removeprefix("studies/").removesuffix(".log")
        if path != path_of(name):
            continue  # not one of ours
        reason = Journal(store, name).wrong(history.read(store, name))
        if reason is not None:
            problem = Problem(path, "damaged", f"damaged copy of a study ({reason})")
            yield Finding(problem, partial(_set_aside, store, path))


def _set_aside(store: Store, path: str) -> str:
    store.set_aside(path)
    return "moved to quarantine/; its search writes it anew from what the store knows"


class _Lines(BaseJournalBackend):
    """The lines of a journal, and those that are not in its file yet."""

    def __init__(self, data: bytes) -> None:
        self._unread: Iterable[dict[str, object]] = map(json.loads, data.splitlines())
        self._new: list[bytes] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, object]]:
        """The lines that were not asked for yet: Optuna asks for each once, in order."""
        lines, self._unread = self._unread, []
        return lines

    def append_logs(self, logs: list[dict[str, object]]) -> None:
        """Keep lines until they are written, in the form of Optuna's own files."""
        self._new += [json.dumps(log, separators=(",", ":")).encode() for log in logs]
        self._unread = [*self._unread, *map(json.loads, self._new[-len(logs) :])]

    def take(self) -> bytes:
        """What is to be written."""
        new, self._new = self._new, []
        return b"".join(line + b"\n" for line in new)


def path_of(name: str) -> str:
    """Where the journal of a study is in its store."""
    return f"studies/{name}.log"


def _may_become(mine: FrozenTrial, fact: FrozenTrial) -> bool:
    """Whether a trial in the journal is that of the store, or an earlier moment of it."""
    if (mine.number, mine.params) != (fact.number, fact.params):
        return False
    if mine.distributions != fact.distributions:
        return False
    if mine.user_attrs.get("runs", []) != fact.user_attrs["runs"]:
        return False
    if mine.state == TrialState.RUNNING:
        return True
    return (
        mine.state == fact.state
        and mine.values == fact.values
        and mine.intermediate_values == fact.intermediate_values
        and _attrs(mine) == _attrs(fact)
    )


def _attrs(trial: FrozenTrial) -> Mapping[str, object]:
    return {key: trial.user_attrs.get(key) for key in ("metrics", "reason")}
