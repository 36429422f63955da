"""What the columns of a user's table are, by their names and values: labels, ids, numbers.

Nobody says it with the file, so usual names are known, whatever their case, blanks and signs; where
they leave a doubt, the user is asked, and whatever is left out is told in a note.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

#: Names of columns that hold labels without being named by the user, as `_plain` writes them.
LABELS = frozenset(
    (
        *("label", "labels", "class", "classes", "target", "targets", "category"),
        *("classlabel", "classid", "labelid", "truelabel", "ytrue", "groundtruth", "truth"),
    )
)
#: Names of columns that tell samples apart.
IDS = frozenset(
    (
        *("id", "ids", "idx", "index", "key", "uuid", "guid"),
        *("sampleid", "rowid", "recordid", "imageid"),
    )
)

_SAVED_INDEX = re.compile(r"(unnamed|indexlevel)\d+|")  # of pandas, which names none in CSV
_REPEATED = re.compile(r"(.*)_duplicated_\d+", re.DOTALL)  # polars' second column of a name


def usual_labels(names: Iterable[str]) -> list[str]:
    """The names that columns of labels usually have."""
    known = list(names)
    return [name for name in known if _plain(original(name, known)) in LABELS]


def original(name: str, names: Sequence[str]) -> str:
    """A column's name as the file has it, where polars has numbered a repeated one."""
    match = _REPEATED.fullmatch(name)
    return match[1] if match and match[1] in names else name


def is_saved_index(name: str) -> bool:
    """Whether pandas calls the index so that it has saved beside the columns."""
    return _SAVED_INDEX.fullmatch(_plain(name)) is not None


def is_id(name: str) -> bool:
    """Whether a column of this name usually tells samples apart."""
    return _plain(name) in IDS


def tells_apart(column: "pl.Series") -> bool:
    """Whether every sample has another whole number or text in this column."""
    import polars as pl

    kind = column.dtype
    return (kind.is_integer() or kind == pl.String) and column.n_unique() == len(column)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
