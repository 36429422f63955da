"""Which backend an address belongs to.

A new backend is a module beside this one, and its scheme in `BACKENDS`.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.places import absolute
from deep_clustering.platform.store._files import Files
from deep_clustering.platform.store._local import LocalFiles


class Connection(NamedTuple):
    """Files, and the address in full, under which any process finds them again."""

    files: Files
    uri: str


def connect(uri: str) -> Connection:
    """The files at an address.

    Args:
        uri: a path, `file://...`, `s3://bucket/prefix?endpoint_override=...` (see `_s3.opened`), or
            `gs://`, `az://` and what else `obstore.store.from_url` takes.

    Raises:
        InputError: no such scheme, or an address that cannot be read.
    """
    scheme = uri.partition("://")[0] if "://" in uri else ""
    return BACKENDS.get(scheme, _object_store)(uri)


def _folder(uri: str) -> Connection:
    if not uri:
        raise InputError("the store needs a folder or an address, got an empty text.")
    path = absolute(uri)
    return Connection(LocalFiles(path), str(path))


def _file(uri: str) -> Connection:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"the store {uri} is on another machine; give file:///FOLDER.")
    return _folder(url2pathname(parts.path))


def _object_store(uri: str) -> Connection:
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    from deep_clustering.platform.store import _s3
    from deep_clustering.platform.store._remote import RemoteFiles

    where = re.sub(r"//[^/]*@", "//", uri.partition("?")[0])  # without options and secrets
    try:
        store = _s3.opened(uri) if uri.startswith("s3://") else from_url(uri)
    except (BaseError, ValueError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{where} is not the address of a store ({text}); give a folder or, for example, "
            "s3://bucket/prefix."
        ) from error
    return Connection(RemoteFiles(store, where), uri)


#: Scheme of an address -> what opens it. `_object_store` opens all others that obstore knows.
BACKENDS: Mapping[str, Callable[[str], Connection]] = {"": _folder, "file": _file}
