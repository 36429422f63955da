"""Builder of named datasets of vectors that OpenML has."""

import urllib.error
import warnings
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deep_clustering.platform.data import _cache
from deep_clustering.platform.data._cache import Content
from deep_clustering.platform.data._download import timeout
from deep_clustering.platform.data._entry import Order, PointEntry
from deep_clustering.platform.data._text import quoted
from deep_clustering.platform.data.protocols import TRAIN
from deep_clustering.platform.errors import InputError


class _Table(NamedTuple):
    vectors: np.ndarray  # float32 (N, D)
    target: np.ndarray  # of text, (N,)


def build(order: Order, folder: Path, *, number: int) -> Content:
    """A dataset of OpenML by its number; its files are kept under `archives`, their MD5 is checked.

    Raises:
        InputError: no network, a file that is not the published one, or other counts.
    """
    entry = order.entry
    assert isinstance(entry, PointEntry)
    place = order.root / "archives"
    by_hand = (
        f"download data set {number} of openml.org elsewhere and say table:PATH, or bring a copy "
        f"of {quoted(place / 'openml')} from a machine that has it."
    )
    vectors, target = _fetched(number, place, by_hand)
    names = sorted(set(target), key=lambda name: (len(name), name))  # "2" before "10"
    shape = (*vectors.shape, len(names))
    if shape != (entry.count, entry.dimensions, entry.classes) or not np.isfinite(vectors).all():
        raise InputError(
            f"{entry.name} has {entry.count} samples of {entry.dimensions} numbers in "
            f"{entry.classes} classes, and OpenML's data set {number} came with {shape[0]}, "
            f"{shape[1]} and {shape[2]}; {by_hand}"
        )
    label = {name: position for position, name in enumerate(names)}
    _cache.write_vectors(folder, vectors)
    return Content(
        labels=np.array([label[name] for name in target], np.int64),
        split=np.full(len(vectors), TRAIN, np.uint8),
        class_names=tuple(names),
        source=f"https://www.openml.org/d/{number}",
    )


def _fetched(number: int, place: Path, by_hand: str) -> _Table:
    """The table, from the files under `place` or from the network; scikit-learn checks its MD5."""
    from sklearn.datasets import fetch_openml
    from sklearn.datasets._openml import OpenMLError

    try:
        with timeout(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # retries warn; the last failure is an error anyway
            answer = fetch_openml(
                data_id=number,
                data_home=str(place),
                as_frame=False,
                parser="liac-arff",
                n_retries=1,
            )
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"OpenML's data set {number} cannot be downloaded ({reason}); {by_hand}"
        ) from error
    except (OpenMLError, ValueError) as error:
        raise InputError(
            f"OpenML's data set {number} is incomplete or altered "
            f"({str(error).splitlines()[0]}); delete {quoted(place / 'openml')} and repeat, or "
            f"{by_hand}"
        ) from error
    return _Table(np.asarray(answer.data, np.float32), answer.target)
