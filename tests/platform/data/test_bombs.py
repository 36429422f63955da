"""Files of the user's that would fill the memory, and archives that would write elsewhere.

All are small on the disk; each ends in a sentence before what they claim is made.
"""

import io
import resource
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deep_clustering.platform.data import _download, dataset
from deep_clustering.platform.data.dataset import Source
from deep_clustering.platform.errors import InputError
from support.archives import md5
from support.pictures import noise


def huge_png(path: Path, side: int = 20_000) -> Path:
    """A valid PNG of 400 million white pixels, some hundred kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    packed = zlib.compressobj(1)
    row = b"\0" + b"\xff" * (side // 8)
    body = b"".join(packed.compress(row) for _ in range(side)) + packed.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


@pytest.mark.fault(44)
def test_a_picture_of_very_many_pixels_is_refused_by_name(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    noise(pictures / "good.png", 0)
    assert huge_png(pictures / "huge.png").stat().st_size < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"huge\.png' \(more than Pillow's limit of"):
        dataset.open(Source(f"folder:{pictures}", tmp_path / "data"))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # kB; decoded, and as RGB, it takes 1.6 GB


def parquet(path: Path, rows: int) -> None:
    """One column that repeats a number, as a dictionary of one entry."""
    part = pa.table({"x": pa.DictionaryArray.from_arrays(np.zeros(rows // 40, np.int8), [1.5])})
    with pq.ParquetWriter(path, part.schema, compression="zstd", store_schema=False) as writer:
        for _ in range(40):
            writer.write_table(part, row_group_size=rows)


def npz(path: Path, rows: int) -> None:
    """An array of zeros that takes next to nothing when it is packed."""
    header = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (rows, 2)}
    np.lib.format.write_array_header_1_0(header, shape)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("points.npy", "w") as member,
    ):
        member.write(header.getvalue())
        zeros = bytes(1 << 20)
        for _ in range(rows * 16 >> 20):
            member.write(zeros)


@pytest.mark.fault(67)
@pytest.mark.parametrize(("write", "name"), [(parquet, "bomb.parquet"), (npz, "bomb.npz")])
def test_a_table_that_would_fill_the_memory_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path, int], None],
    name: str,
) -> None:
    rows = 4_000_000
    write(tmp_path / name, rows)
    assert (tmp_path / name).stat().st_size < 200_000
    monkeypatch.setattr("deep_clustering.platform.data._tables.free_bytes", lambda: 8 * rows)
    with pytest.raises(InputError, match=rf"{name}' would need .* of memory, and .* are free"):
        dataset.open(Source(f"table:{tmp_path / name}", tmp_path / "data"))


@pytest.mark.fault(34)
@pytest.mark.parametrize("name", ["../outside", "/tmp/deep-clustering-outside", "link/outside"])
def test_an_archive_writes_nothing_outside_its_folder(tmp_path: Path, name: str) -> None:
    """Even one that has the published checksum."""
    root, work = tmp_path / "data", tmp_path / "work"
    root.mkdir()
    work.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with tarfile.open(root / "bad.tar", "w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(elsewhere)
        tar.addfile(link)
        member = tarfile.TarInfo(name)
        member.size = 7
        tar.addfile(member, io.BytesIO(b"private"))
    archive = _download.Archive(url="", filename="bad.tar", digest=md5(root / "bad.tar"))
    with (
        pytest.raises(InputError, match=r"bad\.tar.*leads out of"),
        _download.unpacked(archive, "base", root, work),
    ):
        pass
    assert list(elsewhere.iterdir()) == []
    assert not (tmp_path / "outside").exists()
    assert not Path("/tmp/deep-clustering-outside").exists()
