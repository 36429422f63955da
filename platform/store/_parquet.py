"""Reading a Parquet file that somebody may have crafted."""

import io
from collections.abc import Sequence

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

#: What readers raise of a file that is not as it says; a text or name may be no UTF-8.
UNREADABLE = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    pa.ArrowException,
    OSError,
    UnicodeError,
)
#: Memory that a table may take, bytes, and more for each byte of its file (constant columns: 25).
_ALWAYS, _FOR_EACH_BYTE = 64 << 20, 200


def read(data: bytes, columns: Sequence[str] | None) -> pl.DataFrame:
    """The table of a file, or some columns of it.

    Raises:
        UNREADABLE: it contradicts itself, or claims far more memory than its size explains.
    """
    some = None if columns is None else list(columns)
    _walk(data, some)
    return pl.read_parquet(
        io.BytesIO(data), columns=some, parallel="none" if len(data) < 1 << 17 else "auto"
    )


def _walk(data: bytes, columns: list[str] | None) -> None:
    """See that a crafted file neither ends the process, as polars can, nor fills its memory.

    What claims too much is refused unread. Arrow goes through the values that are asked for, a few
    at a time, and refuses what contradicts itself.
    """
    file = pq.ParquetFile(pa.BufferReader(data))
    said = file.metadata
    groups = [said.row_group(i) for i in range(said.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    needed = sum(max(c.total_uncompressed_size, 8 * c.num_values) for c in chunks)
    if needed > _ALWAYS + _FOR_EACH_BYTE * len(data):
        raise pa.ArrowInvalid(f"{len(data)} bytes claim to be a table of {needed >> 20} MiB")
    file.scan_contents(columns, batch_size=4096)
