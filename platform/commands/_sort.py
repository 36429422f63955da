"""Pictures sorted into a folder for each cluster: by links, or copies where links cannot be."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import polars as pl

from deep_clustering.platform.data.dataset import Dataset
from deep_clustering.platform.errors import InputError, storage_error


def refuse(target: Path, dataset: Dataset) -> None:
    """Refuse a folder that pictures cannot be sorted into; nothing is made or changed.

    Raises:
        InputError: says why.
    """
    place = target.expanduser().absolute()
    if dataset.paths is None:
        raise InputError(
            f"--sort-into: the images of {dataset.name} are no files; leave it out, or give a "
            "folder of pictures."
        )
    source = Path(dataset.name.removeprefix("folder:"))
    if place.resolve() == source or source in place.resolve().parents:
        raise InputError(
            f"--sort-into: {target} lies in the folder of the pictures, of which it would become "
            "a part; name a folder elsewhere."
        )
    if not place.parent.is_dir():
        raise InputError(f"--sort-into: there is no folder {place.parent} to make {place.name} in.")
    if os.path.lexists(place) and not (place.is_dir() and not any(place.iterdir())):
        raise InputError(
            f"--sort-into: {target} is there already and is not an empty folder; name another one "
            "(nothing in it is changed)."
        )


def into(target: Path, dataset: Dataset, taken: pl.DataFrame) -> int:
    """Sort the pictures of a dataset; the folder is there whole or not at all.

    Sure pictures go to `cluster-NN`, doubtful ones to `doubtful/cluster-NN`. No picture is moved,
    changed or deleted.

    Args:
        target: as `refuse` takes it.
        taken: table of `assignments`.

    Returns:
        How many pictures were copied because no link could be made.
    """
    source = Path(dataset.name.removeprefix("folder:"))
    place, copied = target.expanduser().absolute(), 0
    width = max(2, len(str(taken["cluster"].max())))
    work = Path()
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        names: set[tuple[Path, str]] = set()
        for path, cluster, doubtful in taken.select("path", "cluster", "doubtful").iter_rows():
            folder = work / ("doubtful" if doubtful else "") / f"cluster-{cluster:0{width}d}"
            folder.mkdir(parents=True, exist_ok=True)
            copied += _placed(source / path, folder / _name(folder, path, names))
        work.chmod(0o755)
        os.rename(work, place)
    except OSError as error:
        with contextlib.suppress(OSError):
            if work.name:
                shutil.rmtree(work)
        raise storage_error(error, str(place.parent), "the sorted pictures") from error
    return copied


def _name(folder: Path, path: str, names: set[tuple[Path, str]]) -> str:
    """The picture's own name, with its folders where another one has it already."""
    name = Path(path).name
    if (folder, name) in names:
        name = path.replace("/", "__")
    number, free = 1, name
    while (folder, free) in names:
        number += 1
        free = f"{number}-{name}"
    names.add((folder, free))
    return free


def _placed(picture: Path, place: Path) -> bool:
    """A link to a picture, or a copy (True) where the file system has no links."""
    try:
        place.symlink_to(picture)
    except OSError:
        shutil.copy2(picture, place)
        return True
    return False
