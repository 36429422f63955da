"""Paths in messages and in tables."""

import os


def quoted(path: object) -> str:
    """A path in quotes, with line breaks and undecodable bytes escaped, for messages."""
    return repr(os.fspath(path)) if isinstance(path, os.PathLike) else repr(str(path))


def printable(path: str) -> str:
    """The path as valid Unicode: bytes that are not UTF-8 become \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
