"""The one way in which a record of the store becomes a file of JSON, and back."""

import json
from collections.abc import Mapping
from typing import Any

from deep_clustering.platform.store.schema import Damaged


def encoded(value: Mapping[str, Any]) -> bytes:
    """The file of a record; equal records have equal files."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1).encode()


def decoded(path: str, data: bytes) -> dict[str, Any]:
    """The record in a file.

    Raises:
        Damaged: it is not JSON, or no record.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(path, f"it is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Damaged(path, "it holds no record")
    return value
