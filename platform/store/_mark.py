"""`store.json`: what the whole store says of itself, above all its format."""

import contextlib
from functools import partial
from typing import NamedTuple

from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.store import schema
from deep_clustering.platform.store._damage import Finding, problem, warn
from deep_clustering.platform.store._files import Files, reading, saving, set_aside, unreadable
from deep_clustering.platform.store._json import decoded, encoded
from deep_clustering.platform.store._seals import SEALED
from deep_clustering.platform.store._segments import short
from deep_clustering.platform.store.schema import Damaged

#: Version of the layout that `store` describes.
FORMAT = 1
_NAME = "store.json"


class Mark(NamedTuple):
    """What `store.json` says of the whole store."""

    format: int
    written_by: str  # the release that made the store


def agree(files: Files, *, absent: bool) -> bool:
    """See that this code knows a store's format; whether its mark is there and whole.

    A mark that is damaged, or missing beside results, is told and hides nothing: every other file
    says its own version. `renew` makes it.

    Args:
        files: of the store.
        absent: whether there need not be a store.

    Raises:
        InputError: not a folder, or (without `absent`) not a store.
        StorageError: a newer release made it, or it cannot be read.
    """
    try:
        mark = _decoded(files.read(_NAME))
    except NotADirectoryError as error:
        raise InputError(f"the store {files.where} is not a folder.") from error
    except (FileNotFoundError, IsADirectoryError, Damaged) as error:
        found = _results_in(files)
        if found or not isinstance(error, FileNotFoundError):
            then = "the next command that computes renews it"
            warn(problem(_NAME, error), f"the results beside it are read all the same, and {then}")
        elif not absent:
            raise InputError(
                f"there is no store at {files.where}; `platform train` and the other "
                "commands that compute make one, or name another with --store."
            ) from None
        return False
    except OSError as error:
        raise unreadable(f"the store {files.where}", error) from error
    if mark.format > FORMAT:
        raise StorageError(
            f"the store {files.where} was made by deep-clustering {mark.written_by} "
            f"with format {mark.format}; this is {schema.release()} with format {FORMAT}: "
            f"install {mark.written_by} or newer."
        )
    return True


def finding(files: Files) -> Finding | None:
    """What is wrong with it; None, as a rule."""
    try:
        _decoded(files.read(_NAME))
    except (Damaged, OSError) as error:
        return Finding(problem(_NAME, error), partial(renew, files))
    return None


def _results_in(files: Files) -> bool:
    """Whether a place without a mark is a store all the same."""
    with reading(files):
        return any(files.names(folder) for folder in SEALED)


def renew(files: Files) -> str:
    """Put a damaged mark aside, and write that of this release; one that is sound stays."""
    with saving(files, _NAME):
        try:
            _decoded(files.read(_NAME))
        except FileNotFoundError:
            pass
        except (Damaged, OSError):
            with contextlib.suppress(FileNotFoundError):
                set_aside(files, _NAME)
        body = Mark(FORMAT, schema.release())._asdict()
        data = encoded({**body, "check": short(encoded(body))})
        with contextlib.suppress(FileExistsError):
            files.write(_NAME, data, exclusive=True)
    return "written anew"


def _decoded(data: bytes) -> Mark:
    """What its bytes say.

    Raises:
        Damaged: it is not what was written.
    """
    said = decoded(_NAME, data)
    mark = Mark(said.pop("format", None), said.pop("written_by", None))
    if said != {"check": short(encoded(mark._asdict()))} or not isinstance(mark.format, int):
        raise Damaged(_NAME, "its checksum does not match")
    return mark
