"""`store.json`: what the whole store says of itself, above all its format."""

import contextlib
import json
from typing import NamedTuple

from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.store import schema
from deep_clustering.platform.store._damage import Problem, problem, warn
from deep_clustering.platform.store._files import Files, saving, set_aside
from deep_clustering.platform.store._plans import encoded
from deep_clustering.platform.store._segments import short
from deep_clustering.platform.store.schema import Damaged

#: Version of the layout that `store` describes.
FORMAT = 1
_NAME = "store.json"


class Mark(NamedTuple):
    """What `store.json` says of the whole store."""

    format: int
    written_by: str  # the release that made the store


def agree(files: Files, create: bool) -> None:
    """See that this code knows a store's format; write it down in a new store.

    Raises:
        InputError: not a folder, or (without `create`) not a store.
        StorageError: a newer release made it, or it cannot be read.
    """
    try:
        mark = _decoded(files.read(_NAME))
    except FileNotFoundError:
        if not create:
            raise InputError(
                f"there is no store at {files.where}; `platform train` and the other "
                "commands that compute make one, or name another with --store."
            ) from None
        _write(files)
        return
    except NotADirectoryError as error:
        raise InputError(f"the store {files.where} is not a folder.") from error
    except Damaged as error:
        warn(problem(_NAME, error), "the next command that writes renews it")
        if create:
            with contextlib.suppress(FileNotFoundError), saving(files, _NAME):
                set_aside(files, _NAME)
            _write(files)
        return
    except OSError as error:
        raise StorageError(f"cannot read the store {files.where} ({error}).") from error
    if mark.format > FORMAT:
        raise StorageError(
            f"the store {files.where} was made by deep-clustering {mark.written_by} "
            f"with format {mark.format}; this is {schema.release()} with format {FORMAT}: "
            f"install {mark.written_by} or newer."
        )


def damaged(files: Files) -> list[Problem]:
    """What is wrong with it; nothing, as a rule."""
    try:
        _decoded(files.read(_NAME))
    except (Damaged, OSError) as error:
        return [problem(_NAME, error)]
    return []


def _write(files: Files) -> None:
    body = Mark(FORMAT, schema.release())._asdict()
    data = encoded({**body, "check": short(encoded(body))})
    with contextlib.suppress(FileExistsError), saving(files, _NAME):
        files.write(_NAME, data, exclusive=True)


def _decoded(data: bytes) -> Mark:
    """What its bytes say.

    Raises:
        Damaged: it is not what was written.
    """
    try:
        said = json.loads(data)
        mark = Mark(said["format"], said["written_by"])
        same = said["check"] == short(encoded(mark._asdict()))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(_NAME, str(error)) from error
    if not same:
        raise Damaged(_NAME, "its checksum does not match")
    return mark
