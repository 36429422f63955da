"""Which backend an address belongs to.

A new backend is a module beside this one, and its scheme in `BACKENDS`.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.store._files import Files
from deep_clustering.platform.store._local import LocalFiles
from deep_clustering.platform.store._remote import RemoteFiles


class Connection(NamedTuple):
    """Files, and the address in full, under which any process finds them again."""

    files: Files
    uri: str


def connect(uri: str) -> Connection:
    """The files at an address.

    Args:
        uri: a path, `file://...`, or what `pyarrow.fs.FileSystem.from_uri` takes, such as
            `s3://bucket/prefix?endpoint_override=...`.

    Raises:
        InputError: no such scheme, or an address that cannot be read.
    """
    scheme = uri.partition("://")[0] if "://" in uri else ""
    return BACKENDS.get(scheme, _object_store)(uri)


def _folder(uri: str) -> Connection:
    if not uri:
        raise InputError("the store needs a folder or an address, got an empty text.")
    path = Path(os.path.abspath(Path(uri).expanduser()))
    return Connection(LocalFiles(path), str(path))


def _file(uri: str) -> Connection:
    _, path = _opened(uri, uri)
    return _folder(path)


def _s3(uri: str) -> Connection:
    asked = uri
    if "allow_delayed_open" not in uri:
        # Small objects then go up in one request instead of a multipart upload.
        asked += ("&" if "?" in uri else "?") + "allow_delayed_open=true"
    return _object_store(uri, asked)


def _object_store(uri: str, asked: str | None = None) -> Connection:
    filesystem, prefix = _opened(uri, asked or uri)
    where = re.sub(r"//[^/]*@", "//", uri.partition("?")[0])  # without options and secrets
    return Connection(RemoteFiles(filesystem, prefix, where), uri)


def _opened(uri: str, asked: str) -> tuple[pafs.FileSystem, str]:
    """The file system at an address and the path in it."""
    try:
        filesystem, path = pafs.FileSystem.from_uri(asked)
    except (pa.ArrowException, OSError, ValueError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{uri} is not the address of a store ({text}); give a folder or, for example, "
            "s3://bucket/prefix."
        ) from error
    return filesystem, path


#: Scheme of an address -> what opens it. `_object_store` opens all others that pyarrow knows.
BACKENDS: Mapping[str, Callable[[str], Connection]] = {"": _folder, "file": _file, "s3": _s3}
